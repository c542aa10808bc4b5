//! The Gateway API as a cluster has it: the standard's own definitions, and the rights to serve it.

use std::path::{Path, PathBuf};

use crate::support::Cluster;

/// The directory of the definitions; `None`, said loudly, where they are not to be had.
pub(crate) fn find(test: &str) -> Option<PathBuf> {
    let found = landfall_testbed::control_plane::assets::gateway_api();
    if found.is_none() {
        landfall_testbed::skipped(
            test,
            "the definitions of the Gateway API: hack/gateway-api.sh, or LANDFALL_GATEWAY_API",
        );
    }
    found
}

/// Installs both, and waits until the API server serves the kinds.
pub(crate) async fn install(cluster: &Cluster, definitions: &Path) {
    let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/gateway-api");
    let (definitions, rights) = (definitions.to_str().unwrap(), rights.to_str().unwrap());
    let apply = ["apply", "--server-side", "--force-conflicts", "-f"];
    cluster
        .kubectl(&[&apply[..], &[definitions]].concat())
        .await;
    cluster.kubectl(&["apply", "-k", rights]).await;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "-f"];
    let said = cluster.kubectl(&[&wait[..], &[definitions]].concat()).await;
    assert!(
        said.contains("tcproutes.gateway.networking.k8s.io condition met"),
        "{said}"
    );
}
