//! One who saw every version of every record, not only those there are when things are quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use landfall_crds::LoadBalancerIP;
use tokio::task::JoinHandle;

use crate::support::{Cluster, eventually, holders};

/// An address, and who held it then; `None`: the record was deleted.
pub(crate) type Sight = (IpAddr, Option<BTreeSet<String>>);

#[derive(Default)]
struct Seen {
    now: BTreeMap<IpAddr, String>,
    sights: Vec<Sight>,
}

/// The witness.
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Witness {
    /// Looks on from now on.
    pub(crate) fn start(client: Client) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let sees = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let records = Api::<LoadBalancerIP>::all(client);
            let mut events = Box::pin(watcher(records, watcher::Config::default()));
            while let Some(event) = events.try_next().await.unwrap() {
                let mut seen = sees.lock().unwrap();
                match event {
                    Event::Apply(record) | Event::InitApply(record) => {
                        let address = record.spec.address.parse().unwrap();
                        let version = record.resource_version().unwrap();
                        seen.now.insert(address, version);
                        let holders = holders(&record).into_iter().collect();
                        seen.sights.push((address, Some(holders)));
                    }
                    Event::Delete(record) => {
                        let address = record.spec.address.parse().unwrap();
                        seen.now.remove(&address);
                        seen.sights.push((address, None));
                    }
                    Event::Init | Event::InitDone => {}
                }
            }
        });
        Self { seen, task }
    }

    /// All that was seen since it was last asked, up to this moment.
    pub(crate) async fn sights(&mut self, cluster: &Cluster) -> Vec<Sight> {
        eventually("the witness has seen everything", async || {
            let records = cluster.records().list(&Default::default()).await.unwrap();
            let there = records.iter().map(|record| {
                let address = record.spec.address.parse::<IpAddr>().unwrap();
                (address, record.resource_version().unwrap())
            });
            let there: BTreeMap<_, _> = there.collect();
            let mut seen = self.seen.lock().unwrap();
            if seen.now == there {
                Ok(std::mem::take(&mut seen.sights))
            } else {
                Err(format!("{:?}, not {there:?}", seen.now))
            }
        })
        .await
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
