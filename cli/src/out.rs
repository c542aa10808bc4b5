//! What a command says, in the form that was asked for, and how it ends.

use std::process::ExitCode;

use serde::Serialize;

use crate::args::Output;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All is well.
    Well,
    /// What was asked about is not as it should be.
    NotWell,
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
        Output::Table => table(model),
        Output::Json => {
            let mut text = serde_json::to_string_pretty(model)?;
            text.push('\n');
            text
        }
        Output::Yaml => serde_saphyr::to_string(model)?,
    })
}

/// Prints text as it is. A reader that went away (`| head`) ends nothing.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
