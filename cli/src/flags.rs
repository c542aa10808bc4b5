//! The flags of a container, in whichever of the two forms they were written. Pure.

use std::fmt;

/// `--name`, `--name=value` or `--name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    /// With its dashes.
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The flags of these arguments, in their order.
pub(crate) fn flags(args: &[String]) -> Vec<Flag> {
    let mut found: Vec<Flag> = Vec::new();
    for arg in args {
        match (arg.starts_with('-'), arg.split_once('=')) {
            (true, Some((name, value))) => found.push(Flag {
                name: name.to_owned(),
                value: Some(value.to_owned()),
            }),
            (true, None) => found.push(Flag {
                name: arg.clone(),
                value: None,
            }),
            // A word after a flag without a value is its value: none of our programs takes any other word.
            (false, _) => {
                if let Some(last) = found.last_mut().filter(|last| last.value.is_none()) {
                    last.value = Some(arg.clone());
                }
            }
        }
    }
    found
}

/// The last of a name, which is the one that counts.
pub(crate) fn value<'a>(flags: &'a [Flag], name: &str) -> Option<&'a str> {
    let mut of = flags.iter().rev().filter(|flag| flag.name == name);
    of.find_map(|flag| flag.value.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_flag_are_read() {
        let args = [
            "--default-class",
            "false",
            "--a=b=c",
            "--plain",
            "--x=1",
            "--x=2",
        ];
        let found = flags(&args.map(str::to_owned));
        let said: Vec<String> = found.iter().map(Flag::to_string).collect();
        assert_eq!(
            said,
            [
                "--default-class=false",
                "--a=b=c",
                "--plain",
                "--x=1",
                "--x=2"
            ]
        );
        assert_eq!(value(&found, "--default-class"), Some("false"));
        assert_eq!(value(&found, "--x"), Some("2"));
        assert_eq!(value(&found, "--plain"), None);
    }
}
