//! An address that has a record: whether a Service may join its holders, claim it, or stay.

use std::net::IpAddr;

use landfall_crds::{Holder, SHARED_AS_EXTERNAL};

use super::{How, Take};
use crate::address::Point;
use crate::book::{Entry, holder_key};
use crate::service::Service;
use crate::sharing::{Clash, compatible, stay_together};
use crate::world::World;
use crate::{PoolName, Reason, Refusal};

/// A share of, or a claim on, an address that has a record.
pub(super) fn enter(
    world: &World,
    service: &Service,
    at: Point,
    entry: &Entry,
) -> Result<Take, Refusal> {
    let address = at.address();
    let pool = entry.want.as_ref().and_then(|want| want.pool_ref.as_ref());
    let pool = pool.map(|pool| PoolName::from(pool.name.as_str()));
    let Some(want) = &entry.want else {
        return Err(Refusal::new(
            Reason::AddressInUse,
            format!("{address} is being released; it is assigned as soon as it is free"),
        ));
    };
    if want.holders.is_empty() {
        if world.book.reserved_for(&service.key).any(|kept| kept == at) {
            return Ok(Take {
                address,
                how: How::Claim,
                pool,
            });
        }
        let name = landfall_crds::ip_name(address);
        return Err(Refusal::new(
            Reason::AddressInUse,
            match &want.reserved_for {
                Some(kept) => format!(
                    "{address} is kept for {} {}/{} by LoadBalancerIP {name}; \
                     ask for another address, or change its spec.reservedFor",
                    kept.kind, kept.namespace, kept.name
                ),
                None => format!(
                    "{address} is kept by LoadBalancerIP {name}, which has no holder; \
                 set its spec.reservedFor, or delete it"
                ),
            },
        ));
    }
    match shares(world, service, address, entry) {
        Ok(()) if want.holders.len() >= landfall_crds::MAX_HOLDERS => Err(Refusal::new(
            Reason::SharingRefused,
            format!(
                "{address} has {} holders, as many as a record takes; ask for another address, \
                 or for none: one more for the same sharing key is chosen then",
                want.holders.len()
            ),
        )),
        Ok(()) if want.frontends.len() + service.frontends.len() > landfall_crds::MAX_FRONTENDS => {
            Err(Refusal::new(
                Reason::SharingRefused,
                format!(
                    "{address} serves {} ports of Gateways, and a record takes {}; ask for another address, \
                     or for none: one more for the same sharing key is chosen then",
                    want.frontends.len(),
                    landfall_crds::MAX_FRONTENDS
                ),
            ))
        }
        Ok(()) => Ok(Take {
            address,
            how: How::Join,
            pool,
        }),
        Err((holder, clash)) => {
            let asks = service
                .readable()
                .is_some_and(|request| request.sharing.is_some());
            let reason = if asks {
                Reason::SharingRefused
            } else {
                Reason::AddressInUse
            };
            Err(Refusal::new(
                reason,
                format!("{address} is held by {holder}; {clash}"),
            ))
        }
    }
}

/// Whether the Service may join all who hold the address.
fn shares(
    world: &World,
    service: &Service,
    address: IpAddr,
    entry: &Entry,
) -> Result<(), (String, Clash)> {
    for holder in entry.holders() {
        let name = format!("{} {}/{}", holder.kind, holder.namespace, holder.name);
        let key = holder_key(holder);
        if key.as_ref() == Some(&service.key) {
            continue;
        }
        let Some(key) = key else {
            return Err((name, Clash::OtherKind));
        };
        match world.services.get(&key) {
            Some(other) => compatible(service, other, address).map_err(|clash| (name, clash))?,
            None => return Err((name, Clash::Gone)),
        }
    }
    Ok(())
}

/// Why the Service cannot stay among the holders of an address. Whoever left the sharing group
/// by its own key goes; otherwise those who were there first stay.
pub(super) fn clash_with_seniors(
    world: &World,
    service: &Service,
    address: IpAddr,
    entry: &Entry,
) -> Option<String> {
    let group = entry
        .want
        .as_ref()
        .and_then(|want| want.sharing_key.as_deref());
    let left = |member: &Service| {
        let request = member.readable();
        !member.names_external(address)
            && request
                .is_some_and(|r| r.sharing.as_ref().map(|sharing| sharing.key.as_str()) != group)
    };
    if entry.holders().len() > 1 && left(service) {
        let by = if group == Some(SHARED_AS_EXTERNAL) {
            "naming it in spec.externalIPs"
        } else {
            "another landfall.dev/sharing-key"
        };
        return Some(format!("whose other holders share it by {by}"));
    }
    // One made anew under the name of a holder is another Service: it comes after all others.
    let own = |holder: &&Holder| holder_key(holder).as_ref() == Some(&service.key);
    let place = |holder: &&Holder| own(holder) && holder.uid == service.uid;
    let known = |holder: &Holder| {
        let other = world.services.get(&holder_key(holder)?)?;
        (other.uid == holder.uid).then_some(other)
    };
    let senior = entry
        .holders()
        .iter()
        .take_while(|holder| !place(holder))
        .filter(|holder| !own(holder))
        .filter_map(known)
        .filter(|other| other.wanted && !left(other));
    for other in senior {
        if let Err(clash) = stay_together(service, other, address) {
            return Some(format!("held by {} first; {clash}", other.key.in_words()));
        }
    }
    None
}
