//! What is served for Gateways: the frontends of an address's record, over the endpoints of the Services they name.
//!
//! A Service's share is divided among its endpoints that take new connections. A share that nobody can take (what the
//! route refers to is not there, may not be referred to, or has no endpoint) keeps its part of the table, and what falls
//! to it is given to no other: it is refused. Every node makes the same of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use landfall_bpf_lb::desired::{
    Backend, BackendState, Endpoint, Frontend, Placement, PodId, Protocol, Vip,
};
use landfall_crds::FrontendProtocol;

use super::endpoints;
use crate::link::IfIndex;
use crate::model::World;
use crate::names::{NodeName, ServiceKey};
use crate::policy::Announcement;

/// A share among all others, exact enough to be divided.
type Share = u128;

/// So that a share of 1 in a million can be divided among thousands of endpoints.
const SCALE: u32 = 40;

/// The frontends of an address that are served for Gateways.
pub(super) fn vips(
    world: &World,
    address: IpAddr,
    plan: &Announcement,
    me: &NodeName,
    nodes: &BTreeMap<&NodeName, Vec<(IpAddr, IfIndex)>>,
    unplaced: &mut usize,
) -> Vec<(Frontend, Vip)> {
    let frontends = plan.frontends.iter().map(|served| {
        let protocol = match served.protocol {
            FrontendProtocol::Tcp => Protocol::Tcp,
            FrontendProtocol::Udp => Protocol::Udp,
        };
        let frontend = Frontend {
            address,
            port: served.port,
            protocol,
        };
        let mut shares = Shares::new(address);
        for backend in &served.backends {
            let key = ServiceKey::new(&backend.namespace, &backend.name);
            let port = world.services.get(&key).and_then(|service| {
                let mut ports = service.ports.iter();
                ports.find(|port| port.port == backend.port && port.protocol == protocol)
            });
            let found = match port {
                Some(port) if !backend.refused => {
                    endpoints(world, &key, port, address, me, nodes, unplaced)
                }
                _ => Vip::default(),
            };
            shares.add(backend.weight, found);
        }
        (frontend, shares.vip())
    });
    frontends.collect()
}

/// The shares of a frontend's endpoints.
struct Shares {
    address: IpAddr,
    endpoints: BTreeMap<Endpoint, (Backend, Share)>,
    /// Those whose nodes have fallen silent.
    silent: BTreeSet<Endpoint>,
    /// What nobody takes.
    refused: Share,
}

impl Shares {
    fn new(address: IpAddr) -> Self {
        Self {
            address,
            endpoints: BTreeMap::new(),
            silent: BTreeSet::new(),
            refused: 0,
        }
    }

    /// Divides the share of a Service among its endpoints; those that take nothing new keep what they have.
    fn add(&mut self, weight: u32, mut found: Vip) {
        prefer_directors(&mut found.backends);
        serve_while_terminating(&mut found.backends);
        let active = |backend: &&Backend| backend.state == BackendState::Active;
        let takers = found.backends.values().filter(active).count();
        let whole = Share::from(weight) << SCALE;
        if takers == 0 {
            self.refused += whole;
        }
        self.silent.extend(found.silent);
        for (at, mut backend) in found.backends {
            let share = if backend.state == BackendState::Active {
                whole / takers.max(1) as Share
            } else {
                0
            };
            if weight == 0 {
                // No new connections, and those it has stay with it.
                backend.state = backend.state.max(BackendState::Unready);
            }
            let known = self.endpoints.entry(at).or_insert((backend, 0));
            known.1 += share;
            if backend.state < known.0.state {
                known.0 = backend;
            }
        }
    }

    /// The frontend with the shares as weights. Where nobody takes anything there is one that refuses all.
    fn vip(self) -> Vip {
        let shares = self.endpoints.values().map(|(_, share)| *share);
        let greatest = shares.chain([self.refused]).max().unwrap_or_default();
        let weight = |share: Share| {
            let scaled = (share * Share::from(u16::MAX)).checked_div(greatest);
            u16::try_from(scaled.unwrap_or_default())
                .unwrap_or(u16::MAX)
                .max(1)
        };
        let takes = self
            .endpoints
            .values()
            .any(|(backend, _)| backend.state == BackendState::Active);
        let mut vip = Vip {
            silent: self.silent,
            ..Vip::default()
        };
        if self.refused > 0 || !takes {
            vip.backends
                .insert(nobody(self.address), refusing(weight(self.refused)));
        }
        for (at, (backend, share)) in self.endpoints {
            let weight = weight(share);
            vip.backends.insert(at, Backend { weight, ..backend });
        }
        vip
    }
}

/// What falls to an endpoint that no director reaches (its node's does not run or is going, or nobody knows its node)
/// passes to the kernel, which has nobody for it. So it gets nothing new where others can take it.
fn prefer_directors(backends: &mut BTreeMap<Endpoint, Backend>) {
    let takes = |backend: &Backend| backend.state == BackendState::Active;
    let is_lost = |backend: &Backend| {
        matches!(
            backend.placement,
            Placement::Unknown | Placement::Leaving(_)
        )
    };
    if !backends
        .values()
        .any(|backend| takes(backend) && !is_lost(backend))
    {
        return;
    }
    for backend in backends.values_mut() {
        if takes(backend) && is_lost(backend) {
            backend.state = BackendState::Draining;
        }
    }
}

