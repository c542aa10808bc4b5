//! How things are put: tables, trees, ages, bars, and what others wrote as one printable line.

use std::io::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_crds::text::{MAX_MESSAGE, line};

/// What others wrote, as one printable line: no newline begins a line of its own, nothing steers the terminal.
pub(crate) fn plain(text: &str) -> String {
    line(text, MAX_MESSAGE)
}

/// A sentence about something, which is named first, once.
pub(crate) fn about(subject: &str, says: &str) -> String {
    let says = plain(says);
    if says.starts_with(subject) {
        says
    } else {
        format!("{subject}: {says}")
    }
}

/// Rows below a heading, in columns as kubectl has them.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = tabwriter::TabWriter::new(Vec::new()).padding(3).minwidth(0);
    // Writing to memory cannot fail.
    let _ = writeln!(out, "{}", heading.join("\t"));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
        let _ = writeln!(out, "{}", cells.join("\t"));
    }
    let bytes = out.into_inner().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// A cell with nothing in it.
pub(crate) fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() {
        "<none>".to_owned()
    } else {
        text
    }
}

/// How long ago, as kubectl says it.
pub(crate) fn age(since: Option<&Time>, now: Timestamp) -> String {
    let Some(since) = since else {
        return "<unknown>".to_owned();
    };
    let seconds = now.as_second().saturating_sub(since.0.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 && seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 730 => format!("{days}d"),
        () => format!("{}y", days / 365),
    }
}

/// How much of a whole, twenty characters wide. Something is never drawn as nothing, nor less than all as all.
pub(crate) fn bar(part: u128, whole: u128) -> String {
    const WIDTH: u128 = 20;
    let full = match (part, whole) {
        (0, _) | (_, 0) => 0,
        (part, whole) if part >= whole => WIDTH,
        // Halved until the product fits: a /64 counts more than a u64.
        (part, whole) => {
            let shift = (u128::BITS - whole.leading_zeros()).saturating_sub(64);
            ((part >> shift) * WIDTH / (whole >> shift).max(1)).clamp(1, WIDTH - 1)
        }
    };
    let full = usize::try_from(full).unwrap_or_default();
    format!("[{}{}]", "#".repeat(full), ".".repeat(20 - full))
}

/// A tree of sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Tree {
    pub(crate) says: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) below: Vec<Tree>,
}

impl Tree {
    pub(crate) fn leaf(says: impl Into<String>) -> Self {
        Self {
            says: plain(&says.into()),
            below: Vec::new(),
        }
    }

    pub(crate) fn new(says: impl Into<String>, below: Vec<Self>) -> Self {
        Self {
            below,
            ..Self::leaf(says)
        }
    }

    pub(crate) fn draw(&self) -> String {
        let mut out = format!("{}\n", self.says);
        self.draw_below("", &mut out);
        out
    }

    fn draw_below(&self, indent: &str, out: &mut String) {
        for (at, tree) in self.below.iter().enumerate() {
            let last = at + 1 == self.below.len();
            let (branch, rest) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            out.push_str(&format!("{indent}{branch}{}\n", tree.says));
            tree.draw_below(&format!("{indent}{rest}"), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_as_kubectl_says_them() {
        let said = |seconds: i64| {
            let since = Time(Timestamp::from_second(1_000_000).unwrap());
            age(
                Some(&since),
                Timestamp::from_second(1_000_000 + seconds).unwrap(),
            )
        };
        let all = [5, 119, 120, 185, 600, 7_200, 20_000, 200_000].map(said);
        assert_eq!(all, ["5s", "119s", "2m", "3m5s", "10m", "120m", "5h", "2d"]);
        assert_eq!(said(-30), "0s", "clocks differ");
    }

    #[test]
    fn a_bar_is_never_empty_while_something_is_used_nor_full_while_something_is_free() {
        assert_eq!(bar(0, 10), "[....................]");
        assert_eq!(bar(1, u128::from(u64::MAX)), "[#...................]");
        assert_eq!(bar(999, 1000), "[###################.]");
        assert_eq!(bar(10, 10), "[####################]");
        assert_eq!(bar(u128::MAX - 1, u128::MAX), "[###################.]");
        assert_eq!(bar(0, 0), "[....................]");
    }

    #[test]
    fn what_others_wrote_begins_no_line_and_steers_no_terminal() {
        let drawn = Tree::leaf("a\n\u{1b}[31mb").draw();
        assert_eq!(drawn, "a\\n\\u{1b}[31mb\n");
        let table = table(&["NAME"], &[vec!["a\tb\nc".into()]]);
        assert_eq!(table, "NAME\na\\tb\\nc\n");
    }
}
