//! Telling of objects that cannot be decoded.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Tells of them while we lead, until the token is cancelled.
pub(crate) async fn run(
    context: Context,
    mut leads: watch::Receiver<bool>,
    token: CancellationToken,
) {
    let work = async {
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let news = context.state.lock().undecodable.tell();
            for (regarding, note) in news {
                context.metrics.failed("undecodable");
                context.publish(regarding, note);
            }
            context.state.undecodable_seen.notified().await;
        }
    };
    token.run_until_cancelled(work).await;
}
