//! A node to test on: a namespace with an interface, a control plane and a lab-kubelet in it.

use std::{fmt::Debug, fs, path::PathBuf, process::Command, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    runtime::wait::await_condition,
};
use landfall_testbed::{
    control_plane::{ControlPlane, Options, identity::User},
    missing,
    netns::{self, Net},
    process::{Process, Program, tail},
};
use nix::{sys::signal::Signal, unistd::Pid};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);
const KUBELET: &str = env!("CARGO_BIN_EXE_lab-kubelet");

/// The node; dropping it takes everything down.
pub(crate) struct TestNode {
    temp: tempfile::TempDir,
    client: Client,
    kubelet: Option<Process>,
    cluster: ControlPlane,
    // Last, so that it goes after what lives in it.
    net: Net,
}

impl TestNode {
    /// Starts it, or says what is missing.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || missing(&["runc", "nsenter"]).is_some() {
            landfall_testbed::skipped(test, "root, runc and nsenter");
            return None;
        }
        let mut options = Options::for_test(test)?.with_controllers()?;
        let temp = tempfile::tempdir().unwrap();
        let net = network();
        let netns = net.name("worker");
        // This thread, and with it the test's client, lives on the node.
        netns::enter(&netns).unwrap();
        options.dir = temp.path().join("control-plane");
        fs::create_dir_all(&options.dir).unwrap();
        options.netns = Some(netns.clone());
        options.address = [192, 0, 2, 11].into();
        options.users = vec![User::kubelet("worker")];
        let kubectl = options.assets.join("kubectl");
        let cluster = ControlPlane::start(options).await.unwrap();
        let client = cluster.client().await.unwrap();
        fs::write(
            temp.path().join("images.yaml"),
            format!(
                "lab/perl:1: {{path: /usr/bin/perl}}\nlab/sh:1: {{path: /bin/sh}}\nlab/kubectl:1: {{path: {}}}\n",
                kubectl.display()
            ),
        )
        .unwrap();
        let mut node = Self {
            net,
            temp,
            client,
            kubelet: None,
            cluster,
        };
        node.start_kubelet_with(&[]);
        until(
            "the default ServiceAccount is there",
            node.api(),
            "default",
            |_: &ServiceAccount| true,
        )
        .await;
        Some(node)
    }

    pub(crate) fn name(&self) -> &'static str {
        "worker"
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("node")
    }

    pub(crate) fn server(&self) -> String {
        format!("https://192.0.2.11:{}", self.cluster.port())
    }

    pub(crate) fn start_kubelet_with(&mut self, more: &[&str]) {
        let mut flags = vec![
            "--node-name=worker".to_owned(),
            format!(
                "--kubeconfig={}",
                self.cluster.kubeconfig("worker").display()
            ),
            format!("--netns={}", self.net.name("worker")),
            "--node-ip=192.0.2.11,2001:db8::11".to_owned(),
            format!("--root={}", self.root().display()),
            format!(
                "--images={}",
                self.temp.path().join("images.yaml").display()
            ),
            format!("--pod-netns-prefix={}-pod", self.net.name("worker")),
        ];
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let kubelet = Program {
            name: "lab-kubelet".to_owned(),
            path: KUBELET.into(),
            args: flags,
            env: Vec::new(),
            netns: Some(self.net.name("worker")),
            log: self.temp.path().join("kubelet.log"),
        };
        self.kubelet = Some(kubelet.start().unwrap());
    }

    /// SIGKILL, as a crash would.
    pub(crate) fn kill_kubelet(&mut self) {
        self.kubelet
            .take()
            .unwrap()
            .end(Signal::SIGKILL, Duration::from_secs(1));
    }

    /// SIGTERM, and time to drain.
    pub(crate) fn terminate_kubelet(&mut self) {
        let mut kubelet = self.kubelet.take().unwrap();
        kubelet.end(Signal::SIGTERM, PATIENCE);
    }

    /// Waits until the agent that was started last says it has taken a Pod over.
    pub(crate) async fn adopted(&self, pod: &str) {
        let line = format!("adopted pod=default/{pod}");
        let said = async {
            while !fs::read_to_string(self.temp.path().join("kubelet.log"))
                .unwrap()
                .contains(&line)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, said).await.expect("not adopted");
    }

    /// Where a path of the node is.
    pub(crate) fn host_path(&self, path: &str) -> PathBuf {
        self.root().join("host").join(path.trim_start_matches('/'))
    }

    pub(crate) fn clean(&self) {
        let output = Command::new(KUBELET)
            .arg("clean")
            .arg("--root")
            .arg(self.root())
            .output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create<K>(&self, yaml: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_saphyr::from_str(yaml).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    pub(crate) async fn pods_of(&self, labels: &str) -> Vec<Pod> {
        let params = ListParams::default().labels(labels);
        self.api::<Pod>().list(&params).await.unwrap().items
    }

    /// Runs a script in a Pod that is not restarted.
    pub(crate) async fn run_to_end(&self, name: &str, image: &str, script: &str) -> Pod {
        let pod = serde_json::json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": image, "command": ["/bin/sh", "-c", script]}],
            },
        });
        self.create::<Pod>(&pod.to_string()).await;
        let ended = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed");
        until("the Pod ended", self.api(), name, ended).await
    }

    pub(crate) async fn gone(&self, name: &str) {
        let gone = await_condition(self.api::<Pod>(), name, |pod: Option<&Pod>| pod.is_none());
        timeout(PATIENCE, gone)
            .await
            .expect("the Pod stays")
            .unwrap();
    }

    /// The first process of a container, as `lab-kubelet ps` tells it.
    pub(crate) fn pid_of(&self, pod: &Pod, container: &str) -> i32 {
        let output = Command::new(KUBELET)
            .arg("ps")
            .arg("--root")
            .arg(self.root())
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let uid = pod.metadata.uid.as_deref();
        let found = lines.find(|line: &serde_json::Value| {
            line["uid"].as_str() == uid && line["container"] == container
        });
        let found = found.unwrap_or_else(|| panic!("{container} does not run:\n{text}"));
        found["pid"].as_i64().unwrap().try_into().unwrap()
    }

    pub(crate) fn log(&self, pod: &Pod, container: &str) -> String {
        let name = pod.metadata.name.as_deref().unwrap();
        let path = self
            .root()
            .join("logs")
            .join(format!("default_{name}_{container}.log"));
        fs::read_to_string(path).unwrap()
    }

    /// Network namespaces of Pods.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let begin = format!("{}-pod-", self.net.name("worker"));
        let entries = fs::read_dir("/run/netns").unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&begin)).collect()
    }

    /// Mount points below the node's root.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = self.root().display().to_string();
        text.lines()
            .filter(|line| line.contains(&root))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.temp.path().join("kubelet.log");
            eprintln!("--- the end of lab-kubelet's log\n{}", tail(&log, 40));
        }
        if let Some(mut kubelet) = self.kubelet.take() {
            kubelet.end(Signal::SIGKILL, Duration::from_secs(1));
        }
        let _ = Command::new(KUBELET)
            .arg("clean")
            .arg("--root")
            .arg(self.root())
            .status();
    }
}

