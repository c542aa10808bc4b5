//! JSONPath between the braces of a template, as kubectl takes it: literal text, `{.a.b}`, `{.a['x.y/z']}`, `{.a[0]}`,
//! `{.a[*].b}`, `{.a[?(@.type=="Ready")].status}`. What is not there prints nothing, as with kubectl.
//!
//! The paths are the library's (RFC 9535); the braces and the way values are printed are kubectl's.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::{QueryRef, js_path_process};
use serde_json::Value;

/// A path that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSONPath {path:?}: {detail}")]
pub struct PathError {
    path: String,
    detail: String,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Path(JpQuery),
}

/// A template that was understood.
#[derive(Debug, PartialEq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Understands a template.
    ///
    /// # Errors
    /// When a brace is not closed or what it holds is no path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |detail: String| PathError {
            path: text.to_owned(),
            detail,
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            }
            let (path, after) = after
                .split_once('}')
                .ok_or_else(|| error("a brace is not closed".to_owned()))?;
            parts.push(Part::Path(
                query(path).map_err(|refusal| error(refusal.to_string()))?,
            ));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// What it prints for an object.
    #[must_use]
    pub fn print(&self, object: &Value) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(literal) => literal.clone(),
                Part::Path(path) => found(path, object),
            })
            .collect()
    }
}

/// Kubectl leaves out the root that the library wants, and writes `.` for all of the object.
fn query(path: &str) -> Result<JpQuery, jsonpath_rust::parser::errors::JsonPathError> {
    let path = path.trim();
    parse_json_path(&format!("${}", if path == "." { "" } else { path }))
}

/// Every value found, separated by blanks. A function that fails on what is there (`length` of a number) finds nothing.
fn found(path: &JpQuery, object: &Value) -> String {
    let values = js_path_process(path, object).unwrap_or_default();
    let texts: Vec<String> = values.into_iter().map(QueryRef::val).map(text_of).collect();
    texts.join(" ")
}

/// A value as it is printed: strings without quotes.
fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn print(path: &str) -> String {
        let object = json!({
            "metadata": {"labels": {"landfall.dev/x": "y"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
                "ingress": [{"ip": "192.0.2.200"}, {"ip": "2001:db8::200"}],
                "replicas": 3,
            },
        });
        Template::parse(path).unwrap().print(&object)
    }

    #[test]
    fn fields_indices_stars_and_conditions_find_what_kubectl_finds() {
        assert_eq!(print("{.status.replicas}"), "3");
        assert_eq!(
            print("{.status.ingress[*].ip}"),
            "192.0.2.200 2001:db8::200"
        );
        assert_eq!(print("{.status.ingress[1].ip}"), "2001:db8::200");
        assert_eq!(
            print("{.status.conditions[?(@.type==\"Ready\")].status}"),
            "True"
        );
        assert_eq!(print("{.metadata.labels['landfall.dev/x']}"), "y");
        assert_eq!(
            print("{.status.replicas} of {.status.ingress[0].ip}!"),
            "3 of 192.0.2.200!"
        );
    }

    #[test]
    fn what_is_not_there_prints_nothing() {
        assert_eq!(print("{.status.nothing[3].here}"), "");
    }

    #[test]
    fn a_broken_path_is_refused() {
        for path in ["{.a", "{a}", "{.a[}", "{.a[?(x)]}", "{.a.}", "{.a..}"] {
            assert!(Template::parse(path).is_err(), "{path}");
        }
    }
}
