//! SIGTERM, SIGINT and panics as a token that everything long-lived holds a clone of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. Call it inside the runtime.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
    });
    Ok(token)
}

/// Makes a panic anywhere in the process cancel the token, after it was reported as before. A task that is gone
/// unnoticed would leave the others to go on as if it still worked. The flag says whether that has happened.
#[must_use]
pub fn on_panic(token: &CancellationToken) -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let (report, flag, token) = (
        std::panic::take_hook(),
        Arc::clone(&panicked),
        token.clone(),
    );
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        flag.store(true, Ordering::Relaxed);
        token.cancel();
    }));
    panicked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_that_nobody_awaits_ends_everything() {
        let token = CancellationToken::new();
        let panicked = on_panic(&token);
        tokio::spawn(async {
            let nothing: Option<()> = None;
            assert!(nothing.is_some(), "this panic is the test's own");
        });
        token.cancelled().await;
        assert!(panicked.load(Ordering::Relaxed));
    }
}
