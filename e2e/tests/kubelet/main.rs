//! The lab's kubelet against a real control plane: one node, real Pods through `runc`.
//!
//! Starting a control plane takes seconds, so one test tells the whole story; each step is named by what it shows.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod node;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::DeleteParams;

use node::{TestNode, running_and_ready, until};

/// A web server as another user than root, on a read-only root, that says what it sees; SIGTERM ends it politely.
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      securityContext: {runAsUser: 65532, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: lab/perl:1
          args:
            - -MIO::Socket::INET
            - -e
            - |
              $| = 1;
              $SIG{TERM} = sub { print "bye\n"; exit 0 };
              open(my $file, "<", "/etc/web/greeting") or die "greeting: $!"; my $greeting = <$file>;
              my $root = open(my $out, ">", "/written") ? "writable" : "read-only";
              open(my $status, "<", "/proc/self/status"); my ($caps) = map { /CapEff:\s*(\S+)/ } <$status>;
              my $server = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die "listen: $!";
              while (my $client = $server->accept) {
                <$client>;
                print $client "HTTP/1.0 200 OK\r\n\r\n$greeting|$<|$root|$caps|$ENV{NODE}|$ENV{KUBERNETES_SERVICE_HOST}";
                close $client;
              }
          env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
          ports: [{name: http, containerPort: 80}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
          livenessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
          securityContext:
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {drop: [ALL], add: [NET_RAW]}
          volumeMounts: [{name: config, mountPath: /etc/web}]
      volumes: [{name: config, configMap: {name: greeting}}]
"#;

const FOREVER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: forever, namespace: default}
spec:
  containers: [{name: main, image: 'lab/sh:1', args: [-c, 'trap exit TERM; while :; do sleep 1; done']}]
";

const GREETING: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: default}
data: {greeting: ahoy}
";

#[tokio::test]
async fn the_labs_kubelet_runs_pods_as_a_node_does() {
    let Some(mut node) = TestNode::start("the_labs_kubelet_runs_pods_as_a_node_does").await else {
        return;
    };
    node_gets_ready_with_addresses_and_ranges(&node).await;
    let pod = a_deployment_becomes_ready_and_serves_as_it_was_asked_to(&node).await;
    a_killed_container_is_started_again(&node, &pod).await;
    containers_survive_the_kubelet_and_are_taken_over(&mut node, &pod).await;
    a_service_account_token_opens_the_api_server(&node).await;
    a_host_network_pod_shares_the_node_and_its_bpf_file_system(&node).await;
    init_containers_and_an_ended_pod_are_reported(&node).await;
    a_failing_liveness_probe_restarts_its_container(&node).await;
    a_container_over_its_memory_limit_is_killed_and_says_so(&node).await;
    what_is_not_played_is_said_in_the_status(&node).await;
    a_deletion_is_graceful_and_leaves_nothing(&node).await;
    an_agent_that_drains_takes_its_pods_along(&mut node).await;
    clean_leaves_nothing(&mut node).await;
}

async fn node_gets_ready_with_addresses_and_ranges(test: &TestNode) {
    let node = until("the node is ready", test.nodes(), test.name(), |node| {
        let status = node.status.as_ref();
        let mut conditions = status
            .and_then(|s| s.conditions.as_ref())
            .into_iter()
            .flatten();
        conditions.any(|c| c.type_ == "Ready" && c.status == "True")
    })
    .await;
    let addresses: Vec<String> = node
        .status
        .unwrap()
        .addresses
        .unwrap()
        .into_iter()
        .map(|a| a.address)
        .collect();
    assert_eq!(addresses, ["192.0.2.11", "2001:db8::11", test.name()]);
    assert_eq!(node.spec.unwrap().pod_cidrs.unwrap().len(), 2);
}

async fn a_deployment_becomes_ready_and_serves_as_it_was_asked_to(test: &TestNode) -> Pod {
    test.create::<k8s_openapi::api::core::v1::ConfigMap>(GREETING)
        .await;
    test.create::<Deployment>(WEB).await;
    let deployments = test.api::<Deployment>();
    until(
        "the Deployment is available",
        deployments,
        "web",
        |deployment| {
            deployment
                .status
                .as_ref()
                .is_some_and(|status| status.available_replicas == Some(1))
        },
    )
    .await;
    let pod = test.pods_of("app=web").await.remove(0);
    let status = pod.status.clone().unwrap();
    assert_eq!(status.pod_ips.as_ref().unwrap().len(), 2);
    let ip = status.pod_ip.unwrap();
    assert!(ip.starts_with("10.244."), "{ip}");
    let answer = node::get(&ip, 80).await;
    let expected = format!(
        "ahoy|65532|read-only|0000000000000000|{}|10.96.0.1",
        test.name()
    );
    assert_eq!(
        answer, expected,
        "an added capability does not reach a user that is not root"
    );
    pod
}

