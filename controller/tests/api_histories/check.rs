//! What holds whenever things are quiet, and what must have held all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kube::ResourceExt as _;
use kube::api::ListParams;
use landfall_controller::validate;
use landfall_crds::{FamilyCounts, LoadBalancerIP, LoadBalancerIPPool};
use landfall_ipam::sharing::stay_together;
use landfall_ipam::{Family, Service};

use crate::support::Cluster;
use crate::witness::{Sight, Witness};

/// Who had which addresses.
pub(crate) type Settled = BTreeMap<String, Vec<IpAddr>>;

/// Checks everything; then the settled ones are those of now.
pub(crate) async fn all(
    cluster: &Cluster,
    controllers: usize,
    witness: &mut Witness,
    settled: &mut Settled,
    asked: &Settled,
    story: &[String],
) {
    let all = ListParams::default();
    let services = cluster.services("blue").list(&all).await.unwrap();
    let services = services
        .iter()
        .filter_map(|service| validate::service(service, true, None));
    let services: BTreeMap<String, Service> = services
        .map(|service| (service.key.to_string(), service))
        .collect();
    let records = cluster.records().list(&all).await.unwrap().items;
    let pools = cluster.pools().list(&all).await.unwrap().items;
    let sights = witness.sights(cluster).await;
    let checks = [
        agree(&services, &records),
        objects(&services, &records),
        drained(&pools, &records, controllers),
        share(&services, &records),
        no_family_twice(&services, asked),
        stay(&services, settled),
        stayed(&sights, settled),
        counted(&pools, &records, &services),
    ];
    for check in checks {
        if let Err(problem) = check {
            panic!("{problem}\n{}", story.join("\n"));
        }
    }
    // Whoever asks for an address by name may move whenever it becomes free.
    *settled = services
        .iter()
        .filter(|(_, service)| service.readable().is_some_and(|r| r.addresses.is_empty()))
        .map(|(name, service)| {
            let mut has = service.status.clone();
            has.retain(|address| held(&records, name, *address));
            (name.clone(), has)
        })
        .collect();
}

/// Whether a record gives the Service this address.
fn held(records: &[LoadBalancerIP], name: &str, address: IpAddr) -> bool {
    let mut of = records
        .iter()
        .filter(|record| record.spec.address.parse() == Ok(address));
    of.any(|record| {
        crate::support::holders(record)
            .iter()
            .any(|holder| holder == name)
    })
}

type Verdict = Result<(), String>;
type Services = BTreeMap<String, Service>;

fn verdict(good: bool, problem: impl FnOnce() -> String) -> Verdict {
    if good { Ok(()) } else { Err(problem()) }
}

/// Status and records say the same; but what somebody else wrote, and no record has, is left alone.
fn agree(services: &Services, records: &[LoadBalancerIP]) -> Verdict {
    let mut shown: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for (name, service) in services {
        let theirs = |address: &&IpAddr| !service.ours && !held(records, name, **address);
        for address in service.status.iter().filter(|address| !theirs(address)) {
            shown.entry(*address).or_default().insert(name.clone());
        }
    }
    let booked = records.iter().map(|record| {
        let holders = crate::support::holders(record).into_iter().collect();
        (record.spec.address.parse().unwrap(), holders)
    });
    let booked = booked.collect();
    verdict(shown == booked, || {
        format!("status says {shown:?}, records {booked:?}")
    })
}

/// A holder is an object, not a name.
fn objects(services: &Services, records: &[LoadBalancerIP]) -> Verdict {
    for holder in records.iter().flat_map(|record| &record.spec.holders) {
        let name = format!("{}/{}", holder.namespace, holder.name);
        let uid = services.get(&name).map(|service| service.uid.as_str());
        verdict(uid == Some(&holder.uid), || {
            format!("{name} is {uid:?}, and a record has {}", holder.uid)
        })?;
    }
    Ok(())
}

/// A pool that is being deleted is there while a record names it, and no longer. One of two that both
/// believe to lead may let a pool go that the other has just used.
fn drained(
    pools: &[LoadBalancerIPPool],
    records: &[LoadBalancerIP],
    controllers: usize,
) -> Verdict {
    let refs = records
        .iter()
        .filter_map(|record| record.spec.pool_ref.as_ref());
    let named: BTreeSet<&str> = refs.map(|pool| pool.name.as_str()).collect();
    for pool in pools
        .iter()
        .filter(|pool| pool.metadata.deletion_timestamp.is_some())
    {
        let name = pool.name_any();
        verdict(named.contains(name.as_str()), || {
            format!("pool {name} hangs in deletion")
        })?;
    }
    let there: BTreeSet<String> = pools.iter().map(|pool| pool.name_any()).collect();
    for name in named {
        verdict(controllers != 1 || there.contains(name), || {
            format!("pool {name} did not drain")
        })?;
    }
    Ok(())
}

