//! A value against the structural schema of a CRD, as the API server holds it against it: types, bounds, and fields that
//! are not there.
//!
//! A library of JSON schema would say less: a structural schema prunes what it does not know, in silence, and a misspelt
//! field is the mistake people make most.

use serde_json::{Map, Value};

/// How near a name must be to be the one that was meant.
const NEAR: f64 = 0.75;

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) field: String,
    pub(crate) says: String,
}

/// Everything that is wrong with an object.
pub(crate) fn problems(schema: &Value, object: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    let Some(fields) = object.as_object() else {
        return found;
    };
    // What every object has is the API server's business.
    let own: Map<String, Value> = fields
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    walk(schema, &Value::Object(own), "", &mut found);
    found
}

fn walk(schema: &Value, value: &Value, path: &str, found: &mut Vec<Problem>) {
    let mut says = |says: String| {
        found.push(Problem {
            field: path.to_owned(),
            says,
        });
    };
    if value.is_null() {
        // Where nothing may stand, it is as if the field were not there.
        return;
    }
    let wanted = schema["type"].as_str().unwrap_or_default();
    if !fits(wanted, value) {
        let remedy = match (wanted, value) {
            ("string", Value::Bool(yes)) if schema["enum"].is_array() => {
                let word = if *yes { "Yes" } else { "No" };
                format!("; a bare {word} is a boolean in YAML: put it in quotes: \"{word}\"")
            }
            ("string", Value::Bool(_) | Value::Number(_)) => {
                format!("; put it in quotes: \"{value}\"")
            }
            ("array", _) => "; begin each entry with a dash".to_owned(),
            ("boolean", Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
                format!("; write {text} without quotes")
            }
            ("integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
                format!("; write {text} without quotes")
            }
            _ => String::new(),
        };
        says(format!(
            "is {}, and {} is wanted{remedy}",
            called(value),
            a(wanted)
        ));
        return;
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let words: Vec<String> = choices
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let text = value.as_str().unwrap_or_default();
        let meant = nearest(text, words.iter().map(String::as_str));
        let meant = meant
            .map(|meant| format!("; is {meant} meant?"))
            .unwrap_or_default();
        says(format!(
            "is {value}; use one of {}{meant}",
            words.join(", ")
        ));
    }
    bounds(schema, value, &mut says);
    match value {
        Value::Object(fields) => object(schema, fields, path, found),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(&schema["items"], item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

fn bounds(schema: &Value, value: &Value, says: &mut impl FnMut(String)) {
    let at_most = |field: &str| schema[field].as_u64();
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if at_most("minLength").is_some_and(|least| length < least) {
                says("is empty; write something, or leave the field out".to_owned());
            }
            if let Some(most) = at_most("maxLength").filter(|most| length > *most) {
                says(format!("has {length} characters; use at most {most}"));
            }
        }
        Value::Array(items) => {
            let count = items.len() as u64;
            if at_most("minItems").is_some_and(|least| count < least) {
                says("is empty; add at least one entry".to_owned());
            }
            if let Some(most) = at_most("maxItems").filter(|most| count > *most) {
                says(format!("has {count} entries; use at most {most}"));
            }
        }
        Value::Object(fields) => {
            let count = fields.len() as u64;
            if let Some(most) = at_most("maxProperties").filter(|most| count > *most) {
                says(format!("has {count} entries; use at most {most}"));
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
                says(format!("is {value}; use at least {least}"));
            }
            if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
                says(format!("is {value}; use at most {most}"));
            }
            if schema["format"] == "int32"
                && value.as_i64().is_none_or(|n| i32::try_from(n).is_err())
            {
                says(format!("is {value}; use a whole number of 32 bits"));
            }
        }
        _ => {}
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<Problem>) {
    let known = schema["properties"].as_object();
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for required in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(required) {
            found.push(Problem {
                field: below(required),
                says: "is missing: it must be there".to_owned(),
            });
        }
    }
    for (name, value) in fields {
        if let Some(schema) = known.and_then(|known| known.get(name)) {
            walk(schema, value, &below(name), found);
        } else if schema["additionalProperties"].is_object() {
            walk(&schema["additionalProperties"], value, &below(name), found);
        } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
            let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
            let says = match nearest(name, names.clone()) {
                Some(meant) => format!("there is no such field; is {meant} meant?"),
                None => {
                    let names: Vec<&str> = names.collect();
                    format!("there is no such field; there are {}", names.join(", "))
                }
            };
            found.push(Problem {
                field: below(name),
                says,
            });
        }
    }
}

/// The name that was meant, if one is near enough.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &&str| strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase());
    names
        .map(|name| (near(&name), name))
        .filter(|(near, _)| *near >= NEAR)
        .max_by(|one, two| one.0.total_cmp(&two.0))
        .map(|(_, name)| name)
}

fn fits(wanted: &str, value: &Value) -> bool {
    match wanted {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn called(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => landfall_crds::text::quoted(text).to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn a(wanted: &str) -> &str {
    match wanted {
        "string" => "text",
        "boolean" => "true or false",
        "integer" | "number" => "a number",
        "array" => "a list",
        "object" => "an object",
        other => other,
    }
}
