//! What the first bytes of a packet say. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::echo::{REPLY4, REPLY6, REQUEST4, REQUEST6};
use landfall_bpf_lb_common::headers::{
    self, ACK, FIN, IPV4, IPV4_DESTINATION, IPV4_SOURCE, IPV6, IPV6_DESTINATION, IPV6_SOURCE,
    Lengths, Network, RST, SYN, TCP, Transport, UDP, Window as _,
};
use landfall_bpf_lb_common::quote::{ICMP, ICMPV6, IPV4_PROTOCOL, IPV6_NEXT};

/// The flags of TCP that say something, in the order in which they are told.
const FLAGS: [(u8, &str); 4] = [(SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK")];

/// One packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// The Ethernet address it is for.
    pub(super) mac: Option<[u8; 6]>,
    pub(super) from: Option<End>,
    pub(super) to: Option<End>,
    /// `TCP SYN`, `UDP`, `echo request`, or why it has no ports.
    pub(super) what: String,
}

/// An address, with the port where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) address: IpAddr,
    port: Option<u16>,
}

impl std::fmt::Display for End {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(formatter),
            None => self.address.fmt(formatter),
        }
    }
}

impl std::fmt::Display for Packet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            write!(formatter, "{from} > {to} ")?;
        }
        formatter.write_str(&self.what)
    }
}

impl Packet {
    /// Reads what is there of it: its beginning.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mac = bytes.at::<6>(0);
        let network = headers::network(bytes);
        let (ends, transport) = match network {
            Ok(Network::V4(offset)) => (
                ends(bytes, offset + IPV4_SOURCE, offset + IPV4_DESTINATION, four),
                headers::ipv4(bytes, offset, Lengths::Trusted),
            ),
            Ok(Network::V6(offset)) => (
                ends(bytes, offset + IPV6_SOURCE, offset + IPV6_DESTINATION, six),
                headers::ipv6(bytes, offset, Lengths::Trusted),
            ),
            Err(verdict) => (None, Err(verdict)),
        };
        let ports = transport
            .as_ref()
            .ok()
            .filter(|transport| !transport.is_error());
        let port = |of: fn(&Transport) -> u16| ports.map(|ports| u16::from_be(of(ports)));
        let end = |address, port| End { address, port };
        Self {
            mac,
            from: ends.map(|(from, _)| end(from, port(|ports| ports.source))),
            to: ends.map(|(_, to)| end(to, port(|ports| ports.destination))),
            what: match (&transport, network) {
                (Err(Verdict::OtherProtocol), Ok(network)) => {
                    echo(bytes, network).map_or_else(|| what(transport), str::to_owned)
                }
                _ => what(transport),
            },
        }
    }
}

fn ends(
    bytes: &[u8],
    from: usize,
    to: usize,
    address: fn(&[u8], usize) -> Option<IpAddr>,
) -> Option<(IpAddr, IpAddr)> {
    Some((address(bytes, from)?, address(bytes, to)?))
}

fn four(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    bytes
        .at::<4>(offset)
        .map(|bytes| Ipv4Addr::from(bytes).into())
}

fn six(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    bytes
        .at::<16>(offset)
        .map(|bytes| Ipv6Addr::from(bytes).into())
}

/// What an echo message behind an IP header without anything optional is called.
fn echo(bytes: &[u8], network: Network) -> Option<&'static str> {
    let (is_icmp, message, request, reply) = match network {
        Network::V4(offset) => (
            bytes.at(offset)? == [0x45] && bytes.at(offset + IPV4_PROTOCOL)? == [ICMP],
            offset + IPV4,
            REQUEST4,
            REPLY4,
        ),
        Network::V6(offset) => (
            bytes.at(offset + IPV6_NEXT)? == [ICMPV6],
            offset + IPV6,
            REQUEST6,
            REPLY6,
        ),
    };
    let said: [u8; 2] = bytes.at(message)?;
    match is_icmp {
        true if said == request => Some("echo request"),
        true if said == reply => Some("echo reply"),
        _ => None,
    }
}

