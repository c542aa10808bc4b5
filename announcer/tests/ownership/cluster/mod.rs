//! A small cluster to test on: a real API server and nodes that are network namespaces on one
//! bridge, each with a real announcer. Everything ends with the value.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test support module: what fails here fails the test"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP};
use landfall_testbed::control_plane::identity::User;
use landfall_testbed::control_plane::{ControlPlane, EtcdCopy, Options};
use landfall_testbed::netns::{self, Net};
use landfall_testbed::{missing, skipped};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long a test waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(60);

static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

pub(crate) struct Cluster {
    pub(crate) client: Client,
    plane: ControlPlane,
    announcers: BTreeMap<String, Child>,
    /// Ends the servers.
    end: Arc<AtomicBool>,
    bpffs: Option<PathBuf>,
    logs: tempfile::TempDir,
    // Last, so that it goes after the processes in it.
    pub(crate) net: Net,
}

/// A client that keeps asking.
pub(crate) struct Asking(Child);

impl Asking {
    /// How often it asked, and was answered.
    pub(crate) fn end(mut self) -> (usize, usize) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        let number = |word: &str| {
            let line = said.lines().find(|line| line.starts_with(word)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (number("Sent"), number("Received"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for child in self.announcers.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(bpffs) = &self.bpffs {
            let _ = nix::mount::umount2(bpffs, nix::mount::MntFlags::MNT_DETACH);
        }
        if std::thread::panicking() {
            let entries = std::fs::read_dir(self.logs.path()).into_iter().flatten();
            let logs = entries.flatten().filter_map(|entry| {
                let log = std::fs::read_to_string(entry.path()).ok()?;
                Some((entry.file_name(), log))
            });
            let logs: Vec<_> = logs.collect();
            // What is wrong first: of long output only the beginning may be left.
            for (name, log) in &logs {
                for line in log.lines().filter(|line| !line.contains("INFO")) {
                    eprintln!("{}: {line}", name.display());
                }
            }
            for (name, log) in &logs {
                eprintln!("--- announcer on {}\n{log}", name.display());
            }
        }
    }
}

/// Runs a test on a cluster with these nodes; or says why not.
pub(crate) fn with_cluster<F, R>(test: &'static str, nodes: &'static [&'static str], body: F)
where
    F: FnOnce(Cluster) -> R + Send + 'static,
    R: Future<Output = ()>,
{
    if !nix::unistd::geteuid().is_root() {
        skipped(test, "root for network namespaces");
        return;
    }
    if let Some(tool) = missing(&["arping", "ndisc6", "curl"]) {
        skipped(test, tool);
        return;
    }
    // One cluster at a time: each has an API server, and tests measure time.
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(options) = Options::for_test(test) else {
        return;
    };
    let net = network(nodes);
    // A thread of its own, because a network namespace is a thread's.
    let thread = std::thread::spawn(move || {
        netns::enter(&net.name("hub")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let cluster = Cluster::start(net, options, nodes).await;
            body(cluster).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A hub with the API server's address, a client and nodes, on one bridge.
fn network(nodes: &[&str]) -> Net {
    let net = Net::new("core").unwrap();
    net.host("hub").unwrap();
    net.bridge("hub", "br0").unwrap();
    net.ip("hub", "address add 192.0.2.1/24 dev br0").unwrap();
    let numbered = nodes.iter().copied().zip(11u8..);
    for (name, last) in [("client", 200)].into_iter().chain(numbered) {
        net.host(name).unwrap();
        let (mac, port) = (format!("02:00:00:00:00:{last:02x}"), format!("p-{name}"));
        net.plug((name, "eth0", &mac), ("hub", "br0", &port))
            .unwrap();
        for address in [
            format!("192.0.2.{last}/24"),
            format!("2001:db8::{last}/64 nodad"),
        ] {
            net.ip(name, &format!("address add {address} dev eth0"))
                .unwrap();
        }
    }
    net
}

impl Cluster {
    async fn start(net: Net, mut options: Options, nodes: &[&str]) -> Self {
        options.netns = Some(net.name("hub"));
        options.address = "192.0.2.1".parse().unwrap();
        options.port = 6443;
        let name = "system:serviceaccount:landfall-system:landfall-announcer";
        options
            .users
            .push(User::new("announcer", name, &["system:serviceaccounts"]));
        let plane = ControlPlane::start(options).await.unwrap();
        let client = plane.client().await.unwrap();
        let cluster = Self {
            net,
            client,
            plane,
            announcers: BTreeMap::new(),
            end: Arc::default(),
            bpffs: None,
            logs: tempfile::tempdir().unwrap(),
        };
        for crd in landfall_crds::all() {
            let _: CustomResourceDefinition =
                cluster.create(Api::all(cluster.client.clone()), crd).await;
        }
        cluster
            .apply::<Namespace>(None, json!({"metadata": {"name": "landfall-system"}}))
            .await;
        cluster.grant();
        for (number, node) in nodes.iter().enumerate() {
            let last = 11 + number;
            cluster
                .apply::<Node>(None, json!({"metadata": {"name": node}}))
                .await;
            let addresses = json!([
                {"type": "InternalIP", "address": format!("192.0.2.{last}")},
                {"type": "InternalIP", "address": format!("2001:db8::{last}")},
            ]);
            let api = Api::<Node>::all(cluster.client.clone());
            let patch = Patch::Merge(json!({"status": {"addresses": addresses}}));
            api.patch_status(node, &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
        cluster
    }

    /// The announcers' own rights, as they are installed; they have no others here.
    fn grant(&self) {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/rbac/announcer.yaml");
        let mut kubectl = self.plane.kubectl();
        let out = kubectl
            .args(["apply", "-n", "landfall-system", "-f", rules])
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// What kubectl says.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let out = self.plane.kubectl().args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    async fn create<K>(&self, api: Api<K>, object: K) -> K
    where
        K: Resource + Clone + Serialize + DeserializeOwned + Debug,
    {
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates a cluster-scoped object, or one of a namespace; a kind not served yet is waited for.
    pub(crate) async fn apply<K>(&self, namespace: Option<&str>, object: Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
    {
        let api = Api::<kube::api::DynamicObject>::all_with;
        let resource = kube::api::ApiResource::erase::<K>(&());
        let api = match namespace {
            None => api(self.client.clone(), &resource),
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let mut object = object;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let object: kube::api::DynamicObject = serde_json::from_value(object).unwrap();
        let created = self
            .await_some("the kind to be served", async || {
                match api.create(&PostParams::default(), &object).await {
                    Ok(object) => Some(object),
                    Err(kube::Error::Api(status)) if status.code == 404 => None,
                    Err(error) => panic!("{error}"),
                }
            })
            .await;
        serde_json::from_value(serde_json::to_value(created).unwrap()).unwrap()
    }

    /// A LoadBalancer Service `shop/NAME` that holds these addresses.
    pub(crate) async fn serve(&self, name: &str, addresses: &[&str]) {
        if Api::<Namespace>::all(self.client.clone())
            .get_opt("shop")
            .await
            .unwrap()
            .is_none()
        {
            self.apply::<Namespace>(None, json!({"metadata": {"name": "shop"}}))
                .await;
        }
        let service: Service = self
            .apply(
                Some("shop"),
                json!({
                    "metadata": {"name": name, "namespace": "shop"},
                    "spec": {
                        "type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack",
                        "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}],
                    },
                }),
            )
            .await;
        for address in addresses {
            let holder = json!({"kind": "Service", "namespace": "shop", "name": name,
                "uid": service.metadata.uid});
            self.apply::<LoadBalancerIP>(
                None,
                json!({
                    "metadata": {"name": landfall_crds::ip_name(address.parse().unwrap())},
                    "spec": {"address": address, "holders": [holder]},
                }),
            )
            .await;
        }
    }

    /// Applies a policy.
    pub(crate) async fn policy(&self, name: &str, spec: Value) {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.apply::<L2AnnouncementPolicy>(None, object).await;
    }

    fn log(&self, node: &str) -> PathBuf {
        self.logs.path().join(node)
    }

    /// Starts the announcer of a node, with sessions of three seconds.
    pub(crate) fn announce(&mut self, node: &str) {
        self.announce_with(node, &[]);
    }

    /// The same with sessions that outlive an API server that is away for a while.
    pub(crate) fn announce_lasting(&mut self, node: &str) {
        self.start_announcer(node, "60s", &[]);
    }

    /// The same as [`Cluster::announce`] with more flags.
    pub(crate) fn announce_with(&mut self, node: &str, flags: &[&str]) {
        self.start_announcer(node, "3s", flags);
    }

    fn start_announcer(&mut self, node: &str, session: &str, flags: &[&str]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(node))
            .unwrap();
        let child = self
            .net
            .command(node, env!("CARGO_BIN_EXE_landfall-announcer"))
            .args([
                "--node-name",
                node,
                "--session-duration",
                session,
                "--renew-interval",
                "1s",
            ])
            .args([
                "--admin-address",
                "127.0.0.1:7780",
                "--log-level",
                "info,landfall_announcer=debug",
            ])
            .arg("--bpf-pin-dir")
            .arg(self.pin_dir(node))
            .args(flags)
            .env("KUBECONFIG", self.plane.kubeconfig("announcer"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.announcers.insert(node.to_owned(), child);
    }

    /// A copy of etcd as it is now; the API server is away for a moment.
    pub(crate) async fn copy_etcd(&mut self) -> EtcdCopy {
        self.plane.copy().await.unwrap()
    }

    /// Puts the copy back under everybody, without a word to anybody.
    pub(crate) async fn restore_etcd(&mut self, copy: &EtcdCopy) {
        self.plane.restore(copy).await.unwrap();
    }

    /// What the announcer of a node has logged.
    pub(crate) fn logged(&self, node: &str) -> String {
        std::fs::read_to_string(self.log(node)).unwrap()
    }

    /// Ends an announcer as a crash would.
    pub(crate) fn crash(&mut self, node: &str) {
        let mut child = self.announcers.remove(node).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A directory with these keys of heartbeats, a file each.
    pub(crate) fn keys(&self, keys: &[(&str, [u8; 32])]) -> String {
        let directory = self.logs.path().join("keys");
        std::fs::create_dir_all(&directory).unwrap();
        for (name, key) in keys {
            std::fs::write(directory.join(name), key).unwrap();
        }
        directory.to_str().unwrap().to_owned()
    }

    /// Sends an announcer a signal.
    pub(crate) fn signal(&self, node: &str, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.announcers[node].id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }

    /// Asks an announcer to stop, and waits until it has.
    pub(crate) async fn stop(&mut self, node: &str) {
        let mut child = self.announcers.remove(node).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self
            .await_some("the announcer to stop", async || child.try_wait().unwrap())
            .await;
        assert!(status.success(), "{status}");
    }

    /// Where the director of this node pins.
    pub(crate) fn pin_dir(&self, node: &str) -> PathBuf {
        self.logs.path().join("bpf").join(node)
    }

    /// Mounts the bpffs below which the directors pin; false where that cannot be.
    pub(crate) fn mount_bpffs(&mut self) -> bool {
        let dir = self.logs.path().join("bpf");
        std::fs::create_dir(&dir).unwrap();
        let none: Option<&str> = None;
        let mounted =
            nix::mount::mount(none, &dir, Some("bpf"), nix::mount::MsFlags::empty(), none);
        self.bpffs = mounted.is_ok().then_some(dir);
        mounted.is_ok()
    }

    /// A pod with this address on a node: a server that answers with the node's name and the
    /// client's address, and its EndpointSlice.
    pub(crate) async fn backend(&self, service: &str, node: &str, address: &str) {
        // Without `nodad` nobody can bind to an IPv6 address before the kernel gets round to it, on `lo` as well.
        let (prefix, family) = if address.contains(':') {
            ("128 nodad", "IPv6")
        } else {
            ("32", "IPv4")
        };
        self.ip(node, &format!("address add {address}/{prefix} dev lo"));
        let (namespace, name, end) = (self.net.name(node), node.to_owned(), self.end.clone());
        let listen = SocketAddr::new(address.parse().unwrap(), 8080);
        let (listening, is_listening) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            netns::enter(&namespace).unwrap();
            let listener = TcpListener::bind(listen).unwrap();
            listener.set_nonblocking(true).unwrap();
            listening.send(()).unwrap();
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        is_listening.await.unwrap();
        self.apply::<EndpointSlice>(
            Some("shop"),
            json!({
                "metadata": {"name": format!("{service}-{node}-{}", family.to_lowercase()),
                    "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
                "addressType": family,
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": [address], "nodeName": node,
                    "conditions": {"ready": true}}],
            }),
        )
        .await;
    }

    /// What a server says to the client; nothing where none is reached within half a second.
    pub(crate) async fn connect(&self, address: &str, port: u16) -> Option<String> {
        let namespace = self.net.name("client");
        let to = SocketAddr::new(address.parse().unwrap(), port);
        let (done, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            netns::enter(&namespace).unwrap();
            let said = TcpStream::connect_timeout(&to, Duration::from_millis(500)).and_then(
                |mut stream| {
                    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
                    let mut said = String::new();
                    stream.read_to_string(&mut said)?;
                    Ok(said)
                },
            );
            let _ = done.send(said.ok());
        });
        answer.await.unwrap()
    }

    /// The record of an address.
    pub(crate) async fn record(&self, address: &str) -> LoadBalancerIP {
        let name = landfall_crds::ip_name(address.parse().unwrap());
        Api::all(self.client.clone()).get(&name).await.unwrap()
    }

    /// Waits until an address has an owner among `nodes`; the node.
    pub(crate) async fn owner(&self, address: &str, nodes: &[&str]) -> String {
        self.await_some(
            &format!("{address} to be owned by one of {nodes:?}"),
            async || {
                let owner = self.record(address).await.status?.owner?;
                (nodes.contains(&owner.node.as_str()) && owner.handover_to.is_none())
                    .then_some(owner.node)
            },
        )
        .await
    }

    /// Waits until the client's questions for an address are answered, by this node alone.
    pub(crate) async fn answered_by(&self, address: &str, node: &str) {
        let last = 11
            + ["n1", "n2", "n3"]
                .iter()
                .position(|name| *name == node)
                .unwrap();
        let mac = format!("02:00:00:00:00:{last:02x}");
        self.await_some(&format!("{address} to be answered by {node}"), async || {
            let answers = self.ask(address).await;
            (!answers.is_empty() && answers.iter().all(|answer| *answer == mac)).then_some(())
        })
        .await;
    }

    /// The Ethernet addresses that answer the client's questions for an address.
    pub(crate) async fn ask(&self, address: &str) -> Vec<String> {
        let command = if address.contains(':') {
            format!("ndisc6 -m -1 -r 1 -w 500 {address} eth0")
        } else {
            format!("arping -c 1 -w 1 -I eth0 {address}")
        };
        let out = self.exec("client", &command).await.to_lowercase();
        let words = out.split(|c: char| c.is_whitespace() || c == '[' || c == ']');
        words
            .filter(|word| word.starts_with("02:00:00:"))
            .map(str::to_owned)
            .collect()
    }

    /// Asks for an address once a second until it is told to end; then says how often it asked, and was
    /// answered.
    pub(crate) fn keep_asking(&self, address: &str) -> Asking {
        let mut command = self.net.command("client", "arping");
        command.args(["-I", "eth0", address]);
        Asking(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// What a command prints in the namespace of a host, whether it succeeds or not.
    pub(crate) async fn exec(&self, host: &str, command: &str) -> String {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        let out = tokio::process::Command::from(self.net.command(host, program))
            .args(words)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Runs `ip` in the namespace of a host.
    pub(crate) fn ip(&self, host: &str, arguments: &str) {
        self.net.ip(host, arguments).unwrap();
    }

    /// Waits for something to be there.
    pub(crate) async fn await_some<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < until,
                "waited {PATIENCE:?} in vain for {what}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
