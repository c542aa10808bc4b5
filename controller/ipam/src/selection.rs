//! Label selectors, compiled once: matching allocates nothing and cannot fail.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use landfall_crds::text::quoted;

/// A compiled label selector. Without any rule it matches everything, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Compiles a selector.
    ///
    /// # Errors
    /// The expression that Kubernetes would not understand, and what it knows instead.
    pub fn compile(selector: &LabelSelector) -> Result<Self, String> {
        let mut rules: Vec<Rule> = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Rule::In(key.clone(), BTreeSet::from([value.clone()])))
            .collect();
        for (at, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let key = expression.key.clone();
            let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
            let rule = match (expression.operator.as_str(), values.is_empty()) {
                ("In", false) => Rule::In(key, values),
                ("NotIn", false) => Rule::NotIn(key, values),
                ("Exists", true) => Rule::Exists(key),
                ("DoesNotExist", true) => Rule::Absent(key),
                (operator @ ("In" | "NotIn"), true) => {
                    return Err(format!(
                        "matchExpressions[{at}]: operator {operator} needs at least one value; add one"
                    ));
                }
                (operator @ ("Exists" | "DoesNotExist"), false) => {
                    return Err(format!(
                        "matchExpressions[{at}]: operator {operator} takes no values; remove them"
                    ));
                }
                (operator, _) => {
                    return Err(format!(
                        "matchExpressions[{at}]: unknown operator {}; \
                         use In, NotIn, Exists or DoesNotExist",
                        quoted(operator)
                    ));
                }
            };
            rules.push(rule);
        }
        Ok(Self(rules))
    }

    /// A label that everything it matches has, with the values it may have.
    #[must_use]
    pub fn pin(&self) -> Option<(&str, &BTreeSet<String>)> {
        self.0.iter().find_map(|rule| match rule {
            Rule::In(key, values) => Some((key.as_str(), values)),
            _ => None,
        })
    }

    /// Whether it matches labels, read through a look-up.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|rule| match rule {
            Rule::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
            Rule::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(value)),
            Rule::Exists(key) => label(key).is_some(),
            Rule::Absent(key) => label(key).is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn compile(value: serde_json::Value) -> Result<Selector, String> {
        Selector::compile(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn an_expression_kubernetes_does_not_know_is_refused_by_place() {
        let odd = serde_json::json!({"matchExpressions": [
            {"key": "a", "operator": "Exists"},
            {"key": "a", "operator": "Like", "values": ["x"]},
        ]});
        assert_eq!(
            compile(odd).unwrap_err(),
            "matchExpressions[1]: unknown operator \"Like\"; use In, NotIn, Exists or DoesNotExist"
        );
    }

    proptest! {
        #[test]
        fn it_matches_as_kubernetes_does(
            labels in prop::collection::btree_map("[ab]", "[xy]", 0..3),
            wanted in prop::collection::btree_map("[ab]", "[xy]", 0..2),
            expressions in prop::collection::vec(("[ab]", 0usize..4, "[xy]"), 0..3),
        ) {
            let operators = ["In", "NotIn", "Exists", "DoesNotExist"];
            let expressions: Vec<_> = expressions.iter().map(|(key, op, value)| serde_json::json!({
                "key": key, "operator": operators[*op],
                "values": if *op < 2 { vec![value] } else { vec![] },
            })).collect();
            let selector: LabelSelector = serde_json::from_value(serde_json::json!({
                "matchLabels": wanted, "matchExpressions": expressions,
            })).unwrap();
            let labels: BTreeMap<String, String> = labels;
            let ours = Selector::compile(&selector).unwrap()
                .matches(|key| labels.get(key).map(String::as_str));
            let theirs = landfall_crds::selector::matches(Some(&selector), &labels).unwrap();
            prop_assert_eq!(ours, theirs);
        }
    }
}