async fn a_killed_container_is_started_again(test: &TestNode, pod: &Pod) {
    let before = test.pid_of(pod, "web");
    node::kill(before);
    let name = pod.metadata.name.as_deref().unwrap();
    let pod = until("the container is back", test.api(), name, |pod: &Pod| {
        running_and_ready(pod) && node::restarts(pod) == 1
    })
    .await;
    let last = pod
        .status
        .unwrap()
        .container_statuses
        .unwrap()
        .remove(0)
        .last_state
        .unwrap();
    assert_eq!(last.terminated.unwrap().exit_code, 137);
}

async fn containers_survive_the_kubelet_and_are_taken_over(test: &mut TestNode, pod: &Pod) {
    let before = test.pid_of(pod, "web");
    test.kill_kubelet();
    assert_eq!(test.pid_of(pod, "web"), before, "the container went on");
    test.start_kubelet_with(&[]);
    let name = pod.metadata.name.as_deref().unwrap();
    // The new agent is known to have the container when it restarts it.
    node::kill(before);
    until(
        "the adopted container is restarted",
        test.api(),
        name,
        |pod: &Pod| running_and_ready(pod) && node::restarts(pod) == 2,
    )
    .await;
}

async fn a_service_account_token_opens_the_api_server(test: &TestNode) {
    let script = format!(
        "cd /var/run/secrets/kubernetes.io/serviceaccount && /landfall/bin/kubectl --server={} \
         --certificate-authority=ca.crt --token=$(cat token) auth whoami -o jsonpath='{{.status.userInfo.username}}'",
        test.server()
    );
    let pod = test.run_to_end("whoami", "lab/kubectl:1", &script).await;
    assert_eq!(node::phase(&pod), "Succeeded");
    assert_eq!(
        test.log(&pod, "main"),
        "system:serviceaccount:default:default"
    );
}

/// As the announcer is: in the node's namespace, root with a few capabilities, with the node's own bpffs.
async fn a_host_network_pod_shares_the_node_and_its_bpf_file_system(test: &TestNode) {
    let yaml = "
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: default}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers:
    - name: main
      image: lab/sh:1
      args:
        - -c
        - mkdir /sys/fs/bpf/mine && echo $(hostname) $(ls /sys/class/net | tr '\\n' ' ') $(grep CapEff /proc/self/status)
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL], add: [BPF, NET_ADMIN, NET_RAW]}
      volumeMounts: [{name: bpffs, mountPath: /sys/fs/bpf, mountPropagation: HostToContainer}]
  volumes: [{name: bpffs, hostPath: {path: /sys/fs/bpf, type: Directory}}]
";
    test.create::<Pod>(yaml).await;
    let ended = |pod: &Pod| matches!(node::phase(pod), "Succeeded" | "Failed");
    let pod = until("the agent ended", test.api(), "agent", ended).await;
    let log = test.log(&pod, "main");
    let words: Vec<&str> = log.split_whitespace().collect();
    assert_eq!(
        (words[0], words[words.len() - 1]),
        ("worker", "0000008000003000"),
        "{log}"
    );
    assert!(words.contains(&"eth0") && words.contains(&"wire"), "{log}");
    assert_eq!(pod.status.unwrap().pod_ip.as_deref(), Some("192.0.2.11"));
    assert!(
        test.host_path("/sys/fs/bpf/mine").is_dir(),
        "the node's bpffs keeps what was made"
    );
}

async fn init_containers_and_an_ended_pod_are_reported(test: &TestNode) {
    let yaml = "
apiVersion: v1
kind: Pod
metadata: {name: staged, namespace: default}
spec:
  restartPolicy: Never
  initContainers:
    - {name: first, image: 'lab/sh:1', args: [-c, 'echo one > /shared/a'], volumeMounts: [{name: v, mountPath: /shared}]}
  containers:
    - name: main
      image: lab/sh:1
      args: [-c, 'cat /shared/a; echo gone wrong > /dev/termination-log; exit 3']
      volumeMounts: [{name: v, mountPath: /shared}]
  volumes: [{name: v, emptyDir: {}}]
";
    test.create::<Pod>(yaml).await;
    let pod = until("the Pod failed", test.api(), "staged", |pod: &Pod| {
        node::phase(pod) == "Failed"
    })
    .await;
    assert_eq!(test.log(&pod, "main"), "one\n");
    let state = pod
        .status
        .unwrap()
        .container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap();
    let ended = state.terminated.unwrap();
    assert_eq!(
        (ended.exit_code, ended.message.as_deref()),
        (3, Some("gone wrong\n"))
    );
}

