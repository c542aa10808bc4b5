//! The metrics port of the real program, under its own rights: who is let in is the API server's word.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::process::Command;

use crate::program::Program;
use crate::support::Cluster;

/// A token of a ServiceAccount made for it.
async fn token(cluster: &Cluster, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "default");
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let account = ServiceAccount {
        metadata,
        ..ServiceAccount::default()
    };
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let issued = accounts.create_token_request(name, &params, &request).await;
    issued.unwrap().status.unwrap().token
}

/// What an administrator does for a scraper.
async fn may_read(cluster: &Cluster, account: &str) {
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(account.to_owned()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: "landfall-metrics-reader".to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some("default".to_owned()),
            ..Subject::default()
        }]),
    };
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

/// The status of an answer, and its text.
async fn scrape(url: &str, token: Option<&str>) -> (String, String) {
    let header = token.map(|token| format!("Authorization: Bearer {token}"));
    let headers = header.iter().flat_map(|header| ["--header", header]);
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20"])
        .args(["--write-out", "\n%{http_code}"])
        .args(headers)
        .arg(url)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn metrics_are_told_to_whom_the_api_server_lets_in_and_to_nobody_else() {
    const NAME: &str = "metrics_are_told_to_whom_the_api_server_lets_in_and_to_nobody_else";
    if let Some(program) = landfall_testbed::missing(&["curl"]) {
        return landfall_testbed::skipped(NAME, program);
    }
    let cluster = cluster!(metrics_are_told_to_whom_the_api_server_lets_in_and_to_nobody_else);
    let port = landfall_testbed::control_plane::free_port().unwrap();
    let address = format!("127.0.0.1:{port}");
    let flags = ["--metrics-address", address.as_str()];
    let mut program = Program::start(&cluster, "landfall-controller-0", &flags);
    program.ready().await;
    let (reader, nosy) = (
        token(&cluster, "prometheus").await,
        token(&cluster, "nosy").await,
    );
    may_read(&cluster, "prometheus").await;
    let url = format!("https://{address}/metrics");
    for (token, wanted) in [
        (None, "401"),
        (Some("made-up"), "401"),
        (Some(nosy.as_str()), "403"),
        (Some(reader.as_str()), "200"),
    ] {
        let (status, body) = scrape(&url, token).await;
        assert_eq!(status, wanted, "{body}");
        assert_eq!(body.contains("landfall_"), wanted == "200", "{body}");
    }
    let (plain, _) = scrape(&url.replace("https", "http"), Some(&reader)).await;
    assert_eq!(plain, "000", "it speaks TLS alone");
    let state = scrape(&format!("https://{address}/debug/state"), Some(&reader)).await;
    assert_eq!(state.0, "404");
    program.terminate().await;
}
