//! Messages for devices that the machines this is tried on may lack, byte by byte as the kernel lays them out
//! (`include/uapi/linux/rtnetlink.h`, `if_link.h`), through the code that reads them to what may announce.

use landfall_wire::Mac;
use landfall_wire::link::{LinkTable, Refusal, parse};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};

use super::{Interface, InterfacePatterns};

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;

const UP: u32 = 0x1;
const BROADCAST: u32 = 0x2;
const RUNNING: u32 = 0x40;
const BOND_MASTER: u32 = 0x400;
const BOND_SLAVE: u32 = 0x800;
const MULTICAST: u32 = 0x1000;
const LOWER_UP: u32 = 0x1_0000;
const PLAIN: u32 = BROADCAST | MULTICAST;
const WORKING: u32 = PLAIN | UP | RUNNING | LOWER_UP;

const ADDRESS: u16 = 1;
const GROUP_ADDRESS: u16 = 2;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LOWER: u16 = 5;
const MASTER: u16 = 10;
const QUEUE_LENGTH: u16 = 13;
const OPERATING_STATE: u16 = 16;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), [0, 0]].concat());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// A device as the kernel describes it. `info` is what its link info holds, `more` what else there is.
struct Device<'a> {
    index: u32,
    name: &'a str,
    flags: u32,
    info: &'a [Vec<u8>],
    more: &'a [Vec<u8>],
}

impl Device<'_> {
    fn new_link(&self) -> Vec<u8> {
        // Family unspecified, ARPHRD_ETHER, index, flags, change mask.
        let mut body = vec![0, 0, 1, 0];
        for word in [self.index, self.flags, 0] {
            body.extend(word.to_ne_bytes());
        }
        let state = if self.flags & LOWER_UP == 0 { 2 } else { 6 };
        let last = u8::try_from(self.index).unwrap();
        body.extend(attribute(NAME, &text(self.name)));
        body.extend(attribute(QUEUE_LENGTH, &1_000_u32.to_ne_bytes()));
        body.extend(attribute(OPERATING_STATE, &[state]));
        body.extend(attribute(MTU, &1_500_u32.to_ne_bytes()));
        body.extend(attribute(ADDRESS, &[2, 0, 0, 0, 0, last]));
        body.extend(attribute(GROUP_ADDRESS, &[0xff; 6]));
        if !self.info.is_empty() {
            body.extend(attribute(LINK_INFO, &self.info.concat()));
        }
        body.extend(self.more.concat());
        message(NEW_LINK, &body)
    }
}

fn kind(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    [
        attribute(INFO_KIND, &text(name)),
        attribute(INFO_DATA, &data.concat()),
    ]
    .concat()
}

fn port_of(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    [
        attribute(INFO_PORT_KIND, &text(name)),
        attribute(INFO_PORT_DATA, &data.concat()),
    ]
    .concat()
}

fn index(kind: u16, index: u32) -> Vec<u8> {
    attribute(kind, &index.to_ne_bytes())
}

fn vlan() -> Vec<u8> {
    kind(
        "vlan",
        &[
            // 802.1Q, identifier 100, reorder header.
            attribute(5, &0x8100_u16.to_be_bytes()),
            attribute(1, &100_u16.to_ne_bytes()),
            attribute(2, &[1_u32.to_ne_bytes(), [0xff; 4]].concat()),
        ],
    )
}

fn bond() -> Vec<u8> {
    // Mode active-backup, the active port, the monitoring interval.
    kind(
        "bond",
        &[
            attribute(1, &[1]),
            index(2, 3),
            attribute(3, &100_u32.to_ne_bytes()),
        ],
    )
}

fn bond_port() -> Vec<u8> {
    // State, MII status, failures, permanent address, queue.
    port_of(
        "bond",
        &[
            attribute(1, &[0]),
            attribute(2, &[0]),
            attribute(3, &1_u32.to_ne_bytes()),
            attribute(4, &[2, 0, 0, 0, 0, 3]),
            attribute(5, &[0, 0]),
        ],
    )
}

fn bridge_port() -> Vec<u8> {
    // State forwarding, priority, cost.
    port_of(
        "bridge",
        &[
            attribute(1, &[3]),
            attribute(2, &32_u16.to_ne_bytes()),
            attribute(3, &2_u32.to_ne_bytes()),
        ],
    )
}

fn macvlan() -> Vec<u8> {
    // Mode bridge, flags.
    kind(
        "macvlan",
        &[attribute(1, &4_u32.to_ne_bytes()), attribute(2, &[0, 0])],
    )
}

fn put(table: &mut LinkTable, bytes: &[u8]) {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).unwrap();
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        panic!("{message:?}")
    };
    parse::of_links(table, message);
}

fn device(table: &mut LinkTable, device: &Device<'_>) {
    put(table, &device.new_link());
}

/// What a link may do where no policy names it, and where one names every link.
fn verdicts(table: &LinkTable, index: u32) -> [Result<bool, Refusal>; 2] {
    let admitted = |patterns: &[String]| {
        let (patterns, _) = InterfacePatterns::compile(patterns);
        Interface::of(&table.links[&index]).map(|interface| patterns.admits(&interface))
    };
    [admitted(&[]), admitted(&[".*".to_owned()])]
}

