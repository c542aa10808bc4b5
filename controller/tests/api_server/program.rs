//! The controller as a program of its own, as a Pod runs it.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::{Cluster, eventually};

/// A running controller; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts one under the rights of its ServiceAccount.
    pub(crate) fn start(cluster: &Cluster, name: &str, flags: &[&str]) -> Self {
        let port = landfall_testbed::control_plane::free_port().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_landfall-controller"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("POD_NAME", name)
            .args(["--namespace", "landfall-system", "--log-level", "warn"])
            .args(["--admin-address", &format!("127.0.0.1:{port}")])
            .args(flags)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (mut stderr, heard) = (child.stderr.take().unwrap(), Arc::clone(&log));
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut bytes).await {
                let text = String::from_utf8_lossy(&bytes[..length]);
                eprint!("{text}");
                heard.lock().unwrap().push_str(&text);
            }
        });
        Self { child, port, log }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// One request to its admin port, in full.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(|error| error.to_string())?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            Ok(answer)
        } else {
            Err(answer)
        }
    }

    /// Waits until it has seen everything once.
    pub(crate) async fn ready(&self) {
        eventually("it is ready", async || self.get("/readyz").await).await;
    }

    /// Sends SIGTERM and waits for its end, which must be a good one.
    pub(crate) async fn terminate(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.unwrap().success());
        assert!(self.child.wait().await.unwrap().success());
    }

    /// Ends it by SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The Leases of Landfall's namespace.
pub(crate) fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client.clone(), "landfall-system")
}

#[tokio::test]
async fn the_program_serves_its_admin_port_and_ends_on_sigterm_with_its_lease_released() {
    let cluster =
        cluster!(the_program_serves_its_admin_port_and_ends_on_sigterm_with_its_lease_released);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    let mut program = Program::start(&cluster, "landfall-controller-0", &[]);
    program.ready().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    let assigned = r#"landfall_pool_addresses_assigned{pool="default",family="IPv4"} 1.0"#;
    eventually("it is counted", async || {
        match program.get("/metrics").await? {
            text if text.contains(assigned) && text.contains("latency_seconds_count 1") => Ok(()),
            text => Err(text),
        }
    })
    .await;
    // Another message about the same address is no allocation.
    cluster.cidrs("default", &["198.51.100.0/29"]).await;
    eventually("the Service is told that its pool changed", async || {
        let service = cluster.services("blue").get("web").await.unwrap();
        let text = format!("{:?}", service.status);
        if text.contains("no longer covered by pool default") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    eventually(
        "its debug page says that it is at rest",
        async || match program.get("/debug/state").await? {
            text if text.contains(r#""atRest":true"#) => Ok(()),
            text => Err(text),
        },
    )
    .await;
    let metrics = program.get("/metrics").await.unwrap();
    assert!(metrics.contains("latency_seconds_count 1\n"), "{metrics}");
    program.terminate().await;
    let lease = leases(&cluster).get("landfall-controller").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity, None);
}
