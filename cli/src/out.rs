//! What a command says, in the form that was asked for, and how it ends.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use serde::Serialize;
use tokio::sync::oneshot;

use crate::args::{LineOutput, Output};
use crate::colour::on_terminal;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All is well.
    Well,
    /// What was asked about is not as it should be.
    NotWell,
    /// Too little could be seen to say which of the two.
    Unknown,
}

impl End {
    pub(crate) fn of(well: bool) -> Self {
        if well { Self::Well } else { Self::NotWell }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Well => Self::SUCCESS,
            End::NotWell => Self::from(1),
            End::Unknown => failed(),
        }
    }
}

/// It could not be asked, or not be done.
pub(crate) fn failed() -> ExitCode {
    ExitCode::from(2)
}

/// The model in the form asked for; `table` draws it for people.
///
/// # Errors
/// When the model cannot be written as JSON or YAML.
pub(crate) fn form<T: Serialize>(
    model: &T,
    output: Output,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<String> {
    Ok(match output {
        Output::Table => on_terminal(table(model)),
        Output::Json => {
            let mut text = serde_json::to_string_pretty(model)?;
            text.push('\n');
            text
        }
        Output::Yaml => serde_saphyr::to_string(model)?,
    })
}

/// One of an answer that has no end; `row` draws it for people.
///
/// # Errors
/// When the model cannot be written as JSON or YAML.
pub(crate) fn written<T: Serialize>(
    model: &T,
    output: LineOutput,
    row: impl FnOnce(&T) -> String,
) -> anyhow::Result<String> {
    Ok(match output {
        LineOutput::Table => row(model),
        LineOutput::Json => format!("{}\n", serde_json::to_string(model)?),
        LineOutput::Yaml => format!("---\n{}", serde_saphyr::to_string(model)?),
    })
}

/// Prints text as it is. A reader that went away (`| head`) ends nothing: a removal that stopped there would be half done.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Prints an answer that has no end, in a thread of its own: whoever waits for that can be stopped while nobody reads.
pub(crate) struct Voice(mpsc::Sender<(String, oneshot::Sender<bool>)>);

impl Voice {
    pub(crate) fn start() -> std::io::Result<Self> {
        use std::io::Write as _;
        let (sender, texts) = mpsc::channel::<(String, oneshot::Sender<bool>)>();
        std::thread::Builder::new()
            .name("voice".to_owned())
            .spawn(move || {
                for (text, heard) in texts {
                    let mut out = std::io::stdout().lock();
                    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                    let _ = heard.send(written.is_ok());
                }
            })?;
        Ok(Self(sender))
    }

    /// False when nobody reads it any more.
    pub(crate) async fn say(&self, text: String) -> bool {
        let (sender, heard) = oneshot::channel();
        self.0.send((text, sender)).is_ok() && heard.await == Ok(true)
    }
}

/// The same for what is no part of the answer.
pub(crate) fn print_aside(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The answer is for programs: what is said in words goes beside it.
static BESIDE: AtomicBool = AtomicBool::new(false);

/// From now on only `print` writes the answer, and `say!` goes beside it, to standard error.
pub(crate) fn words_beside() {
    BESIDE.store(true, Ordering::Relaxed);
}

/// What `say!` says.
pub(crate) fn words(text: &str) {
    match BESIDE.load(Ordering::Relaxed) {
        true => print_aside(text),
        false => print(&on_terminal(text.to_owned())),
    }
}

/// A line in words, as `println!`, which panics where nobody reads any more.
macro_rules! say {
    () => { $crate::out::words("\n") };
    ($($words:tt)+) => { $crate::out::words(&format!("{}\n", format_args!($($words)+))) };
}

/// A line that is no part of the answer, as `eprintln!`, which panics too.
macro_rules! complain {
    ($($words:tt)+) => { $crate::out::print_aside(&format!("{}\n", format_args!($($words)+))) };
}

pub(crate) use {complain, say};
