//! All watches, through every history the API server shows.
//!
//! A watch goes on from the version it has seen last. When the API server's database is restored from
//! an older copy under it, that version lies in a future that is gone, and the watch waits for it in
//! silence. So when the session finds its own Lease in a past that was over, all watches begin anew:
//!
//! ```text
//!  watches ───────────────────────────────► inputs
//!  went back: old watches end; new ones list ─► WentBack(everything) ─► inputs ─► and go on
//! ```
//!
//! Invariant: what the brain knows is replaced in one step, by a complete picture: until there is one it
//! goes on with what it had, so that nobody falls silent for the lack of news.

use std::collections::BTreeSet;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::watch::{WatchErrors, watch_all};
use crate::brain::Input;
use crate::model::Kind;
use crate::names::NodeName;

/// News that may wait to be passed on.
const QUEUE: usize = 256;

/// Watches everything the announcer needs, of renewals those of the `watched` nodes, until the token is cancelled; anew whenever `histories` counts
/// one more.
pub async fn watch_history(
    client: Client,
    namespace: String,
    watched: watch::Receiver<BTreeSet<NodeName>>,
    inputs: mpsc::Sender<Input>,
    errors: WatchErrors,
    mut histories: watch::Receiver<u64>,
    token: CancellationToken,
) {
    // Dropped, they end.
    let start = |inputs: &mpsc::Sender<Input>| {
        let watched = watched.clone();
        watch_all(&client, &namespace, watched, inputs, &errors, &token)
    };
    let mut watches = start(&inputs);
    while next(&mut histories, &token).await {
        drop(watches);
        let (news, mut heard) = mpsc::channel(QUEUE);
        watches = start(&news);
        let pass = async {
            let everything = everything(&mut heard).await;
            let mut sent = inputs.send(Input::WentBack(everything)).await;
            while sent.is_ok()
                && let Some(input) = heard.recv().await
            {
                sent = inputs.send(input).await;
            }
        };
        let mut more = histories.clone();
        tokio::select! {
            () = pass => return,
            // Once more, and perhaps before the new picture was whole.
            _ = more.changed() => {}
            () = token.cancelled() => return,
        }
    }
}

/// Waits for another history; false when there will be none any more.
async fn next(histories: &mut watch::Receiver<u64>, token: &CancellationToken) -> bool {
    let changed = token.run_until_cancelled(histories.changed()).await;
    matches!(changed, Some(Ok(())))
}

/// What new watches say until every kind was listed once.
async fn everything(heard: &mut mpsc::Receiver<Input>) -> Vec<Input> {
    let (mut all, mut listed) = (Vec::new(), BTreeSet::new());
    while listed.len() < Kind::LISTED.len()
        && let Some(input) = heard.recv().await
    {
        if let Input::Listed(kind, _) = &input {
            listed.insert(*kind);
        }
        all.push(input);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_picture_is_whole_when_every_kind_was_listed() {
        let (sender, mut heard) = mpsc::channel(QUEUE);
        let listed = |kind| Input::Listed(kind, BTreeSet::new());
        for kind in Kind::LISTED.into_iter().take(6) {
            sender.send(listed(kind)).await.unwrap();
        }
        // One that is listed twice does not stand for another.
        sender.send(listed(Kind::LISTED[0])).await.unwrap();
        sender.send(listed(Kind::LISTED[6])).await.unwrap();
        sender.send(Input::Leave).await.unwrap();
        assert_eq!(everything(&mut heard).await.len(), 8);
        assert!(matches!(heard.recv().await, Some(Input::Leave)));
    }
}