/// A node with an interface whose other end leads nowhere.
fn network() -> Net {
    let net = Net::new("kubelet").unwrap();
    net.host("worker").unwrap();
    for line in [
        "link add eth0 type veth peer name wire",
        "link set wire up",
        "link set eth0 up",
        "addr add 192.0.2.11/24 dev eth0",
        "addr add 2001:db8::11/64 dev eth0 nodad",
        "route add default dev eth0",
    ] {
        net.ip("worker", line).unwrap();
    }
    net
}

/// Waits until an object is as it should be, and returns it.
pub(crate) async fn until<K>(
    what: &str,
    api: Api<K>,
    name: &str,
    condition: impl Fn(&K) -> bool,
) -> K
where
    K: Clone + Debug + Send + Serialize + DeserializeOwned + Resource + 'static,
{
    let last = std::sync::Mutex::new(None);
    let holds = |object: Option<&K>| {
        *last.lock().unwrap() = object.cloned();
        object.is_some_and(&condition)
    };
    match timeout(PATIENCE, await_condition(api, name, holds)).await {
        Ok(object) => object.unwrap().unwrap(),
        Err(_) => {
            let shown = serde_json::to_value(&*last.lock().unwrap()).unwrap();
            panic!(
                "not within {PATIENCE:?}: {what}; the status of {name} is {:#}",
                shown["status"]
            )
        }
    }
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub(crate) fn running_and_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    phase(pod) == "Running" && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(crate) fn restarts(pod: &Pod) -> i32 {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    containers
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .sum()
}

/// Reason and message of the first container that waits.
pub(crate) fn waiting(pod: &Pod) -> Option<(String, String)> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = containers.first()?.state.as_ref()?.waiting.as_ref()?;
    Some((
        waiting.reason.clone()?,
        waiting.message.clone().unwrap_or_default(),
    ))
}

pub(crate) fn kill(pid: i32) {
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// The body of an answer over HTTP/1.0.
pub(crate) async fn get(ip: &str, port: u16) -> String {
    let asking = async {
        let mut stream = TcpStream::connect((ip, port)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    timeout(PATIENCE, asking).await.unwrap()
}
