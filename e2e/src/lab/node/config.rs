//! What containerd, the kubelet and the CNI's plugins of a node are told. Pure.

use std::path::Path;

use serde_json::{Value, json};

use super::super::plan::{CLUSTER_DNS, CLUSTER_DOMAIN, Cni};

/// The image that holds a Pod's namespaces.
const PAUSE: &str = "docker.io/landfall/lab-pause:0.1.0";
/// Where containerd listens, on the node.
const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where the CNI's configuration is, on the node.
const CNI: &str = "/var/lib/cni/net.d";
/// Where Debian keeps the CNI's plugins.
pub(super) const PLUGINS: &str = "/usr/lib/cni";

/// containerd's configuration. Paths are those of the node, which has a `/run` and a `/var/lib` of its own.
pub(super) fn containerd() -> String {
    // Ports below 1024 are anybody's in a Pod, as containerd 2 has it, and as images of name servers expect.
    // Without the right to lower the OOM score, which containers of machines lack, critical Pods could not start.
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{PLUGINS}"
  conf_dir = "{CNI}"
"#
    )
}

/// The kubelet's configuration: what a kubelet is by default, but for what the machine around it is.
pub(super) fn kubelet(authority: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "authentication": {"x509": {"clientCAFile": authority}, "webhook": {"enabled": true}, "anonymous": {"enabled": false}},
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": CLUSTER_DOMAIN,
        // What a name outside of the cluster means is not asked in a lab.
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // A Secret that is made after its Pod is mounted by then, and not only after a minute.
        "syncFrequency": "5s",
        // Renewed every second: the controller manager of the lab misses a node after five.
        "nodeLeaseDurationSeconds": 4,
        // The machine may use cgroups of either version, and may swap.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        // The disk is the machine's, and how full it is is none of the node's business.
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
    })
}

/// The CNI's: addresses out of the node's ranges.
pub(super) fn network(cni: Cni, ranges: &[String]) -> Value {
    let ranges: Vec<Value> = ranges
        .iter()
        .map(|range| json!([{"subnet": range}]))
        .collect();
    let mut addresses = json!({
        "type": "host-local",
        "dataDir": "/var/lib/cni/networks",
        "ranges": ranges,
    });
    let first = match cni {
        Cni::Routes => {
            addresses["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
            json!({"type": "ptp", "ipam": addresses})
        }
        // What flannel's own plugin makes of its subnet file, which it delegates to.
        Cni::Flannel => json!({
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": true,
            "hairpinMode": true,
            "mtu": 1500 - VXLAN_HEADERS,
            "ipam": addresses,
        }),
    };
    json!({
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [first, {"type": "portmap", "capabilities": {"portMappings": true}}],
    })
}

/// Bytes of what VXLAN puts before a packet: Ethernet, IPv6, UDP, VXLAN; flannel leaves room for IPv6 in dual stack.
const VXLAN_HEADERS: u32 = 14 + 40 + 8 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_an_address_of_each_range_and_a_route_in_each_family() {
        let network = network(
            Cni::Routes,
            &["10.244.1.0/24".into(), "fd00:10:244:1::/64".into()],
        );
        let ipam = &network["plugins"][0]["ipam"];
        assert_eq!(ipam["ranges"][0][0]["subnet"], "10.244.1.0/24");
        assert_eq!(ipam["ranges"][1][0]["subnet"], "fd00:10:244:1::/64");
        assert_eq!(ipam["routes"][1]["dst"], "::/0");
    }

    #[test]
    fn the_kubelet_listens_to_nobody_it_does_not_know() {
        let kubelet = kubelet(Path::new("/lab/ca.crt"));
        assert_eq!(kubelet["authentication"]["anonymous"]["enabled"], false);
        assert_eq!(
            kubelet["authentication"]["x509"]["clientCAFile"],
            "/lab/ca.crt"
        );
        assert_eq!(kubelet["authorization"]["mode"], "Webhook");
    }

    #[test]
    fn the_kubelet_asks_where_containerd_listens() {
        let endpoint = kubelet(Path::new("/ca"))["containerRuntimeEndpoint"].clone();
        let socket = endpoint.as_str().unwrap().strip_prefix("unix://").unwrap();
        assert!(containerd().contains(&format!("address = \"{socket}\"")));
    }
}
