//! Logging, and the first line of a log.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::args::{LogArgs, LogFormat};

/// What SIGUSR1 adds to the level.
const OURS_IN_DETAIL: &str = "landfall_announcer=debug,landfall_bpf_lb=debug,landfall_controller=debug,landfall_runtime=debug";

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `--log-level` cannot be read.
    #[error(
        "--log-level {level:?}: {source}; write a level (error, warn, info, debug, trace) or directives such as info,landfall_controller=debug"
    )]
    Level { level: String, source: ParseError },
    /// The process logs already.
    #[error("logging was started twice: {0}")]
    Twice(String),
}

/// What this program was built from; `LANDFALL_REVISION` of the build's environment says it.
pub(crate) const REVISION: &str = match option_env!("LANDFALL_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The one log's; there is one a process.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Records that were left out of the log since it was started.
#[must_use]
pub fn lost_records() -> u64 {
    let lost = LOST.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(lost).unwrap_or(u64::MAX)
}

/// Starts logging to standard error and writes the first line: program, version, revision and kernel.
///
/// A thread of its own writes: what decides or answers waits for no reader of the log, and for nobody who is just writing
/// to it. What it has not written yet is written when the [`Level`] is dropped; more than 128,000 records behind, it leaves
/// records out, and [`lost_records`] counts them.
///
/// # Errors
/// When the level cannot be read, or logging was started before.
pub fn init(args: &LogArgs, program: &str, version: &str) -> Result<Level, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(&args.log_level)?);
    let is_terminal = io::stderr().is_terminal();
    let (out, writing) = tracing_appender::non_blocking(io::stderr());
    let lost = out.error_counter();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(is_terminal)
        .with_writer(out.clone());
    let registry = tracing_subscriber::registry().with(filter);
    match args.log_format {
        LogFormat::Text => {
            let layer = layer.with_writer(move || OneLine {
                out: out.clone(),
                is_terminal,
            });
            registry.with(layer).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| TelemetryError::Twice(error.to_string()))?;
    LOST.get_or_init(|| lost);
    tracing::info!(version, revision = REVISION, kernel = %kernel(), "{program} starts");
    Ok(Level {
        handle,
        configured: args.log_level.clone(),
        _writing: writing,
    })
}

/// What is logged. Of what goes wrong with a watch the client's library says every attempt; we say what is news.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let names_it = |directive: &str| directive.trim_start().starts_with("kube");
    let quiet = match level.split(',').any(names_it) {
        true => level.to_owned(),
        false => format!("kube_runtime::watcher=off,{level}"),
    };
    EnvFilter::try_new(quiet).map_err(|source| TelemetryError::Level {
        level: level.to_owned(),
        source,
    })
}

/// The log, one line a record: whatever a record quotes begins no line that looks like another.
struct OneLine {
    out: NonBlocking,
    is_terminal: bool,
}

impl io::Write for OneLine {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let line = one_line(&text, self.is_terminal);
        io::Write::write_all(&mut self.out, line.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut self.out)
    }
}

/// A record with everything escaped that starts a line, or steers a terminal or the direction of
/// writing; but for the newline at its end and, on a terminal, the colours that the log itself sets.
/// There the formatter escapes those of others.
fn one_line(record: &str, is_terminal: bool) -> Cow<'_, str> {
    let body = record.strip_suffix('\n').unwrap_or(record);
    let escapes = |c: char| {
        let is_colour = is_terminal && c == '\u{1b}';
        let is_mark = matches!(c, '"' | '\'' | '\\');
        !is_colour && !is_mark && c.escape_debug().len() > 1
    };
    if !body.contains(escapes) {
        return Cow::Borrowed(record);
    }
    let mut line = String::with_capacity(record.len() + 16);
    for c in body.chars() {
        if escapes(c) {
            line.extend(c.escape_debug());
        } else {
            line.push(c);
        }
    }
    line.push_str(&record[body.len()..]);
    Cow::Owned(line)
}

/// What is logged, changeable while the process runs.
pub struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
    _writing: WorkerGuard,
}

impl Level {
    /// SIGUSR1: debug, of our own crates; SIGUSR2: what `--log-level` says again. A signal, not a request: the admin
    /// port answers everybody.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn follow_signals(self) -> std::io::Result<()> {
        let mut more = signal(SignalKind::user_defined1())?;
        let mut back = signal(SignalKind::user_defined2())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = more.recv() => self.set(&format!("{},{}", self.configured, OURS_IN_DETAIL)),
                    _ = back.recv() => self.set(&self.configured),
                }
            }
        });
        Ok(())
    }

    fn set(&self, level: &str) {
        let changed = filter(level).map_err(|error| error.to_string());
        let changed = changed.and_then(|filter| {
            let reloaded = self.handle.reload(filter);
            reloaded.map_err(|error| error.to_string())
        });
        match changed {
            Ok(()) => tracing::info!(level, "log level changed"),
            Err(error) => tracing::warn!(level, error, "log level not changed"),
        }
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_level_that_cannot_be_read_is_refused_with_an_example() {
        let refused = filter("landfall_controller=loud").unwrap_err().to_string();
        assert!(refused.contains("landfall_controller=debug"), "{refused}");
    }

    #[test]
    fn attempts_of_a_watch_are_logged_where_they_are_asked_for() {
        let said = |level| filter(level).unwrap().to_string();
        assert!(said("info").contains("kube_runtime::watcher=off"));
        for level in ["info,kube_runtime=debug", "kube=debug"] {
            let asked = said(level);
            assert!(!asked.contains("off"), "{asked}");
        }
    }

    #[test]
    fn what_is_quoted_in_a_record_begins_no_line_and_turns_no_direction() {
        let forged = "INFO pool x\n2026-11-25 INFO assigned\r\u{1b}[31m\u{202e} \"why\"\n";
        let written = one_line(forged, false);
        assert_eq!(
            written,
            "INFO pool x\\n2026-11-25 INFO assigned\\r\\u{1b}[31m\\u{202e} \"why\"\n"
        );
        let plain = "INFO isn't C:\\it\n";
        assert!(matches!(one_line(plain, false), Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn the_colours_of_a_terminal_stay() {
        let coloured = "\u{1b}[32mINFO\u{1b}[0m so\n";
        assert_eq!(one_line(coloured, true), coloured);
    }

    #[tokio::test]
    async fn a_signal_changes_the_level_and_another_one_changes_it_back() {
        let (_layer, handle) = reload::Layer::new(filter("warn").unwrap());
        let level = Level {
            handle: handle.clone(),
            configured: "warn".into(),
            _writing: tracing_appender::non_blocking(io::sink()).1,
        };
        level.follow_signals().unwrap();
        let reads = async |wanted: &str| {
            tokio::time::timeout(Duration::from_secs(10), async {
                let said = || handle.with_current(ToString::to_string).unwrap();
                while !said().contains(wanted) || wanted == "warn" && said().contains("debug") {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        };
        for (name, wanted) in [("USR1", "landfall_announcer=debug"), ("USR2", "warn")] {
            let status = std::process::Command::new("kill")
                .arg(format!("-{name}"))
                .arg(std::process::id().to_string())
                .status();
            assert!(status.unwrap().success());
            reads(wanted).await;
        }
    }
}
