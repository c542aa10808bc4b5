//! Which connections to a frontend the kernel carries: what its table of connections says.
//!
//! kube-proxy, and whoever else serves a Service by network address translation, works on that table.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr as Kernel};

use crate::desired::{Frontend, Protocol};
use crate::duties::Flow;

/// States of TCP in which nothing is to come: `TIME_WAIT` and `CLOSE`.
const OVER: [u8; 2] = [7, 8];
/// The kernel fills no more than this by one answer.
const ANSWER: usize = 64 * 1024;

/// The connections to these frontends that the kernel of this network namespace carries.
pub(crate) fn flows(wanted: &BTreeSet<Frontend>) -> io::Result<Vec<Flow>> {
    let families = [
        (NetfilterProtoFamily::IPv4, true),
        (NetfilterProtoFamily::IPv6, false),
    ];
    let mut flows = Vec::new();
    for (family, is_ipv4) in families {
        if wanted.iter().any(|one| one.address.is_ipv4() == is_ipv4) {
            dump(family, |attributes| {
                let flow = flow(attributes).filter(|flow| wanted.contains(&flow.frontend));
                flows.extend(flow);
            })?;
        }
    }
    Ok(flows)
}

/// Calls `each` with every connection of a family.
fn dump(
    family: NetfilterProtoFamily,
    mut each: impl FnMut(&[ConntrackAttribute]),
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&Kernel::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let all = ConntrackMessage::Get(Vec::new());
    let question = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), all);
    let mut question = NetlinkMessage::new(header, NetlinkPayload::from(question));
    question.finalize();
    let mut bytes = vec![0; question.buffer_len()];
    question.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = vec![0; ANSWER];
    loop {
        let length = socket.recv(&mut &mut answer[..], 0)?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(NetfilterMessage {
                    inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
                    ..
                }) => each(&attributes),
                _ => {}
            }
            let whole = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(whole.max(1)..).unwrap_or_default();
        }
    }
}

/// The connection as its client's packets show it, unless it is over.
fn flow(attributes: &[ConntrackAttribute]) -> Option<Flow> {
    let mut original = None;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
            ConntrackAttribute::CtaProtoInfo(info) if is_over(info) => return None,
            _ => {}
        }
    }
    let (mut client, mut address): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut client_port, mut port, mut protocol) = (None, None, None);
    for part in original? {
        match part {
            Tuple::Ip(ends) => {
                for end in ends {
                    match end {
                        IPTuple::SourceAddress(known) => client = Some(*known),
                        IPTuple::DestinationAddress(known) => address = Some(*known),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(ends) => {
                for end in ends {
                    match end {
                        ProtoTuple::Protocol(known) => protocol = known_protocol(u8::from(*known)),
                        ProtoTuple::SourcePort(known) => client_port = Some(*known),
                        ProtoTuple::DestinationPort(known) => port = Some(*known),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Flow {
        client: SocketAddr::new(client?, client_port?),
        frontend: Frontend {
            address: address?,
            port: port?,
            protocol: protocol?,
        },
    })
}

fn known_protocol(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|known| *known as u8 == number)
}

fn is_over(info: &[ProtoInfo]) -> bool {
    info.iter().any(|info| match info {
        ProtoInfo::TCP(parts) => parts
            .iter()
            .any(|part| matches!(part, ProtoInfoTCP::State(state) if OVER.contains(state))),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: u8) -> Vec<ConntrackAttribute> {
        let tuple = vec![
            Tuple::Ip(vec![
                IPTuple::SourceAddress("198.51.100.7".parse().unwrap()),
                IPTuple::DestinationAddress("192.0.2.10".parse().unwrap()),
            ]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(6.into()),
                ProtoTuple::SourcePort(40_000),
                ProtoTuple::DestinationPort(80),
            ]),
        ];
        vec![
            ConntrackAttribute::CtaTupleOrig(tuple),
            ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(vec![ProtoInfoTCP::State(
                state,
            )])]),
        ]
    }

    #[test]
    fn a_connection_is_known_by_what_its_client_sends() {
        let found = flow(&entry(3)).unwrap();
        assert_eq!(found.client.to_string(), "198.51.100.7:40000");
        assert_eq!(found.frontend.address.to_string(), "192.0.2.10");
        assert_eq!(
            (found.frontend.port, found.frontend.protocol),
            (80, Protocol::Tcp)
        );
    }

    #[test]
    fn what_is_over_is_none() {
        assert_eq!(flow(&entry(7)), None);
        assert_eq!(flow(&[]), None);
    }
}