fn what(transport: Result<Transport, Verdict>) -> String {
    let words = match transport {
        Ok(transport) if transport.is_error() => {
            return format!("ICMP error about {}", protocol(transport.protocol));
        }
        Ok(transport) => {
            let set = FLAGS.iter().filter(|(flag, _)| transport.flags & flag != 0);
            let set: Vec<&str> = set.map(|(_, name)| *name).collect();
            let words = [protocol(transport.protocol), set.join(",")];
            return words.join(" ").trim_end().to_owned();
        }
        Err(Verdict::Fragment) => "fragment",
        Err(Verdict::NotIp) => "neither IPv4 nor IPv6",
        Err(Verdict::OtherProtocol) => "neither TCP nor UDP",
        Err(_) => "cut short",
    };
    words.to_owned()
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// Bytes of digits, two each.
pub(super) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN from 198.51.100.7:40000 to 203.0.113.10:443.
    const SYN4: &str = "024c46000002024c46000001080045000028000040003f060000c6336407cb00710a\
                                   9c4001bb000000010000000050020400000000000000";
    /// A datagram from [2001:db8::7]:40000 to [2001:db8::10]:53.
    const UDP6: &str = "024c46000002024c4600000186dd600000000008114020010db800000000000000000000000720010db8\
                        0000000000000000000000109c40003500080000";

    fn read(digits: &str) -> Packet {
        Packet::read(&unhex(digits).unwrap())
    }

    #[test]
    fn a_packet_is_told_by_its_ends_and_its_flags() {
        let packet = read(SYN4);
        assert_eq!(
            packet.to_string(),
            "198.51.100.7:40000 > 203.0.113.10:443 TCP SYN"
        );
        assert_eq!(packet.mac, Some([0x02, 0x4c, 0x46, 0, 0, 2]));
        let answer = SYN4.replace("50020400", "50120400");
        assert!(read(&answer).to_string().ends_with("TCP SYN,ACK"));
        assert_eq!(
            read(UDP6).to_string(),
            "[2001:db8::7]:40000 > [2001:db8::10]:53 UDP"
        );
    }

    #[test]
    fn what_has_no_ports_is_told_by_its_addresses() {
        let fragment = SYN4.replace("40003f06", "20003f06");
        assert_eq!(
            read(&fragment).to_string(),
            "198.51.100.7 > 203.0.113.10 fragment"
        );
        let other = SYN4.replace("3f06", "3f2f");
        assert_eq!(
            read(&other).to_string(),
            "198.51.100.7 > 203.0.113.10 neither TCP nor UDP"
        );
        for (kind, told) in [("08", "echo request"), ("00", "echo reply")] {
            let echo = SYN4
                .replace("3f06", "3f01")
                .replace("9c4001bb", &format!("{kind}0001bb"));
            let told = format!("198.51.100.7 > 203.0.113.10 {told}");
            assert_eq!(read(&echo).to_string(), told);
        }
        for (kind, told) in [("80", "echo request"), ("81", "echo reply")] {
            let echo = UDP6
                .replace("00081140", "00083a40")
                .replace("9c400035", &format!("{kind}000035"));
            let told = format!("2001:db8::7 > 2001:db8::10 {told}");
            assert_eq!(read(&echo).to_string(), told);
        }
        let arp = SYN4.replace("0800450", "0806450");
        assert_eq!(read(&arp).to_string(), "neither IPv4 nor IPv6");
    }

    #[test]
    fn what_is_cut_anywhere_is_told_as_far_as_it_goes() {
        let whole = unhex(SYN4).unwrap();
        for length in 0..34 {
            let told = Packet::read(&whole[..length]).to_string();
            assert!(told.ends_with("cut short"), "{told}");
        }
        for length in 54..whole.len() {
            assert_eq!(Packet::read(&whole[..length]), Packet::read(&whole));
        }
    }

    #[test]
    fn digits_that_are_no_bytes_are_none() {
        assert_eq!(unhex("02fF"), Some(vec![2, 0xff]));
        for digits in ["0", "0g", "é0"] {
            assert_eq!(unhex(digits), None);
        }
    }
}
