//! Conversations of a client with a pod, through the programs.

use std::net::SocketAddr;

use landfall_bpf_lb::desired::Protocol;
use landfall_bpf_lb::{Director, Verdict};

use super::frames::{Flow, SEGMENT, SYN, SYN_ACK, Shape, Tcp, see, shaped};
use super::run::{PASS, Ran, receive, send};
use super::{Node, maps};

/// What the client says on `flow`.
pub(crate) fn says(
    director: &mut Director,
    ifindex: u32,
    flow: Flow,
    shape: impl Into<Shape>,
) -> Ran {
    receive(director, ifindex, &shaped(flow, &shape.into()))
}

/// What the pod answers.
pub(crate) fn answers(director: &mut Director, flow: Flow, pod: SocketAddr, tcp: Tcp) -> Ran {
    let reply = Flow {
        client: pod,
        to: flow.client,
        protocol: flow.protocol,
    };
    send(director, &shaped(reply, &tcp.into()))
}

/// The pod of this node that a delivered packet reaches.
#[track_caller]
pub(crate) fn reached(ran: &Ran) -> SocketAddr {
    assert_eq!(ran.action, PASS, "{:?}", ran.counted);
    let delivered = [
        Verdict::Delivered,
        Verdict::DeliveredPrevious,
        Verdict::Adopted,
    ];
    assert!(delivered.contains(&ran.verdict()), "{:?}", ran.counted);
    see(&ran.frame).to
}

/// The pod that takes in a connection which nobody knows, when its client repeats what it says.
#[track_caller]
pub(crate) fn adopted(
    node: &Node,
    director: &mut Director,
    flow: Flow,
    shape: impl Into<Shape>,
) -> SocketAddr {
    let shape = shape.into();
    maps::settle(&node.settings);
    director.feed().unwrap();
    let first = receive(director, node.ifindex, &shaped(flow, &shape));
    assert_eq!(first.verdict(), Verdict::DropUnsettled);
    maps::age(&node.settings, 2);
    director.feed().unwrap();
    let ran = receive(director, node.ifindex, &shaped(flow, &shape));
    assert_eq!(ran.verdict(), Verdict::Adopted);
    reached(&ran)
}

/// Opens a connection, or has a datagram answered; returns the pod that has it.
#[track_caller]
pub(crate) fn establish(director: &mut Director, ifindex: u32, flow: Flow) -> SocketAddr {
    let pod = reached(&says(director, ifindex, flow, SYN));
    let reply = answers(director, flow, pod, SYN_ACK);
    assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
    assert_eq!(see(&reply.frame).from, flow.to);
    if flow.protocol == Protocol::Tcp {
        assert_eq!(reached(&says(director, ifindex, flow, SEGMENT)), pod);
    }
    pod
}

/// Both ends finish.
#[track_caller]
pub(crate) fn close(director: &mut Director, ifindex: u32, flow: Flow, pod: SocketAddr) {
    assert_eq!(
        reached(&says(director, ifindex, flow, super::frames::FIN)),
        pod
    );
    let reply = answers(director, flow, pod, super::frames::FIN);
    assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
    let last = says(director, ifindex, flow, super::frames::LAST);
    assert_eq!(reached(&last), pod);
}