#[test]
fn a_vlan_device_announces_with_its_own_address_as_long_as_its_parent_has_carrier() {
    let mut table = LinkTable::default();
    let mut eth0_100 = Device {
        index: 7,
        name: "eth0.100",
        flags: WORKING,
        info: &[vlan()],
        more: &[index(LOWER, 2)],
    };
    device(&mut table, &eth0_100);
    // IPv4, /24, permanent, universe.
    let mut address = vec![2, 24, 0x80, 0];
    address.extend(7_u32.to_ne_bytes());
    address.extend(attribute(1, &[198, 51, 100, 7]));
    address.extend(attribute(2, &[198, 51, 100, 7]));
    put(&mut table, &message(NEW_ADDRESS, &address));
    let link = &table.links[&7];
    assert_eq!(link.kind.as_deref(), Some("vlan"));
    assert_eq!(link.mac, Some(Mac([2, 0, 0, 0, 0, 7])));
    assert_eq!(link.master, None, "its parent is no master");
    assert_eq!(link.addresses, ["198.51.100.7/24".parse().unwrap()]);
    assert_eq!(verdicts(&table, 7), [Ok(true); 2]);
    eth0_100.flags = PLAIN | UP;
    device(&mut table, &eth0_100);
    assert_eq!(verdicts(&table, 7), [Err(Refusal::NoCarrier); 2]);
    assert_eq!(table.links[&7].addresses.len(), 1, "it keeps its address");
}

#[test]
fn a_bond_announces_and_its_ports_do_not_until_they_are_released() {
    let mut table = LinkTable::default();
    let mut eth0 = Device {
        index: 3,
        name: "eth0",
        flags: WORKING,
        info: &[],
        more: &[],
    };
    device(&mut table, &eth0);
    assert_eq!(verdicts(&table, 3), [Ok(true); 2]);
    device(
        &mut table,
        &Device {
            index: 9,
            name: "bond0",
            flags: WORKING | BOND_MASTER,
            info: &[bond()],
            more: &[],
        },
    );
    let (info, more) = ([bond_port()], [index(MASTER, 9)]);
    let enslaved = Device {
        flags: WORKING | BOND_SLAVE,
        info: &info,
        more: &more,
        ..eth0
    };
    device(&mut table, &enslaved);
    assert_eq!(table.links[&3].master, Some(9));
    assert_eq!(
        table.links[&3].kind, None,
        "what it is a port of is not what it is"
    );
    assert_eq!(verdicts(&table, 3), [Err(Refusal::Enslaved); 2]);
    assert_eq!(table.links[&9].kind.as_deref(), Some("bond"));
    assert_eq!(verdicts(&table, 9), [Ok(true); 2]);
    // A bond none of whose ports works, then a released port.
    device(
        &mut table,
        &Device {
            index: 9,
            name: "bond0",
            flags: PLAIN | UP | BOND_MASTER,
            info: &[bond()],
            more: &[],
        },
    );
    assert_eq!(verdicts(&table, 9), [Err(Refusal::NoCarrier); 2]);
    eth0.flags = WORKING;
    device(&mut table, &eth0);
    assert_eq!(verdicts(&table, 3), [Ok(true); 2]);
}

#[test]
fn a_vlan_on_a_bond_announces() {
    let mut table = LinkTable::default();
    device(
        &mut table,
        &Device {
            index: 10,
            name: "bond0.100",
            flags: WORKING | BOND_MASTER,
            info: &[vlan()],
            more: &[index(LOWER, 9)],
        },
    );
    assert_eq!(verdicts(&table, 10), [Ok(true); 2]);
}

#[test]
fn a_bridge_announces_and_its_port_does_not() {
    let mut table = LinkTable::default();
    device(
        &mut table,
        &Device {
            index: 4,
            name: "br0",
            flags: WORKING,
            info: &[kind("bridge", &[])],
            more: &[],
        },
    );
    device(
        &mut table,
        &Device {
            index: 5,
            name: "eth1",
            flags: WORKING,
            info: &[bridge_port()],
            more: &[index(MASTER, 4)],
        },
    );
    assert_eq!(verdicts(&table, 4), [Ok(true); 2]);
    assert_eq!(verdicts(&table, 5), [Err(Refusal::Enslaved); 2]);
}

#[test]
fn a_macvlan_announces_although_it_has_a_lower_device() {
    let mut table = LinkTable::default();
    device(
        &mut table,
        &Device {
            index: 6,
            name: "shim0",
            flags: WORKING,
            info: &[macvlan()],
            more: &[index(LOWER, 2)],
        },
    );
    assert_eq!(table.links[&6].kind.as_deref(), Some("macvlan"));
    assert_eq!(verdicts(&table, 6), [Ok(true); 2]);
}

#[test]
fn a_message_cut_anywhere_is_refused_or_understood_but_survived() {
    let bytes = Device {
        index: 10,
        name: "bond0.100",
        flags: WORKING | BOND_MASTER,
        info: &[vlan()],
        more: &[index(LOWER, 9)],
    }
    .new_link();
    for length in 16..bytes.len() {
        let mut cut = bytes[..length].to_vec();
        cut[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
        if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&cut)
            && let NetlinkPayload::InnerMessage(message) = message.payload
        {
            parse::of_links(&mut LinkTable::default(), message);
        }
    }
}
