//! The key of the announcers' heartbeats: a Secret that is made where it is missing, by whichever replica comes first.
//!
//! It is not a manifest's, which everybody who reads this repository could read, nor a Job's, which every upgrade would
//! have to run; and not the announcers', so that no node may write Secrets. Nothing here can read it. Rotation is a
//! person's: a second key beside the first, and some minutes later the first taken away.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use landfall_runtime::call::within;
use landfall_runtime::class::Class;
use landfall_runtime::random;
use tokio_util::sync::CancellationToken;

/// What the announcers mount.
const NAME: &str = "landfall-peers";

/// The first key's name: the last by name is the newest.
const FIRST: &str = "0001";

/// Bytes of a key: as many as the code it makes.
const LENGTH: usize = 32;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody may have deleted it: announcers that start then would have none.
const AGAIN: Duration = Duration::from_secs(600);

/// Makes the Secret wherever it is missing, until the token is cancelled.
pub(crate) async fn keep(client: Client, namespace: String, token: CancellationToken) {
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let mut attempt = 0;
    loop {
        let pause = match make(&secrets).await {
            Ok(()) => {
                attempt = 0;
                random::around(AGAIN, 0.2)
            }
            Err(error) => {
                attempt += 1;
                tracing::warn!(%error, secret = NAME, namespace, "the key of the announcers' heartbeats was not made");
                random::around(Duration::from_secs(1 << attempt.min(6)), 0.2)
            }
        };
        if token
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn make(secrets: &Api<Secret>) -> anyhow::Result<()> {
    let (secret, parameters) = (secret()?, PostParams::default());
    match within(PATIENCE, secrets.create(&parameters, &secret)).await {
        Ok(_) => tracing::info!(secret = NAME, "made a key for the announcers' heartbeats"),
        // There is one already.
        Err(failure) if failure.class() == Class::Conflict => {}
        Err(failure) => return Err(failure.into()),
    }
    Ok(())
}

fn secret() -> std::io::Result<Secret> {
    let mut key = vec![0; LENGTH];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(FIRST.to_owned(), ByteString(key))])),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_another() {
        let key = || secret().unwrap().data.unwrap().remove(FIRST).unwrap().0;
        assert_eq!(key().len(), LENGTH);
        assert_ne!(key(), key());
    }
}
