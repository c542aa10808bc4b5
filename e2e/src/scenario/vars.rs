//! `${name}` in the strings of a scenario: its own values, what steps captured, and the machines of the lab
//! (`${node-1.ip}`, `${node-1.ip6}`, `${node-1.mac}`). A name may hold another one: `${${owner}.mac}`.

use std::collections::BTreeMap;

use crate::lab::plan::Plan;

/// A name that has no value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("${{{0}}} has no value here")]
pub struct Unknown(pub String);

/// Names and values.
#[derive(Clone, Debug, Default)]
pub struct Vars(BTreeMap<String, String>);

impl Vars {
    /// The machines of a lab.
    pub fn of(plan: &Plan) -> Self {
        let mut this = Self::default();
        this.set("lab", plan.id.clone());
        for machine in plan.machines() {
            this.set(&format!("{}.ip", machine.name), machine.ipv4.to_string());
            this.set(&format!("{}.ip6", machine.name), machine.ipv6.to_string());
            this.set(&format!("{}.mac", machine.name), machine.mac.clone());
        }
        this
    }

    /// Gives a name a value.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// Puts values in for names.
    pub fn expand(&self, text: &str) -> Result<String, Unknown> {
        self.replace(text, &|value| value.to_owned())
    }

    /// The same inside a regular expression, where a value stands for itself.
    pub fn expand_pattern(&self, text: &str) -> Result<String, Unknown> {
        self.replace(text, &|value| regex::escape(value))
    }

    fn replace(&self, text: &str, quote: &dyn Fn(&str) -> String) -> Result<String, Unknown> {
        let Some(start) = text.find("${") else {
            return Ok(text.to_owned());
        };
        let after = &text[start + 2..];
        let Some(length) = closing_brace(after) else {
            return Ok(text.to_owned());
        };
        let name = self.replace(&after[..length], &|value| value.to_owned())?;
        let value = self.0.get(&name).ok_or(Unknown(name))?;
        Ok(format!(
            "{}{}{}",
            &text[..start],
            quote(value),
            self.replace(&after[length + 1..], quote)?
        ))
    }
}

/// Where the brace that was opened before this text is closed, counting those in between.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A pattern with every variable replaced by a letter, to see whether it compiles before the values are known.
pub fn with_placeholders(pattern: &str) -> String {
    let Some(start) = pattern.find("${") else {
        return pattern.to_owned();
    };
    let after = &pattern[start + 2..];
    let Some(length) = closing_brace(after) else {
        return pattern.to_owned();
    };
    format!(
        "{}x{}",
        &pattern[..start],
        with_placeholders(&after[length + 1..])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vars {
        let plan = Plan::new("beef", "/tmp".into(), "/assets".into(), 2, 1).unwrap();
        let mut vars = Vars::of(&plan);
        vars.set("owner", "node-2".into());
        vars
    }

    #[test]
    fn a_name_may_be_made_of_another_ones_value() {
        assert_eq!(
            vars()
                .expand("at ${${owner}.mac}, not ${node-1.ip}.")
                .unwrap(),
            "at 02:00:00:00:10:02, not 192.0.2.11."
        );
    }

    #[test]
    fn a_value_in_a_pattern_stands_for_itself() {
        assert_eq!(
            vars().expand_pattern("^${node-1.ip}$").unwrap(),
            r"^192\.0\.2\.11$"
        );
    }

    #[test]
    fn an_unknown_name_is_said_and_a_lone_dollar_is_left_alone() {
        assert_eq!(vars().expand("${nobody}"), Err(Unknown("nobody".into())));
        assert_eq!(
            vars().expand("$(seq 3) $x ${open").unwrap(),
            "$(seq 3) $x ${open"
        );
    }

    #[test]
    fn a_pattern_is_tried_without_its_values() {
        assert_eq!(with_placeholders("^${a.${b}.c}-${d}$"), "^x-x$");
    }
}
