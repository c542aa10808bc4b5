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
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| first_line(&error.to_string()))?;
    let several = values.len() > 1;
    let mut documents = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let place = if several {
            format!("{place}#{}", at + 1)
        } else {
            place.to_owned()
        };
        let items = value.get("items").and_then(Value::as_array);
        let is_list = value
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.ends_with("List"));
        match items.filter(|_| is_list) {
            Some(items) => documents.extend(items.iter().map(|item| Document {
                place: place.clone(),
                value: item.clone(),
            })),
            None => documents.push(Document { place, value }),
        }
    }
    Ok(documents)
}

/// What is wrong and where; the picture of the place that follows is for a terminal of its own.
fn first_line(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}
