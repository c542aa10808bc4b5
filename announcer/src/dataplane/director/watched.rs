//! Whether somebody looks at packets, and the programs that this takes.

use landfall_bpf_lb::{LoadError, Sampler, Settings};
use tokio::task::JoinHandle;

use super::{DirectorView, with_causes};

/// Follows who looks. Nothing waits for it: to have programs verified takes its time, and packets want to be served
/// meanwhile.
#[derive(Default)]
pub(super) struct Watched {
    changing: Option<JoinHandle<Result<(), LoadError>>>,
    /// It could not be done: not again for the same look.
    has_failed: bool,
}

impl Watched {
    /// Has samples taken, or not any more. Whether a change has been made, after which the wanted state is to be
    /// carried out again.
    pub(super) async fn turn(&mut self, view: &DirectorView, settings: &Settings) -> bool {
        if let Some(changing) = self.changing.take_if(|changing| changing.is_finished()) {
            match changing.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.failed(&with_causes(&error)),
                Err(_) => self.failed("it ended in a panic"),
            }
            return true;
        }
        if self.changing.is_some() {
            return false;
        }
        let Some((is_watched, takes_samples)) = view.watched() else {
            return false;
        };
        self.has_failed &= is_watched;
        let view = view.clone();
        match (is_watched, takes_samples) {
            (true, false) if !self.has_failed => {
                tracing::info!("somebody looks at packets");
                let settings = settings.clone();
                let begin = move || view.take_samples(Sampler::load(&settings)?);
                self.changing = Some(tokio::task::spawn_blocking(begin));
            }
            (false, true) => {
                tracing::info!("nobody looks at packets any more");
                let end = move || view.take_no_samples();
                self.changing = Some(tokio::task::spawn_blocking(end));
            }
            _ => {}
        }
        false
    }

    fn failed(&mut self, why: &str) {
        tracing::warn!(why, "samples of packets cannot be taken");
        self.has_failed = true;
    }
}
