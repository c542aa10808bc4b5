//! The limits in the schemas of the definitions: what the API server itself refuses besides their
//! rules, in its own words. The page of refusals lists them, and a real API server is asked whether
//! it says so.

use kube::CustomResourceExt as _;
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP, LoadBalancerIPPool};
use serde_json::{Value, json};

/// One limit at one place.
#[derive(Clone)]
pub(crate) struct Limit {
    /// The kind of object.
    pub(crate) kind: String,
    /// Where: `spec.blocks[].cidr`.
    pub(crate) place: String,
    /// A spec that goes beyond it.
    pub(crate) spec: Value,
    /// That spec as shown to a reader.
    pub(crate) shown: String,
    /// A part of what the API server says.
    pub(crate) message: String,
    /// What would help.
    pub(crate) remedy: &'static str,
}

/// The definitions.
pub(crate) fn definitions() -> Vec<Value> {
    let crds = [
        LoadBalancerIPPool::crd(),
        LoadBalancerIP::crd(),
        L2AnnouncementPolicy::crd(),
    ];
    crds.into_iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect()
}

/// All limits of one definition.
pub(crate) fn limits(crd: &Value) -> Vec<Limit> {
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
    let mut found = Vec::new();
    walk(&schema["properties"]["spec"], "spec", kind, &mut found);
    found
}

fn walk(schema: &Value, place: &str, kind: &str, found: &mut Vec<Limit>) {
    let mut limit = |bad: Value, shown: Option<&str>, message: String, remedy| {
        let spec = set(Value::Null, place.trim_start_matches("spec"), &bad);
        found.push(Limit {
            kind: kind.to_owned(),
            place: place.to_owned(),
            shown: shown.map_or_else(|| format!("spec: {spec}"), str::to_owned),
            spec,
            message,
            remedy,
        });
    };
    if let Some(values) = schema["enum"].as_array() {
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        let message = format!(
            "Unsupported value: \"Other\": supported values: {}",
            words.join(", ")
        );
        limit(json!("Other"), None, message, "write one of these words");
    }
    if let Some(most) = number(schema, "maxLength") {
        let message = format!("Too long: may not be more than {most} bytes");
        let shown = format!("{} letters", most + 1);
        limit(
            json!("a".repeat(most + 1)),
            Some(&shown),
            message,
            "shorten it",
        );
    }
    if number(schema, "minLength") == Some(1) {
        let message = "should be at least 1 chars long".to_owned();
        limit(
            json!(""),
            None,
            message,
            "write something, or leave the field out",
        );
    }
    if let Some(most) = number(schema, "maxItems") {
        let message = format!("Too many: {}: must have at most {most} items", most + 1);
        let shown = format!("{} items", most + 1);
        let item = sample(&schema["items"]);
        let remedy = "use fewer, or several objects";
        limit(json!(vec![item; most + 1]), Some(&shown), message, remedy);
    }
    if number(schema, "minItems") == Some(1) {
        let message = "should have at least 1 items".to_owned();
        limit(json!([]), None, message, "add one");
    }
    for (bound, beyond, words) in [("minimum", -1, "greater"), ("maximum", 1, "less")] {
        if let Some(end) = schema[bound].as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
            let end = end as i64;
            let message = format!("should be {words} than or equal to {end}");
            limit(
                json!(end + beyond),
                None,
                message,
                "write a number within the limits",
            );
        }
    }
    if schema["type"] == "integer" {
        let message = "must be of type integer: \"string\"".to_owned();
        limit(json!("high"), None, message, "write a whole number");
    }
    if schema["type"] == "boolean" {
        let message = "must be of type boolean: \"string\"".to_owned();
        limit(
            json!("yes"),
            None,
            message,
            "write true or false, without quotes",
        );
    }
    if schema["required"].is_array() {
        limit(
            json!({}),
            None,
            "Required value".to_owned(),
            "write the field",
        );
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{place}.{name}"), kind, found);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{place}[]"), kind, found);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            &schema["additionalProperties"],
            &format!("{place}.*"),
            kind,
            found,
        );
    }
}

fn number(schema: &Value, name: &str) -> Option<usize> {
    usize::try_from(schema[name].as_u64()?).ok()
}

/// Something of a schema's type.
fn sample(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => json!({}),
        Some("array") => json!([]),
        _ => json!("a"),
    }
}

/// A value with `bad` at a place such as `.blocks[].cidr`.
fn set(within: Value, place: &str, bad: &Value) -> Value {
    if place.is_empty() {
        return bad.clone();
    }
    if let Some(rest) = place.strip_prefix("[]") {
        return json!([set(Value::Null, rest, bad)]);
    }
    let rest = &place[1..];
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    let name = if rest[..end] == *"*" {
        "label"
    } else {
        &rest[..end]
    };
    let mut object = if within.is_object() {
        within
    } else {
        json!({})
    };
    object[name] = set(Value::Null, &rest[end..], bad);
    object
}
