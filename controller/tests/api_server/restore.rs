//! etcd restored from an older copy under a running controller, without a word to anybody.

use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::json;

use crate::program::Program;
use crate::support::{Cluster, eventually};

/// How often the log says that history went back.
fn told(program: &Program) -> usize {
    program.log().matches("a past that was over").count()
}

#[tokio::test]
async fn a_controller_drops_what_a_restore_of_etcd_took_back_and_serves_on_within_seconds() {
    let cluster =
        cluster!(a_controller_drops_what_a_restore_of_etcd_took_back_and_serves_on_within_seconds);
    cluster.cidrs("default", &["192.0.2.0/24"]).await;
    let flags = ["--orphan-grace", "1s"];
    let mut program = Program::start(&cluster, "one", &flags);
    program.ready().await;
    for (name, address) in [("old", "192.0.2.0"), ("kept", "192.0.2.1")] {
        cluster.service("blue", name, &[], json!({})).await;
        cluster.has("blue", name, &[address]).await;
    }
    let copy = cluster.copy_etcd().await;
    let params = DeleteParams::default();
    cluster
        .services("blue")
        .delete("old", &params)
        .await
        .unwrap();
    for n in 0..40 {
        let name = format!("s{n:02}");
        cluster.service("blue", &name, &[], json!({})).await;
    }
    eventually("the 40 have come and the one has gone", async || {
        let book = cluster.book().await;
        let holders: Vec<&str> = book.values().flatten().map(String::as_str).collect();
        match (holders.len(), holders.contains(&"blue/old")) {
            (41, false) => Ok(()),
            _ => Err(format!("{book:?}")),
        }
    })
    .await;
    assert_eq!(
        told(&program),
        0,
        "the API server was away, and history went on"
    );

    cluster.restore_etcd(&copy).await;
    let restored = Instant::now();
    cluster.service("blue", "new", &[], json!({})).await;
    eventually("the new Service is served", async || {
        match cluster.addresses("blue", "new").await {
            none if none.is_empty() => Err("it is not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let served = restored.elapsed();
    assert!(served < Duration::from_secs(10), "served after {served:?}");
    eventually(
        "the book is that of the copy, and the new one's",
        async || {
            let book = cluster.book().await;
            let holders: Vec<&str> = book.values().flatten().map(String::as_str).collect();
            let old = book.get(&"192.0.2.0".parse().unwrap());
            if holders.len() == 3 && old == Some(&vec!["blue/old".to_owned()]) {
                Ok(())
            } else {
                Err(format!("{book:?}"))
            }
        },
    )
    .await;
    eprintln!(
        "served {served:?} after the restore, no ghosts after {:?}",
        restored.elapsed()
    );
    cluster.has("blue", "kept", &["192.0.2.1"]).await;
    // Edits are followed, and so is a deletion.
    let asks = [("landfall.dev/ips", "192.0.2.77")];
    cluster.service("blue", "new", &asks, json!({})).await;
    cluster.has("blue", "new", &["192.0.2.77"]).await;
    cluster
        .services("blue")
        .delete("old", &params)
        .await
        .unwrap();
    cluster.service("blue", "next", &[], json!({})).await;
    cluster.has("blue", "next", &["192.0.2.0"]).await;
    assert_eq!(told(&program), 1, "{}", program.log());
    program.terminate().await;
}
