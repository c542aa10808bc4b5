//! What a dump leaves out.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::cluster::Cluster;

/// No file of a dump has a value of any Secret, neither as it is nor as it is written down.
pub(crate) async fn stay_out_of(cluster: &Cluster, dump: &Path) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "of-ours"},
        "stringData": {"key": "a value that nobody may read"}});
    cluster.apply(Some("landfall-system"), secret).await;
    let again = dump.with_extension("again");
    cluster
        .run(&["sysdump", "--output-dir", again.to_str().unwrap()])
        .has(0, &["files in"]);
    let secrets: Api<Secret> = Api::all(cluster.client.clone());
    let secrets = secrets.list(&ListParams::default()).await.unwrap();
    let values = secrets
        .iter()
        .flat_map(|secret| secret.data.iter().flatten());
    // A token's Secret has these beside it, which everybody knows.
    let is_secret = |name: &str| !["namespace", "ca.crt"].contains(&name);
    let values = values.filter(|(name, _)| is_secret(name));
    let values: Vec<_> = values.map(|(_, value)| value).collect();
    assert!(!values.is_empty());
    let files = ["", "objects", "logs"].map(|below| std::fs::read_dir(again.join(below)).unwrap());
    let files = files
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        let text = std::fs::read(&file).unwrap();
        for value in &values {
            let written = serde_json::to_value(value).unwrap();
            for bytes in [&value.0[..], written.as_str().unwrap().as_bytes()] {
                let found = text.windows(bytes.len()).any(|part| part == bytes);
                assert!(!found, "{} has a Secret's value", file.display());
            }
        }
    }
}
