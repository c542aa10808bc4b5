//! Waiting for what was applied, with a word about each change.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::{Cluster, Wants};
use crate::out::say;
use crate::picture::{ANNOUNCER, CONTROLLER, Picture};
use crate::status;

/// How often it is looked.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one look may take, though the time is over.
const LEAST: Duration = Duration::from_secs(5);

/// Looks again and again until nothing is open any more, and says each time what is when that has changed. False: it was
/// still open when the time was over.
pub(super) async fn until(
    timeout: Duration,
    mut open: impl AsyncFnMut() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<bool> {
    let end = Instant::now() + timeout;
    let mut said = None;
    loop {
        // An API server that says nothing must not make the waiting longer than was asked.
        let Ok(now) = timeout_at(end.max(Instant::now() + LEAST), open()).await else {
            return Ok(false);
        };
        let Some(words) = now? else {
            return Ok(true);
        };
        if said.as_ref() != Some(&words) {
            say!("  … {}", crate::words::plain(&words));
            said = Some(words);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        sleep(AGAIN).await;
    }
}

/// Waits until the API server serves our kinds.
pub(super) async fn established(client: &Client, timeout: Duration) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let all = landfall_crds::all();
    let names: Vec<String> = all
        .into_iter()
        .filter_map(|crd| crd.metadata.name)
        .collect();
    let served = until(timeout, async || {
        for name in &names {
            let crd = api
                .get(name)
                .await
                .with_context(|| format!("reading {name}"))?;
            let conditions = crd.status.and_then(|status| status.conditions);
            let mut conditions = conditions.into_iter().flatten();
            if !conditions
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
            {
                return Ok(Some(format!("{name} is not served yet")));
            }
        }
        Ok(None)
    });
    anyhow::ensure!(
        served.await?,
        "the definitions were not served within {timeout:?}: kubectl describe crd says why"
    );
    Ok(())
}

/// Waits until both workloads run as they were applied; says why not otherwise.
pub(super) async fn running(cluster: &Cluster, timeout: Duration) -> anyhow::Result<bool> {
    let wants = Wants {
        workloads: true,
        planning: false,
    };
    let runs = until(timeout, async || {
        let picture = cluster.picture(wants).await?;
        Ok(lacking(&picture))
    });
    if runs.await? {
        return Ok(true);
    }
    let picture = cluster.picture(wants).await?;
    say!("It does not run after {timeout:?}:");
    let wrong = status::judge(&picture, Timestamp::now()).wrong;
    for word in wrong
        .iter()
        .filter(|word| word.starts_with("landfall-") || word.contains("leads"))
    {
        say!("✗ {}", crate::words::plain(word));
    }
    Ok(false)
}

/// What does not run yet, in words.
fn lacking(picture: &Picture) -> Option<String> {
    let controller = picture.controller().is_some_and(|found| {
        let observed = found.status.as_ref().and_then(|s| s.observed_generation);
        observed >= found.metadata.generation
    });
    let announcer = picture.announcer().is_some_and(|found| {
        let observed = found.status.as_ref().and_then(|s| s.observed_generation);
        observed >= found.metadata.generation
    });
    let mut words: Vec<String> = [(CONTROLLER, controller), (ANNOUNCER, announcer)]
        .into_iter()
        .filter(|(_, is_seen)| !is_seen)
        .map(|(name, _)| format!("{name}: not looked at yet"))
        .collect();
    let judged = status::judge(picture, Timestamp::now());
    if words.is_empty() {
        let wrong = judged.wrong.into_iter();
        words.extend(wrong.filter(|word| word.starts_with("landfall-")));
    }
    if words.is_empty() && judged.leader.is_none() && picture.leases.is_seen() {
        words.push("no replica of the controller leads yet".to_owned());
    }
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_never_ends_ends_the_waiting_in_time() {
        let began = Instant::now();
        let never = async || std::future::pending::<anyhow::Result<Option<String>>>().await;
        assert!(!until(Duration::from_secs(60), never).await.unwrap());
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }
}
