//! The object of each node: what kubectl shows of it, when it is written, and when it is not.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt as _};
use landfall_crds::L2Node;

use crate::cluster::{Cluster, with_cluster};
use crate::heartbeats::{V4, announced, without};

/// Waits until kubectl shows this of a node: interfaces, XDP, addresses, whom it hears.
async fn shows(cluster: &Cluster, node: &str, columns: [&str; 4]) {
    let path = "-o=custom-columns=:.status.summary.interfaces,:.status.xdp,:.status.addresses,:.status.summary.hears";
    let wanted: Vec<&str> = columns
        .into_iter()
        .flat_map(str::split_whitespace)
        .collect();
    cluster
        .await_some(&format!("{node} to be shown with {wanted:?}"), async || {
            let shown = cluster.kubectl(&["get", "l2node", node, "--no-headers", path]);
            (shown.split_whitespace().collect::<Vec<_>>() == wanted).then_some(())
        })
        .await;
}

fn names(of: &str) -> String {
    without(of).join(", ")
}

#[test]
fn a_nodes_object_shows_what_its_announcer_is_and_does_and_rests_when_that_does() {
    with_cluster("nodes", &["n1", "n2", "n3"], async |mut cluster| {
        let first = announced(&mut cluster).await;
        shows(&cluster, &first, ["eth0", "Off", "1", &names(&first)]).await;
        for other in without(&first) {
            shows(&cluster, other, ["eth0", "Off", "0", &names(other)]).await;
        }
        // The columns are those of the definition, and the session is that of the Lease.
        let nodes = Api::<L2Node>::all(cluster.client.clone());
        let leases = Api::<Lease>::namespaced(cluster.client.clone(), "landfall-system");
        let lease = async |node: &str| leases.get(&format!("announcer-{node}")).await.unwrap();
        let holder = lease(&first).await.spec.unwrap().holder_identity.unwrap();
        let table = cluster.kubectl(&["get", "l2nodes"]);
        let mut lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let header = [
            "NAME",
            "SESSION",
            "INTERFACES",
            "XDP",
            "ADDRESSES",
            "HEARS",
            "SINCE",
        ];
        assert_eq!(lines.next().unwrap(), header);
        let line = lines.find(|line| line[0] == first).unwrap();
        assert_eq!(line[1..5], [&*holder, "eth0", "Off", "1"], "{table}");
        // It goes with its Node.
        let object = nodes.get(&first).await.unwrap();
        let node = Api::<Node>::all(cluster.client.clone())
            .get(&first)
            .await
            .unwrap();
        assert_eq!(object.owner_references()[0].uid, node.uid().unwrap());

        // At rest the session is renewed, and nothing else is written: nothing of what all announcers watch.
        let before = object.resource_version();
        let named = lease(&first).await.resource_version();
        let renewal = async || {
            let renewal = leases.get(&format!("renewal-{first}")).await.unwrap();
            renewal.resource_version()
        };
        for _ in 0..6 {
            let renewed = renewal().await;
            let again = async || (renewal().await != renewed).then_some(());
            cluster.await_some("another renewal", again).await;
        }
        assert_eq!(nodes.get(&first).await.unwrap().resource_version(), before);
        assert_eq!(lease(&first).await.resource_version(), named);

        // An owner that leaves says so, and whoever has its address now.
        cluster.stop(&first).await;
        let second = cluster.owner(V4, &without(&first)).await;
        let third = without(&first)
            .into_iter()
            .find(|node| *node != second)
            .unwrap();
        shows(&cluster, &second, ["eth0", "Off", "1", third]).await;
        let left = nodes.get(&first).await.unwrap().status.unwrap();
        assert_eq!(left.session, None);

        // An interface that is plugged in is one more of it: on a segment of its own, or questions for the node's address
        // would be answered by both.
        cluster.net.bridge("hub", "br1").unwrap();
        let (plug, port) = (
            (&*second, "eth1", "02:00:00:00:01:01"),
            ("hub", "br1", "p-more"),
        );
        cluster.net.plug(plug, port).unwrap();
        let address = "address add 198.51.100.99/24 dev eth1";
        cluster.net.ip(&second, address).unwrap();
        // Whoever has the address now, on a machine that may be too busy for heartbeats.
        let both = async || {
            let status = nodes.get(&second).await.unwrap().status?;
            (status.summary?.interfaces == "eth0, eth1").then_some(())
        };
        cluster.await_some("both interfaces", both).await;
    });
}
