//! What is shown: on the terminal, and, without colours, in a file.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::spec::Scenario;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Title,
    Faint,
    Command,
    Good,
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Command => "\x1b[36m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// The terminal and the file.
#[derive(Debug)]
pub struct Transcript {
    file: Option<File>,
    colours: bool,
    chapter: usize,
}

impl Transcript {
    /// To the terminal, and to a file if one is named.
    pub fn to(path: Option<&Path>) -> Result<Self> {
        let file = path
            .map(|path| File::create(path).with_context(|| format!("creating {}", path.display())))
            .transpose()?;
        Ok(Self {
            file,
            colours: std::io::stdout().is_terminal(),
            chapter: 0,
        })
    }

    /// What is about to be shown.
    pub fn opening(&mut self, scenario: &Scenario) {
        self.line(
            Tone::Title,
            &format!("{}: {}", scenario.name, scenario.about.trim()),
        );
        self.line(Tone::Plain, "");
        self.chapter = 0;
    }

    /// A stage of the lab itself.
    pub fn stage(&mut self, text: &str) {
        self.line(Tone::Faint, &format!("· {text}"));
    }

    /// A heading.
    pub fn title(&mut self, text: &str) {
        self.chapter += 1;
        self.line(Tone::Plain, "");
        self.line(Tone::Title, &format!("{}. {text}", self.chapter));
    }

    /// A sentence.
    pub fn say(&mut self, text: &str) {
        for line in text.trim().lines() {
            self.line(Tone::Faint, &format!("   {line}"));
        }
    }

    /// A command, as somebody at that machine would type it.
    pub fn command(&mut self, prompt: &str, command: &str) {
        let mut lines = command.trim().lines();
        self.line(
            Tone::Command,
            &format!("   {prompt} {}", lines.next().unwrap_or_default()),
        );
        for line in lines {
            self.line(Tone::Command, &format!("     {line}"));
        }
    }

    /// What it printed, at most so many lines of it.
    pub fn output(&mut self, text: &str, most: Option<usize>) {
        for line in shown(text, most) {
            self.line(Tone::Plain, &format!("   {line}"));
        }
    }

    /// A step that held.
    pub fn held(&mut self, what: &str, took: Duration) {
        self.line(Tone::Good, &format!("   ✓ {what}{}", in_words(took)));
    }

    /// A step that did not.
    pub fn broke(&mut self, why: &str, took: Duration) {
        self.line(Tone::Bad, &format!("   ✗ {why} {}", in_words(took)));
    }

    /// The last line.
    pub fn closing(&mut self, held: bool, text: &str) {
        self.line(Tone::Plain, "");
        self.line(if held { Tone::Good } else { Tone::Bad }, text);
    }

    fn line(&mut self, tone: Tone, text: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever closed the terminal does not read any more; the scenario goes on, its exit code counts.
        let _ = if self.colours && tone != Tone::Plain {
            writeln!(out, "{}{text}\x1b[0m", tone.code())
        } else {
            writeln!(out, "{text}")
        };
        let _ = out.flush();
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{}", text.trim_end());
        }
    }
}

/// The lines to show; what is left out is said.
fn shown(text: &str, most: Option<usize>) -> Vec<String> {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    match most {
        Some(0) => Vec::new(),
        Some(most) if lines.len() > most => lines[..most]
            .iter()
            .map(|line| (*line).to_owned())
            .chain([format!("… ({} more lines)", lines.len() - most)])
            .collect(),
        _ => lines.into_iter().map(str::to_owned).collect(),
    }
}

/// A duration as people say it.
pub fn in_words(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said() {
        assert_eq!(shown("a\nb\nc\n", Some(2)), ["a", "b", "… (1 more lines)"]);
        assert_eq!(shown("a\nb\n", Some(2)), ["a", "b"]);
        assert!(shown("a\n", Some(0)).is_empty());
    }

    #[test]
    fn short_times_are_milliseconds() {
        assert_eq!(in_words(Duration::from_millis(340)), "340 ms");
        assert_eq!(in_words(Duration::from_millis(15_349)), "15.3 s");
    }
}
