//! Whose slot a connection is in by now.

use std::net::IpAddr;

use landfall_bpf_lb_common::flow::{self, Seed};
use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry, Slot};

use super::Flow;
use crate::programmed::{Programmed, unmapped};
use crate::room::Table;

/// The other node that has the slot of a connection now, by its address. `slots` knows what the tables say.
pub(crate) fn gained_by(
    programmed: &Programmed,
    seed: &Seed,
    connection: &Flow,
    slots: impl Fn(Table, u32) -> Option<Slot>,
) -> Option<IpAddr> {
    let installed = programmed.frontends.get(&connection.frontend)?;
    let affinity = installed.entry.flags & FrontendEntry::CLIENT_IP != 0;
    let client_port = if affinity {
        0
    } else {
        connection.client.port()
    };
    let client_port = client_port.to_be_bytes();
    let port = connection.frontend.port.to_be_bytes();
    let protocol = connection.frontend.protocol as u8;
    let hash = match (connection.client.ip(), connection.frontend.address) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => flow::hash4(
            seed,
            client.octets(),
            client_port,
            vip.octets(),
            port,
            protocol,
        ),
        (IpAddr::V6(client), IpAddr::V6(vip)) => flow::hash6(
            seed,
            client.octets(),
            client_port,
            vip.octets(),
            port,
            protocol,
        ),
        _ => return None,
    };
    let table = installed.table()?;
    let slot = slots(table, flow::slot(hash, table.slots))?;
    // As the programs see it: where nothing takes new connections, the last to have taken some.
    let backend = [slot.current, slot.previous[0]]
        .into_iter()
        .filter_map(|id| programmed.backends.get(&id))
        .find(|backend| backend.hop != BackendEntry::NOBODY)?;
    if backend.hop == 0 || backend.hop == BackendEntry::UNPLACED {
        return None;
    }
    let hop = programmed.hops.get(&backend.hop)?;
    Some(unmapped(hop.address))
}
