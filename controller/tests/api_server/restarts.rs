//! Restarts: nobody moves, and nothing is written that need not be.

use kube::api::DeleteParams;
use serde_json::json;

use crate::pools::says;
use crate::support::Cluster;

#[tokio::test]
async fn a_full_pool_keeps_its_eight_holders_over_restarts_without_a_write() {
    let mut cluster = cluster!(a_full_pool_keeps_its_eight_holders_over_restarts_without_a_write);
    cluster.cidrs("small", &["192.0.2.8/29"]).await;
    cluster.controller().await;
    for n in 0..16 {
        cluster
            .service("blue", &format!("s{n:02}"), &[], json!({}))
            .await;
        if n < 8 {
            cluster
                .has(
                    "blue",
                    &format!("s{n:02}"),
                    &[&format!("192.0.2.{}", 8 + n)],
                )
                .await;
        } else {
            let message = cluster
                .refused("blue", &format!("s{n:02}"), "PoolExhausted")
                .await;
            assert!(message.contains("pool small has none of its 8 IPv4 addresses free"));
        }
    }
    says(&cluster, "small", "Exhausted", |exhausted| {
        exhausted.status == "True"
    })
    .await;
    cluster.rest().await;
    let (book, versions) = (cluster.book().await, cluster.versions().await);
    let events = cluster.events().await;
    for restart in 0..20 {
        if restart % 2 == 0 {
            cluster.stop().await
        } else {
            cluster.kill().await
        }
        cluster.controller().await;
        cluster.rest().await;
        assert_eq!(cluster.book().await, book);
        assert_eq!(
            cluster.versions().await,
            versions,
            "a restart with nothing to do wrote"
        );
        assert_eq!(cluster.events().await, events);
    }
    // A holder goes: the oldest of those who wait gets its address.
    cluster
        .services("blue")
        .delete("s03", &DeleteParams::default())
        .await
        .unwrap();
    cluster.has("blue", "s08", &["192.0.2.11"]).await;
    cluster.stop().await;
}