/// Those who hold an address together may.
fn share(services: &Services, records: &[LoadBalancerIP]) -> Verdict {
    for record in records {
        let names = crate::support::holders(record);
        let holders: Vec<&Service> = names.iter().map(|name| &services[name]).collect();
        for (at, one) in holders.iter().enumerate() {
            for two in &holders[at + 1..] {
                let address = record.spec.address.parse().unwrap();
                stay_together(one, two, address).map_err(|clash| {
                    format!("{address} is held by {} and {}: {clash}", one.key, two.key)
                })?;
            }
        }
    }
    Ok(())
}

/// Nobody has two addresses of a family that it did not ask for, now or before: what it once asked
/// for it keeps when it asks for nothing any more.
fn no_family_twice(services: &Services, asked: &Settled) -> Verdict {
    // What somebody else wrote where we have nothing to put is not ours to judge.
    let ours = services.iter().filter(|(_, service)| service.ours);
    for (name, service) in ours {
        let asked = asked.get(name).map_or(&[][..], Vec::as_slice);
        let unasked = service.status.iter().filter(|a| !asked.contains(a));
        let families: Vec<Family> = unasked.map(|address| Family::of(*address)).collect();
        let once: BTreeSet<Family> = families.iter().copied().collect();
        verdict(once.len() == families.len(), || {
            format!("{name} has a family twice: {:?}", service.status)
        })?;
    }
    Ok(())
}

/// Who was settled, and did not ask for anything since, has what it had.
fn stay(services: &Services, settled: &Settled) -> Verdict {
    for (name, before) in settled {
        let has = services.get(name).map_or(&[][..], |s| &s.status);
        verdict(before.iter().all(|address| has.contains(address)), || {
            format!("{name} was moved from {before:?} to {has:?}")
        })?;
    }
    Ok(())
}

/// And it had it all the time: no version of a record ever lacked it.
fn stayed(sights: &[Sight], settled: &Settled) -> Verdict {
    for (address, holders) in sights {
        let held = settled.iter().filter(|(_, had)| had.contains(address));
        for (name, _) in held {
            verdict(holders.as_ref().is_some_and(|h| h.contains(name)), || {
                format!("{name} lost {address} for a moment: {holders:?}")
            })?;
        }
    }
    Ok(())
}

/// A pool's counts are those of the records that lie in it; external addresses without one are
/// nobody else's either.
fn counted(
    pools: &[LoadBalancerIPPool],
    records: &[LoadBalancerIP],
    services: &Services,
) -> Verdict {
    // Nobody keeps from others what no pool would give it.
    let kept = |service: &&Service, address: &IpAddr| {
        let mut covering = pools.iter().filter(|pool| covered(pool).contains(address));
        covering.any(|pool| {
            let selector = pool.spec.service_selector.as_ref();
            landfall_crds::selector::matches(selector, &service.labels).unwrap()
        })
    };
    let external = services.values().flat_map(|service| {
        let external = service.external.iter();
        external.filter(move |address| kept(&service, address))
    });
    let mut taken: BTreeMap<IpAddr, bool> = external.map(|address| (*address, false)).collect();
    taken.extend(records.iter().map(|record| {
        let address = record.spec.address.parse().unwrap();
        (address, !record.spec.holders.is_empty())
    }));
    for pool in pools {
        let covered = covered(pool);
        let status = pool.status.clone().unwrap_or_default();
        for (family, counts) in [(Family::V4, status.ipv4), (Family::V6, status.ipv6)] {
            let within = |at: &&IpAddr| Family::of(**at) == family;
            let total = covered.iter().filter(within).count();
            let held = |wanted: bool| {
                let covered = covered.iter().filter(within);
                covered.filter(|at| taken.get(at) == Some(&wanted)).count()
            };
            let (assigned, reserved) = (held(true), held(false));
            let right = (total > 0).then(|| FamilyCounts {
                total: total.to_string(),
                assigned: assigned.to_string(),
                reserved: reserved.to_string(),
                available: (total - assigned - reserved).to_string(),
            });
            verdict(counts == right, || {
                format!("{}: counts {counts:?}, not {right:?}", pool.name_any())
            })?;
        }
    }
    Ok(())
}

/// The addresses of a pool, one by one; those of the histories are small.
fn covered(pool: &LoadBalancerIPPool) -> BTreeSet<IpAddr> {
    let cidrs = pool.spec.blocks.iter().filter_map(|b| b.cidr.as_deref());
    cidrs
        .flat_map(|cidr| cidr.parse::<ipnetwork::IpNetwork>().unwrap().iter())
        .collect()
}
