//! Files of manifests as documents.

use serde_json::Value;

/// One object, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The file, and which document of it where it has several.
    pub(crate) place: String,
    pub(crate) value: Value,
}

impl Document {
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `Kind name`, or `Kind namespace/name`.
    pub(crate) fn object(&self) -> String {
        let (kind, namespace, name) = (
            self.text("/kind"),
            self.text("/metadata/namespace"),
            self.name(),
        );
        let name = if name.is_empty() {
            "without a name"
        } else {
            name
        };
        match namespace {
            "" => format!("{kind} {name}"),
            namespace => format!("{kind} {namespace}/{name}"),
        }
    }
}

/// The documents of a file; lists are taken apart.
///
/// # Errors
/// What a reader of YAML or JSON has against it.
pub(crate) fn read(place: &str, text: &str) -> Result<Vec<Document>, String> {
    let values = values(text)?;
    let several = values.len() > 1;
    let mut documents = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let place = if several {
            format!("{place}#{}", at + 1)
        } else {
            place.to_owned()
        };
        take(place, whole(value), &mut documents);
    }
    Ok(documents)
}

/// The values of a file: documents of YAML, or of JSON, which may follow each other without a mark between them.
fn values(text: &str) -> Result<Vec<Value>, String> {
    // A file is somebody's own: what it may hold ends far above what a cluster takes, and aliases stay bounded.
    let budget = serde_saphyr::budget! {
        max_documents: 1_000_000,
        max_nodes: 50_000_000,
        max_events: 100_000_000,
        max_total_scalar_bytes: 1 << 30
    };
    let options = serde_saphyr::options! { budget: budget };
    let read = serde_saphyr::from_multiple_with_options(text, options);
    read.or_else(|error| {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let stream: Result<Vec<Value>, _> = stream.collect();
        stream.map_err(|_| first_line(&error.to_string()))
    })
}

/// Whole numbers as such, however they were written: `5.0` and `1e2` are whole to the API server.
fn whole(value: Value) -> Value {
    /// Up to here a float holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
                // Printed without a fraction and read again: no cast that could cut something off.
                format!("{float:.0}")
                    .parse::<i64>()
                    .map_or(Value::Number(number), Value::from)
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, whole(value)))
                .collect(),
        ),
        other => other,
    }
}

/// An object, or the objects of a list, which may be lists too.
fn take(place: String, mut value: Value, documents: &mut Vec<Document>) {
    let kind = value.get("kind").and_then(Value::as_str);
    let is_list = kind.is_some_and(|kind| kind.ends_with("List"));
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => {
            for item in items {
                take(place.clone(), item, documents);
            }
        }
        items => {
            if let Some(items) = items {
                value["items"] = items;
            }
            documents.push(Document { place, value });
        }
    }
}

/// Places Services that name no namespace where `kubectl apply` would.
pub(crate) fn place(documents: &mut [Document], namespace: &str) {
    for document in documents {
        let is_service =
            document.text("/kind") == "Service" && document.text("/apiVersion") == "v1";
        if is_service
            && document.text("/metadata/namespace").is_empty()
            && let Some(metadata) = document.value.pointer_mut("/metadata")
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
}

/// What is wrong and where; the picture of the place that follows is for a terminal of its own.
fn first_line(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_may_be_long_and_json_may_follow_json() {
        let many = "---\nkind: A\n".repeat(3000);
        assert_eq!(read("x", &many).unwrap().len(), 3000);
        let list = format!(
            "kind: AList\nitems:\n{}",
            "- {kind: A, a: [1, 2]}\n".repeat(60_000)
        );
        assert_eq!(read("x", &list).unwrap().len(), 60_000);
        assert_eq!(
            read("x", "{\"kind\": \"A\"}\n{\"kind\": \"B\"}")
                .unwrap()
                .len(),
            2
        );
        assert!(read("x", "{\"kind\": \"A\"}\n{\"kind\": ").is_err());
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        let found = read("x", "{a: 5.0, b: 1e2, c: 2.5, d: \"5.0\"}").unwrap();
        assert_eq!(
            found[0].value,
            json!({"a": 5, "b": 100, "c": 2.5, "d": "5.0"})
        );
    }
}