/// Where no endpoint is ready those that terminate and still serve go on (KEP-1669), as they do for a Service.
fn serve_while_terminating(backends: &mut BTreeMap<Endpoint, Backend>) {
    let ready = |backend: &Backend| backend.state == BackendState::Active;
    if backends.values().any(ready) {
        return;
    }
    for backend in backends.values_mut() {
        if backend.state == BackendState::Draining {
            backend.state = BackendState::Active;
        }
    }
}

/// The endpoint that stands for nobody.
fn nobody(address: IpAddr) -> Endpoint {
    let address = if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    Endpoint { address, port: 0 }
}

fn refusing(weight: u16) -> Backend {
    Backend {
        pod: PodId::default(),
        placement: Placement::Nobody,
        weight,
        state: BackendState::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

    fn pods(service: u8, states: &[BackendState]) -> Vip {
        let pods = states.iter().zip(1_u8..).map(|(state, pod)| {
            let at = Endpoint {
                address: [10, 244, service, pod].into(),
                port: 80,
            };
            let backend = Backend {
                pod: PodId::default(),
                placement: Placement::Local,
                weight: 1,
                state: *state,
            };
            (at, backend)
        });
        Vip {
            backends: pods.collect(),
            ..Vip::default()
        }
    }

    /// The part of new connections that each Service gets, in thousandths; the one of nobody is number 0.
    fn parts(vip: &Vip) -> BTreeMap<u8, u64> {
        let active = vip.backends.iter();
        let active: Vec<_> = active
            .filter(|(_, backend)| backend.state == BackendState::Active)
            .collect();
        let sum: u64 = active
            .iter()
            .map(|(_, backend)| u64::from(backend.weight))
            .sum();
        let mut parts = BTreeMap::new();
        for (at, backend) in active {
            let IpAddr::V4(address) = at.address else {
                unreachable!("a test of IPv4");
            };
            *parts.entry(address.octets()[2]).or_default() += u64::from(backend.weight);
        }
        parts
            .values_mut()
            .for_each(|part| *part = (*part * 1000 + sum / 2) / sum);
        parts
    }

    use BackendState::{Active, Draining, Unready};

    #[test]
    fn a_services_share_is_its_own_however_many_endpoints_it_has() {
        let mut shares = Shares::new(VIP);
        shares.add(70, pods(1, &[Active]));
        shares.add(30, pods(2, &[Active; 7]));
        shares.add(0, pods(3, &[Active, Active]));
        assert_eq!(parts(&shares.vip()), [(1, 700), (2, 300)].into());
    }

    #[test]
    fn a_share_that_nobody_takes_is_given_to_nobody() {
        let mut shares = Shares::new(VIP);
        shares.add(1, pods(1, &[Active, Active]));
        shares.add(2, Vip::default());
        shares.add(1, pods(2, &[Unready, Unready]));
        let vip = shares.vip();
        assert_eq!(parts(&vip), [(0, 750), (1, 250)].into());
        // Those that take nothing new keep what they have.
        assert_eq!(vip.backends.len(), 5);
    }

    #[test]
    fn where_nothing_is_ready_what_terminates_and_still_serves_takes_the_share() {
        let mut shares = Shares::new(VIP);
        shares.add(1, pods(1, &[Active, Draining]));
        shares.add(1, pods(2, &[Unready, Draining]));
        let vip = shares.vip();
        assert_eq!(parts(&vip), [(1, 500), (2, 500)].into());
        let takes = |backend: &&Backend| backend.state == Active;
        assert_eq!(vip.backends.values().filter(takes).count(), 2);
    }

    #[test]
    fn an_endpoint_that_no_director_reaches_gets_nothing_new_where_others_can_take_it() {
        let lost = |found: BTreeMap<Endpoint, Backend>, lost: usize| {
            let mut found = found;
            for backend in found.values_mut().take(lost) {
                backend.placement = Placement::Unknown;
            }
            Vip {
                backends: found,
                ..Vip::default()
            }
        };
        let takers = |gone: usize| {
            let mut shares = Shares::new(VIP);
            shares.add(1, lost(pods(1, &[Active; 3]).backends, gone));
            let vip = shares.vip();
            assert_eq!(parts(&vip), [(1, 1000)].into());
            let takes = |backend: &&Backend| backend.state == Active;
            vip.backends.values().filter(takes).count()
        };
        assert_eq!([takers(0), takers(1), takers(2)], [3, 2, 1]);
        // Where no director reaches any of them, nothing is gained by leaving one out.
        assert_eq!(takers(3), 3);
    }

    #[test]
    fn without_any_backend_everything_is_refused() {
        assert_eq!(parts(&Shares::new(VIP).vip()), [(0, 1000)].into());
    }

    #[test]
    fn what_had_a_weight_and_has_none_any_more_keeps_its_connections() {
        let mut shares = Shares::new(VIP);
        shares.add(0, pods(1, &[Active]));
        shares.add(1, pods(2, &[Active]));
        let vip = shares.vip();
        assert_eq!(parts(&vip), [(2, 1000)].into());
        assert_eq!(vip.backends.len(), 2);
    }
}