async fn a_failing_liveness_probe_restarts_its_container(test: &TestNode) {
    let yaml = "
apiVersion: v1
kind: Pod
metadata: {name: sickly, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: lab/sh:1
      args: [-c, 'trap exit TERM; touch /tmp/well; while :; do sleep 0.1; done']
      startupProbe: {exec: {command: [test, -e, /tmp/well]}, periodSeconds: 1}
      livenessProbe: {exec: {command: [test, '!', -e, /tmp/well]}, periodSeconds: 1, failureThreshold: 1}
";
    test.create::<Pod>(yaml).await;
    let restarted = |pod: &Pod| node::restarts(pod) > 0;
    until("it is restarted", test.api(), "sickly", restarted).await;
    test.api::<Pod>()
        .delete("sickly", &DeleteParams::default())
        .await
        .unwrap();
}

async fn a_container_over_its_memory_limit_is_killed_and_says_so(test: &TestNode) {
    let yaml = "
apiVersion: v1
kind: Pod
metadata: {name: greedy, namespace: default}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: lab/perl:1
      args: [-e, 'my $all = \"x\" x (200 << 20); print length $all']
      resources: {limits: {memory: 32Mi}}
";
    test.create::<Pod>(yaml).await;
    let failed = |pod: &Pod| node::phase(pod) == "Failed";
    let pod = until("it is killed", test.api(), "greedy", failed).await;
    let container = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let ended = container.state.unwrap().terminated.unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (137, Some("OOMKilled"))
    );
}

async fn what_is_not_played_is_said_in_the_status(test: &TestNode) {
    let cases = [
        (
            "hosts-processes",
            "hostPID: true, containers: [{name: main, image: 'lab/sh:1'}]",
            "hostPID",
        ),
        (
            "network-disk",
            "volumes: [{name: disk, nfs: {server: s, path: /}}], containers: [{name: main, image: 'lab/sh:1'}]",
            "disk",
        ),
        (
            "unknown-image",
            "containers: [{name: main, image: 'nginx:1'}]",
            "nginx:1",
        ),
    ];
    for (name, spec, names) in cases {
        let yaml = format!("{{metadata: {{name: {name}, namespace: default}}, spec: {{{spec}}}}}");
        test.create::<Pod>(&yaml).await;
        let said =
            |pod: &Pod| node::waiting(pod).is_some_and(|(_, message)| message.contains(names));
        let pod = until("the status says it", test.api(), name, said).await;
        let reason = if name == "unknown-image" {
            "ErrImageNeverPull"
        } else {
            "CreateContainerConfigError"
        };
        assert_eq!(node::waiting(&pod).unwrap().0, reason);
        test.api::<Pod>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn a_deletion_is_graceful_and_leaves_nothing(test: &TestNode) {
    let pod = test.pods_of("app=web").await.remove(0);
    let name = pod.metadata.name.clone().unwrap();
    test.api::<Deployment>()
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    test.gone(&name).await;
    assert!(
        test.log(&pod, "web").ends_with("bye\n"),
        "SIGTERM was heard"
    );
    let short: String = pod.metadata.uid.unwrap().chars().take(8).collect();
    assert!(
        !test
            .namespaces()
            .iter()
            .any(|netns| netns.ends_with(&short))
    );
}

async fn an_agent_that_drains_takes_its_pods_along(test: &mut TestNode) {
    test.create::<Pod>(FOREVER).await;
    let pod = until("it runs", test.api(), "forever", running_and_ready).await;
    let pid = test.pid_of(&pod, "main");
    test.kill_kubelet();
    test.start_kubelet_with(&["--drain-on-exit"]);
    test.adopted("forever").await;
    test.terminate_kubelet();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(test.namespaces(), Vec::<String>::new());
    assert_eq!(test.mounts(), Vec::<String>::new());
}

async fn clean_leaves_nothing(test: &mut TestNode) {
    test.start_kubelet_with(&[]);
    let pod = until(
        "a node that comes back starts its Pods again",
        test.api(),
        "forever",
        |pod: &Pod| running_and_ready(pod) && node::restarts(pod) == 1,
    )
    .await;
    let pid = test.pid_of(&pod, "main");
    test.kill_kubelet();
    test.clean();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(test.namespaces(), Vec::<String>::new());
    assert_eq!(test.mounts(), Vec::<String>::new());
}
