//! The control plane starts on loopback, answers, and leaves nothing behind.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use landfall_testbed::control_plane::{ControlPlane, Options};

#[tokio::test]
async fn an_api_server_on_loopback_takes_objects_and_is_gone_afterwards() {
    let Some(options) =
        Options::for_test("an_api_server_on_loopback_takes_objects_and_is_gone_afterwards")
    else {
        return;
    };
    let cluster = ControlPlane::start(options).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client().await.unwrap());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("harbour".into());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    assert!(namespaces.get("harbour").await.is_ok());

    let stamps: Vec<_> = cluster
        .processes()
        .iter()
        .map(|process| process.stamp())
        .collect();
    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert!(stamps.iter().all(|stamp| !stamp.is_alive()));
    assert!(!dir.exists());
}

#[tokio::test]
async fn with_controllers_a_namespace_gets_its_service_account() {
    let Some(options) = Options::for_test("with_controllers_a_namespace_gets_its_service_account")
        .and_then(Options::with_controllers)
    else {
        return;
    };
    let cluster = ControlPlane::start(options).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client().await.unwrap(), "default");
    let made = kube::runtime::wait::await_condition(
        accounts,
        "default",
        |found: Option<&ServiceAccount>| found.is_some(),
    );
    tokio::time::timeout(std::time::Duration::from_secs(30), made)
        .await
        .unwrap()
        .unwrap();
}
