//! Records whose holder was deleted while nobody looked: released after a grace time, when the API
//! server itself says that no Service or Gateway of that uid exists.

use std::collections::BTreeSet;
use std::time::Duration;

use landfall_ipam::HolderKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::service::found;

/// Looks for orphans every `orphan_grace` while we lead; one seen twice in a row is released.
pub(crate) async fn run(
    context: Context,
    mut leads: watch::Receiver<bool>,
    token: CancellationToken,
) {
    let work = async {
        let mut before: BTreeSet<(HolderKey, String)> = BTreeSet::new();
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let now = context.state.lock().index.orphans();
            for (key, uid) in now.intersection(&before) {
                release(&context, key, uid).await;
            }
            before = now;
            let grace = context.settings.orphan_grace;
            tokio::time::sleep(grace.max(Duration::from_millis(100))).await;
        }
    };
    token.run_until_cancelled(work).await;
}

async fn release(context: &Context, key: &HolderKey, uid: &str) {
    match found(context, key).await {
        // It is there, but not ours any more: the ordinary way lets go of its addresses.
        Ok(Some(found)) if found.uid() == uid => found.seen(context),
        Ok(_) => {
            tracing::info!(kind = %key.kind, holder = %key, uid, "its holder is gone: releasing");
            context.state.change(|cache| cache.index.release(key));
        }
        Err(error) => tracing::warn!(kind = %key.kind, holder = %key, %error, "orphan not checked"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use kube::Client;
    use kube::client::Body;
    use landfall_crds::LoadBalancerIPSpec;
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    use super::*;
    use crate::metrics::Metrics;
    use crate::settings::Settings;
    use crate::state::State;
    use landfall_ipam::address::Point;
    use landfall_ipam::book::Stored;

    const GRACE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(1);

    /// An API server that says one thing only.
    fn api_server(code: u16, answer: Value) -> Client {
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let body = Body::from(answer.to_string().into_bytes());
            let answer = http::Response::builder().status(code).body(body).unwrap();
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        Client::new(service, "default")
    }

    /// Looks for orphans from now on.
    fn looking(client: Client) -> Arc<State> {
        let state = Arc::new(State::default());
        let settings = Settings {
            default_class: true,
            gateway_namespaces: [].into(),
            lease: None,
            identity: String::new(),
            parallel: 1,
            contest_pause: std::time::Duration::ZERO,
            orphan_grace: GRACE,
        };
        let context = Context {
            client,
            metrics: Metrics::register(&mut Registry::default(), &state),
            state: Arc::clone(&state),
            settings: Arc::new(settings),
            events: mpsc::channel(1).0,
        };
        let (sender, leads) = watch::channel(true);
        tokio::spawn(async move {
            run(context, leads, CancellationToken::new()).await;
            drop(sender);
        });
        state
    }

    /// A record of a Service that nobody knows.
    fn orphan(state: &State) {
        let spec: LoadBalancerIPSpec = serde_json::from_value(json!({
            "address": "192.0.2.1",
            "holders": [{"kind": "Service", "namespace": "blue", "name": "web", "uid": "u"}],
        }))
        .unwrap();
        let at = Point::from("192.0.2.1".parse::<std::net::IpAddr>().unwrap());
        let stored = Stored {
            spec,
            uid: "r".to_owned(),
            version: "1".to_owned(),
            out_of_pool: None,
            reserved_by_us: false,
            shown_to: BTreeSet::new(),
        };
        state.change(|cache| cache.index.record_seen(at, stored));
    }

    fn kept(state: &State) -> bool {
        !state.lock().index.orphans().is_empty()
    }

    fn not_found() -> Client {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "reason": "NotFound", "message": "gone", "code": 404});
        api_server(404, status)
    }

    #[tokio::test(start_paused = true)]
    async fn an_orphan_of_the_start_is_released_when_its_grace_time_is_over_and_not_before() {
        let state = looking(not_found());
        orphan(&state);
        tokio::time::sleep(GRACE - MOMENT).await;
        assert!(kept(&state));
        tokio::time::sleep(MOMENT * 2).await;
        assert!(!kept(&state));
    }

    #[tokio::test(start_paused = true)]
    async fn an_orphan_that_appears_later_is_kept_for_its_grace_time_at_least() {
        let state = looking(not_found());
        tokio::time::sleep(GRACE / 2).await;
        orphan(&state);
        tokio::time::sleep(GRACE + MOMENT).await;
        assert!(kept(&state));
        tokio::time::sleep(GRACE).await;
        assert!(!kept(&state));
    }

    #[tokio::test(start_paused = true)]
    async fn the_holder_of_a_record_that_is_there_after_all_keeps_its_address() {
        let service = json!({"kind": "Service", "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "blue", "uid": "u", "resourceVersion": "7"},
            "spec": {"type": "LoadBalancer"}});
        let state = looking(api_server(200, service));
        orphan(&state);
        tokio::time::sleep(GRACE * 3).await;
        let cache = state.lock();
        let key = HolderKey::service("blue", "web");
        assert!(cache.index.service(&key).unwrap().wanted);
        assert_eq!(cache.index.held_by(&key).count(), 1);
    }
}
