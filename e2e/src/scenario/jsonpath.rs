//! The part of kubectl's JSONPath that scenarios use: literal text, `{.a.b}`, `{.a['x.y/z']}`, `{.a[0]}`, `{.a[*].b}`,
//! `{.a[?(@.type=="Ready")].status}`. What is not there prints nothing, as with kubectl.

use serde_json::Value;

/// A path that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSONPath {path:?}: {detail}")]
pub struct PathError {
    path: String,
    detail: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Vec<Turn>),
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Field(String),
    Index(usize),
    All,
    Where { field: Vec<String>, equals: String },
}

/// A template that was understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Understands a template.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |detail| PathError {
            path: text.to_owned(),
            detail,
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let end = rest[start..]
                .find('}')
                .ok_or_else(|| error("a brace is not closed"))?
                + start;
            parts.push(Part::Path(turns(&rest[start + 1..end]).map_err(error)?));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// What it prints for an object.
    pub fn print(&self, object: &Value) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Path(path) => text.push_str(&follow(path, object).join(" ")),
            }
        }
        text
    }
}

fn follow(path: &[Turn], object: &Value) -> Vec<String> {
    let mut at = vec![object];
    for turn in path {
        at = at.into_iter().flat_map(|value| step(turn, value)).collect();
    }
    at.into_iter().map(text_of).collect()
}

fn step<'a>(turn: &Turn, value: &'a Value) -> Vec<&'a Value> {
    let items = || {
        value
            .as_array()
            .map(|items| items.iter().collect())
            .unwrap_or_default()
    };
    match turn {
        Turn::Field(name) => value.get(name).into_iter().collect(),
        Turn::Index(index) => value.get(*index).into_iter().collect(),
        Turn::All => match value {
            Value::Object(fields) => fields.values().collect(),
            _ => items(),
        },
        Turn::Where { field, equals } => {
            let all: Vec<&Value> = items();
            all.into_iter()
                .filter(|item| {
                    let found = field.iter().try_fold(*item, |at, name| at.get(name));
                    found.is_some_and(|found| text_of(found) == *equals)
                })
                .collect()
        }
    }
}

/// A value as it is printed: strings without quotes.
fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn turns(path: &str) -> Result<Vec<Turn>, &'static str> {
    let mut turns = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 && turns.is_empty() && after.is_empty() {
                return Ok(turns);
            }
            if end == 0 {
                return Err("a field has no name");
            }
            turns.push(Turn::Field(after[..end].to_owned()));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']').ok_or("a bracket is not closed")?;
            turns.push(bracket(&after[..end])?);
            rest = &after[end + 1..];
        } else {
            return Err("a path begins with a dot or a bracket");
        }
    }
    Ok(turns)
}

fn bracket(inside: &str) -> Result<Turn, &'static str> {
    if inside == "*" {
        return Ok(Turn::All);
    }
    if let Ok(index) = inside.parse() {
        return Ok(Turn::Index(index));
    }
    if let Some(name) = unquote(inside) {
        return Ok(Turn::Field(name.to_owned()));
    }
    let condition = inside
        .strip_prefix("?(@.")
        .and_then(|text| text.strip_suffix(')'))
        .ok_or("a bracket holds a number, *, a quoted name or ?(@.field==\"value\")")?;
    let (field, value) = condition
        .split_once("==")
        .ok_or("a condition compares with ==")?;
    Ok(Turn::Where {
        field: field.trim().split('.').map(str::to_owned).collect(),
        equals: unquote(value.trim()).unwrap_or(value.trim()).to_owned(),
    })
}

fn unquote(text: &str) -> Option<&str> {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
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
        for path in ["{.a", "{a}", "{.a[}", "{.a[?(x)]}", "{.a..b}"] {
            assert!(Template::parse(path).is_err(), "{path}");
        }
    }
}
