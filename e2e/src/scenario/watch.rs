//! Waiting for an object: a watch, not a poll.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use kube::api::DynamicObject;
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};

use super::expect::Output;
use super::jsonpath::Template;

/// An object, by kind and name.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) api: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// Watches until `holds` says of what the template prints that it will do; the last print is left in `seen`, so that
/// whoever gives up can show it.
pub(super) async fn until<T>(
    client: &Client,
    wanted: &Wanted,
    template: &Template,
    seen: &mut Output,
    mut holds: impl FnMut(&Output) -> Result<T, String>,
) -> Result<T> {
    let (group, version) = wanted.api.rsplit_once('/').unwrap_or(("", &wanted.api));
    let gvk = GroupVersionKind::gvk(group, version, &wanted.kind);
    let resource = loop {
        match kube::discovery::pinned_kind(client, &gvk).await {
            Ok((resource, _)) => break resource,
            // A kind whose CRD was applied a moment ago.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(kube::Error::Discovery(_)) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("asking for the kind {}", wanted.kind));
            }
        }
        seen.text = format!(
            "(the API server does not know {} {})",
            wanted.api, wanted.kind
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let api: Api<DynamicObject> = match &wanted.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let config = watcher::Config::default().fields(&format!("metadata.name={}", wanted.name));
    let mut changes = Box::pin(watcher(api, config).default_backoff().applied_objects());
    *seen = Output {
        text: "(there is no such object)".into(),
        success: true,
    };
    while let Some(change) = changes.next().await {
        let Ok(object) = change else { continue };
        let value = serde_json::to_value(&object).context("reading an object")?;
        *seen = Output {
            text: template.print(&value),
            success: true,
        };
        if let Ok(found) = holds(seen) {
            return Ok(found);
        }
    }
    anyhow::bail!("the watch ended")
}
