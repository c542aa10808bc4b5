//! The link table, kept by netlink events: one dump, then changes; another dump when events were lost.
//!
//! Invariant: once the events that have arrived are applied, the table is the kernel's. Events that queue up while a
//! dump is read are applied after it: they repeat what it said, or go beyond it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use landfall_wire::link::parse;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::LinkTable;
use super::requests::{Requests, answered};

const GROUPS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];
/// Before the next attempt, when netlink itself fails.
const RETRY: Duration = Duration::from_secs(1);

/// Watches the interfaces of this network namespace until the token is cancelled. The first table is an empty one;
/// the first full one follows at once.
#[must_use]
pub fn monitor(token: CancellationToken) -> (watch::Receiver<Arc<LinkTable>>, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(Arc::new(LinkTable::default()));
    let task = tokio::spawn(async move {
        while !token.is_cancelled() {
            tokio::select! {
                () = token.cancelled() => return,
                result = follow(&sender) => {
                    let error = result.err().map(|error| format!("{error:#}"));
                    tracing::warn!(error, "lost the view of the interfaces, reading them anew");
                }
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    });
    (receiver, task)
}

/// Follows one pair of netlink connections to its end.
async fn follow(sender: &watch::Sender<Arc<LinkTable>>) -> anyhow::Result<()> {
    let (connection, _open, mut events) =
        new_multicast_connection(&GROUPS).context("opening a netlink socket")?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let requests = Requests::open()?;
    let mut table = answered(dump(&requests.handle)).await??;
    loop {
        // What has arrived together is published together.
        while let Ok((message, _)) = events.try_recv() {
            if apply(&mut table, message.payload) == Applied::Lost {
                tracing::info!("netlink events were lost, reading the interfaces anew");
                table = answered(dump(&requests.handle)).await??;
            }
        }
        publish(sender, &table);
        match events.next().await {
            Some((message, _)) => {
                if apply(&mut table, message.payload) == Applied::Lost {
                    table = answered(dump(&requests.handle)).await??;
                }
            }
            None => anyhow::bail!("the netlink socket was closed"),
        }
    }
}

fn publish(sender: &watch::Sender<Arc<LinkTable>>, table: &LinkTable) {
    sender.send_if_modified(|published| {
        let changed = **published != *table;
        if changed {
            *published = Arc::new(table.clone());
        }
        changed
    });
}

async fn dump(handle: &Handle) -> anyhow::Result<LinkTable> {
    let mut table = LinkTable::default();
    let mut links = handle.link().get().execute();
    while let Some(message) = links.try_next().await.context("reading the links")? {
        parse::of_links(&mut table, RouteNetlinkMessage::NewLink(message));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses
        .try_next()
        .await
        .context("reading the addresses")?
    {
        parse::of_links(&mut table, RouteNetlinkMessage::NewAddress(message));
    }
    Ok(table)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Done,
    /// The kernel had more to say than the socket could hold.
    Lost,
}

fn apply(table: &mut LinkTable, payload: NetlinkPayload<RouteNetlinkMessage>) -> Applied {
    match payload {
        NetlinkPayload::Overrun(_) => return Applied::Lost,
        NetlinkPayload::InnerMessage(message) => parse::of_links(table, message),
        _ => {}
    }
    Applied::Done
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
    use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};

    use super::*;

    fn message(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 7]),
        ];
        message
    }

    fn event(table: &mut LinkTable, message: RouteNetlinkMessage) -> Applied {
        apply(table, NetlinkPayload::InnerMessage(message))
    }

    #[test]
    fn a_renamed_link_keeps_its_addresses_and_a_deleted_one_loses_all() {
        let mut table = LinkTable::default();
        event(
            &mut table,
            RouteNetlinkMessage::NewLink(message(4, "eth0", LinkFlags::Up | LinkFlags::LowerUp)),
        );
        let address = |address: &str, flags| {
            let mut message = AddressMessage::default();
            message.header.index = 4;
            message.header.prefix_len = 24;
            message.header.flags = flags;
            message.attributes = vec![AddressAttribute::Address(address.parse().unwrap())];
            message
        };
        let (none, secondary) = (AddressHeaderFlags::empty(), AddressHeaderFlags::Secondary);
        for (which, flags) in [("192.0.2.1", none), ("192.0.2.9", secondary)] {
            event(
                &mut table,
                RouteNetlinkMessage::NewAddress(address(which, flags)),
            );
        }
        event(
            &mut table,
            RouteNetlinkMessage::NewLink(message(4, "lan0", LinkFlags::Up)),
        );
        let link = &table.links[&4];
        assert_eq!(
            (link.name.as_str(), link.up, link.carrier),
            ("lan0", true, false)
        );
        let both = ["192.0.2.1/24", "192.0.2.9/24"].map(|one| one.parse().unwrap());
        assert_eq!(link.addresses, both);
        let own = |table: &LinkTable| table.links[&4].own_addresses().collect::<Vec<_>>();
        assert_eq!(own(&table), [both[0].ip()], "what others add only passes");
        // The first one goes, and the kernel promotes the second.
        event(
            &mut table,
            RouteNetlinkMessage::DelAddress(address("192.0.2.1", none)),
        );
        event(
            &mut table,
            RouteNetlinkMessage::NewAddress(address("192.0.2.9", none)),
        );
        assert_eq!(own(&table), [both[1].ip()]);
        event(
            &mut table,
            RouteNetlinkMessage::DelLink(message(4, "lan0", LinkFlags::empty())),
        );
        assert_eq!(table, LinkTable::default());
    }

    #[test]
    fn a_port_that_leaves_a_bridge_is_not_a_deleted_link() {
        let mut table = LinkTable::default();
        event(
            &mut table,
            RouteNetlinkMessage::NewLink(message(4, "eth0", LinkFlags::Up)),
        );
        let mut leaving = message(4, "eth0", LinkFlags::Up);
        leaving.header.interface_family = AddressFamily::Bridge;
        event(&mut table, RouteNetlinkMessage::DelLink(leaving));
        assert!(table.links.contains_key(&4));
    }

    #[test]
    fn an_enslaved_link_names_its_master_and_a_device_without_six_bytes_has_no_mac() {
        let mut table = LinkTable::default();
        let mut port = message(5, "eth1", LinkFlags::Up);
        port.attributes.push(LinkAttribute::Controller(9));
        event(&mut table, RouteNetlinkMessage::NewLink(port));
        let mut tunnel = message(6, "tun0", LinkFlags::Up | LinkFlags::Noarp);
        tunnel.header.link_layer_type = LinkLayerType::None;
        event(&mut table, RouteNetlinkMessage::NewLink(tunnel));
        assert_eq!(table.links[&5].master, Some(9));
        assert_eq!((table.links[&6].mac, table.links[&6].noarp), (None, true));
    }

    #[test]
    fn lost_events_ask_for_a_new_dump() {
        assert_eq!(
            apply(
                &mut LinkTable::default(),
                NetlinkPayload::Overrun(Vec::new())
            ),
            Applied::Lost
        );
    }
}
