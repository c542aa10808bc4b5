//! The secret of the flow hash: whoever knew it could choose client ports and addresses that all fall on one pod.
//!
//! It is the same on every node of a cluster, at any time and in every process, or nodes would choose different pods for
//! one client. So it is not one of the keys, which are exchanged and reach nodes at different times, but made of what a
//! cluster keeps for life: the uid of its namespace `kube-system`, 122 random bits that no packet shows. Clients cannot
//! know it. Whoever may read that namespace can; such a one is inside the cluster and needs no flow hash to reach a pod.

use std::time::Duration;

use kube::Client;
use landfall_runtime::random;
use ring::hmac;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity::cluster_uid;

/// What the code is made with, so that nothing else made of the uid tells anything of it.
const PURPOSE: &[u8] = b"landfall flow hash";
/// Between two questions.
const AGAIN: Duration = Duration::from_secs(2);

/// The seed of the cluster that has this uid.
#[must_use]
pub fn of(uid: &str) -> u64 {
    let key = hmac::Key::new(hmac::HMAC_SHA256, PURPOSE);
    let code = hmac::sign(&key, uid.as_bytes());
    let bytes = code.as_ref().iter().take(size_of::<u64>());
    bytes.fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// Asks the API server until it says which cluster this is, or the token is cancelled.
pub async fn find(client: Client, seed: watch::Sender<Option<u64>>, token: CancellationToken) {
    loop {
        let found = tokio::select! {
            () = token.cancelled() => return,
            found = cluster_uid(&client) => found,
        };
        match found {
            Ok(Some(uid)) => {
                seed.send_replace(Some(of(&uid)));
                return;
            }
            Ok(None) => tracing::warn!("the namespace kube-system has no uid; XDP waits for it"),
            Err(error) => {
                tracing::warn!(%error, "reading the namespace kube-system, by whose uid clusters differ; XDP waits for it");
            }
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(random::around(AGAIN, 0.2)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_has_its_own_and_keeps_it() {
        let uid = "6f1a4c0e-6b1f-4c53-9a53-0e6e5c2f8a11";
        // Written down: another version of the announcer must make the same of it.
        assert_eq!(of(uid), 0xef54_7610_0687_f6c1);
        assert_ne!(of(uid), of("6f1a4c0e-6b1f-4c53-9a53-0e6e5c2f8a12"));
    }
}
