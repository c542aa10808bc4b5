//! Objects of ours that are refused: by the controller, by the rules of the definitions, and by the
//! limits of their schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Row;
use crate::limits::{Limit, limits};
use crate::situation::Situation;

/// Pools that the definition lets through, or that were there before it.
pub(super) fn pools() -> Vec<Row> {
    let block = |block: Value| json!({"blocks": [block]});
    let with = |field: &str, value: Value| {
        let mut spec = block(json!({"cidr": "192.0.2.0/24"}));
        spec[field] = value;
        spec
    };
    let expression = |expression: Value| json!({"matchExpressions": [expression]});
    let mapped = "write the IPv4 address itself";
    let split = "split the range around these addresses";
    let cases: Vec<(Value, &'static str)> = vec![
        (json!({"blocks": []}), "add a block"),
        (block(json!({})), "set cidr, or start"),
        (
            block(json!({"cidr": "192.0.2.0/30", "start": "192.0.2.1"})),
            "remove cidr, or start",
        ),
        (block(json!({"stop": "192.0.2.1"})), "set start"),
        (
            block(json!({"cidr": "192.0.2.1"})),
            "add the length of the prefix; for one address use start",
        ),
        (block(json!({"cidr": "pool"})), "write a network"),
        (
            block(json!({"cidr": "192.0.2.1-192.0.2.9"})),
            "write the range in start and stop",
        ),
        (
            block(json!({"cidr": "192.0.2.200/28"})),
            "write the network's own address, or a range",
        ),
        (block(json!({"cidr": "127.0.0.0/30"})), split),
        (block(json!({"cidr": "0.0.0.0/0"})), split),
        (block(json!({"cidr": "ff02::/112"})), split),
        (block(json!({"cidr": "::ffff:192.0.2.0/120"})), mapped),
        (block(json!({"start": "192.0.2.300"})), "write an address"),
        (
            block(json!({"start": "192.0.2.3", "stop": "last"})),
            "write an address",
        ),
        (
            block(json!({"start": "192.0.2.1", "stop": "2001:db8::1"})),
            "make one block for each family",
        ),
        (
            block(json!({"start": "192.0.2.9", "stop": "192.0.2.1"})),
            "swap start and stop",
        ),
        (
            block(json!({"start": "223.255.255.0", "stop": "224.0.0.9"})),
            split,
        ),
        (
            with("excludes", json!([{"cidr": "192.0.2.5/30"}])),
            "write the network's own address, or a range",
        ),
        (
            with(
                "serviceSelector",
                expression(json!({"key": "a", "operator": "Like", "values": ["b"]})),
            ),
            "use an operator of Kubernetes",
        ),
        (
            with(
                "serviceSelector",
                expression(json!({"key": "a", "operator": "In"})),
            ),
            "add values",
        ),
        (
            with(
                "namespaceSelector",
                expression(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            ),
            "remove the values",
        ),
    ];
    let refused = |(spec, remedy): (Value, &'static str)| {
        let error = Situation::compiled("p", spec.clone()).unwrap_err();
        let top = error.field.split(['.', '[']).nth(1).unwrap();
        Row {
            example: format!("{top}: {}", spec[top]),
            field: error.field.clone(),
            reason: "Invalid",
            message: error.to_string(),
            remedy,
        }
    };
    cases.into_iter().map(refused).collect()
}

#[derive(Deserialize)]
pub(super) struct Case {
    object: Value,
    refused: Option<String>,
}

/// What helps against each rule of the definitions, by a part of its message.
const RULES: [(&str, &str); 13] = [
    (
        "a block has either cidr or start",
        "remove one of the two, or set one",
    ),
    ("stop is the end of a range", "set start"),
    ("of different families", "make one block for each family"),
    (
        "not a CIDR",
        "write the network with the length of its prefix",
    ),
    (
        "host bits are set",
        "write the network's own address, or a range",
    ),
    (
        "no Service can live here",
        "use addresses that a host can have",
    ),
    (
        "not an IP address in canonical form",
        "write IPv6 in lower case and as short as it goes",
    ),
    (
        "not an IP address",
        "write an address; IPv4-mapped ones as IPv4",
    ),
    (
        "metadata.name must be the address",
        "name the object after its address",
    ),
    (
        "address cannot be changed",
        "create an object for the other address",
    ),
    (
        "several holders need a sharingKey",
        "set spec.sharingKey, or name one holder",
    ),
    ("not a duration", "write a number with a unit"),
    ("too often", "write 1s or more, or 0s"),
];

/// Every rule of a definition with the places it stands at: refused by the API server itself.
pub(super) fn rules(crd: &Value, kind: &str, cases: &[Case]) -> Vec<Row> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    collect(
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        "",
        &mut found,
    );
    let row = |(message, fields): (String, BTreeSet<String>)| {
        let mut remedies = RULES.iter().filter(|(part, _)| message.contains(part));
        let (_, remedy) = remedies
            .next()
            .unwrap_or_else(|| unreachable!("no remedy for {message}"));
        let tried = |case: &&Case| {
            let refused = case.refused.as_deref();
            case.object["kind"] == kind && refused.is_some_and(|part| message.contains(part))
        };
        let case = cases.iter().find(tried).unwrap();
        let name = case.object["metadata"]["name"].as_str().unwrap();
        let named = message
            .contains("metadata.name")
            .then(|| format!("metadata.name: {name}, "));
        let example = format!("{}spec: {}", named.unwrap_or_default(), case.object["spec"]);
        let field = fields.into_iter().collect::<Vec<_>>().join(", ");
        Row {
            field,
            example,
            reason: "",
            message,
            remedy,
        }
    };
    found.into_iter().map(row).collect()
}

fn collect(schema: &Value, path: &str, into: &mut BTreeMap<String, BTreeSet<String>>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let message = rule["message"].as_str().unwrap().to_owned();
        let place = if path.is_empty() {
            "(the object)"
        } else {
            path
        };
        into.entry(message).or_default().insert(place.to_owned());
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(below, &path, into);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), into);
    }
}

/// Every limit of a definition with the places it stands at.
pub(super) fn bounds(crd: &Value) -> Vec<Row> {
    let mut found: BTreeMap<String, (BTreeSet<String>, Limit)> = BTreeMap::new();
    for limit in limits(crd) {
        let places = found
            .entry(limit.message.clone())
            .or_insert_with(|| (BTreeSet::new(), limit.clone()));
        places.0.insert(limit.place);
    }
    let row = |(message, (places, limit)): (String, (BTreeSet<String>, Limit))| Row {
        field: places.into_iter().collect::<Vec<_>>().join(", "),
        example: limit.shown,
        reason: "",
        message,
        remedy: limit.remedy,
    };
    found.into_iter().map(row).collect()
}
