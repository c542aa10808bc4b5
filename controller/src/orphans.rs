//! Records whose Service was deleted while nobody looked: released after a grace time, when the API
//! server itself says that no Service of that uid exists.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ipam::ServiceKey;
use crate::service::{Context, validate};
use crate::settings::Settings;

/// Looks for orphans every `orphan_grace` while we lead; one seen twice in a row is released.
pub(crate) async fn run(
    context: Context,
    settings: &Settings,
    mut leads: watch::Receiver<bool>,
    token: CancellationToken,
) {
    let work = async {
        let mut before: BTreeSet<(ServiceKey, String)> = BTreeSet::new();
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let now = context.state.lock().index.orphans();
            for (key, uid) in now.intersection(&before) {
                release(&context, settings, key, uid).await;
            }
            before = now;
            tokio::time::sleep(settings.orphan_grace.max(Duration::from_millis(100))).await;
        }
    };
    token.run_until_cancelled(work).await;
}

async fn release(context: &Context, settings: &Settings, key: &ServiceKey, uid: &str) {
    let api: Api<Service> = Api::namespaced(context.client.clone(), &key.namespace);
    match api.get_opt(&key.name).await {
        Ok(Some(service)) if service.uid().as_deref() == Some(uid) => {
            // It is there, but not ours any more: the ordinary way lets go of its addresses.
            let seen = validate::service(&service, settings.default_class);
            let live = validate::live(&service);
            context.state.change(|picture| {
                if let Some(seen) = seen {
                    picture.index.service_seen(seen);
                    picture.service_shown(key, live);
                }
            });
        }
        Ok(_) => {
            tracing::info!(service = %key, uid, "its Service is gone: releasing");
            context.state.change(|picture| picture.index.release(key));
        }
        Err(error) => tracing::warn!(service = %key, %error, "orphan not checked"),
    }
}
