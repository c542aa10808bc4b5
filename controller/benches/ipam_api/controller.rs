//! The controller as a process: what it says of itself, and what it costs.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{PARALLEL, Server};

/// A running controller; it is killed when this is dropped.
pub(crate) struct Controller {
    child: Child,
    port: u16,
    started: Instant,
}

impl Controller {
    /// Starts one, without a leader Lease.
    pub(crate) fn start(server: &Server) -> Self {
        let port = landfall_testbed::control_plane::free_port().unwrap();
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_landfall-controller"))
            .env("KUBECONFIG", server.plane.kubeconfig("admin"))
            .args(["--leader-elect", "false", "--log-level", "error"])
            .args(["--parallel-writes", &PARALLEL.to_string()])
            .args(["--admin-address", &format!("127.0.0.1:{port}")])
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            started,
        }
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until its answer at a path is good.
    pub(crate) async fn until(&self, path: &str, good: impl Fn(&str) -> bool) {
        loop {
            if self.get(path).await.is_some_and(|answer| good(&answer)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One of its metrics.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        value(&self.get("/metrics").await.unwrap(), name)
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    /// Peak memory in MB, and CPU seconds.
    pub(crate) fn cost(&self) -> (f64, f64) {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.child.id());
            std::fs::read_to_string(path).unwrap()
        };
        let status = read("status");
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes = peak.split_whitespace().next().unwrap();
        let kilobytes: f64 = kilobytes.parse().unwrap();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks = [11, 12].map(|at| fields[at].parse::<f64>().unwrap());
        (kilobytes / 1024.0, ticks.iter().sum::<f64>() / 100.0)
    }
}

/// The value of a metric in a page of metrics.
pub(crate) fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
