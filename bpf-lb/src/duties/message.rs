//! What nodes tell each other of moved connections, as bytes.
//!
//! ```text
//!  0        1      2          10          14      16
//!  version  kind   boot       sequence    count   count × (family, protocol, client, port, vip, port)
//! ```
//! Numbers in network order; a digest stands where the sequence and the flows would. A message fits
//! into one datagram.

use std::net::{IpAddr, SocketAddr};

use super::Flow;
use crate::desired::{Frontend, Protocol};

/// Flows in one message at most: with IPv6 addresses and what makes it authentic it fits into 1,280
/// bytes less its headers, which every link takes that carries IPv6.
pub const BATCH: usize = 27;

const VERSION: u8 = 1;
const HEADER: usize = 16;

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The process of the node that keeps its duty; an answer repeats it.
    pub boot: u64,
    /// What it says.
    pub body: Body,
}

/// The kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// I have these connections: send them to me.
    Keep {
        /// Number of the batch.
        sequence: u32,
        /// At most [`BATCH`].
        flows: Vec<Flow>,
    },
    /// I do not have these any more.
    Forget {
        /// Number of the batch.
        sequence: u32,
        /// At most [`BATCH`].
        flows: Vec<Flow>,
    },
    /// All that I have told you and you shall have.
    Digest(Digest),
    /// I have taken this batch in.
    Acknowledge {
        /// Number of the batch.
        sequence: u32,
    },
    /// What I have differs from your digest.
    TellAgain,
}

/// A set of flows in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub count: u32,
    /// The exclusive or of their hashes.
    pub sum: u64,
}

impl Digest {
    /// The digest of a set.
    pub fn of<'f>(flows: impl IntoIterator<Item = &'f Flow>) -> Self {
        flows.into_iter().fold(Self::default(), |digest, flow| {
            let mut bytes = Vec::with_capacity(38);
            write(flow, &mut bytes);
            // FNV-1a, then stirred, so that sums of neighbours do not cancel.
            let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            Self {
                count: digest.count.wrapping_add(1),
                sum: digest.sum ^ hash ^ (hash >> 32),
            }
        })
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The version is another one.
    #[error("version {0} of the messages about moved connections is not known here")]
    Version(u8),
    /// They end too early, go on too long, or hold what cannot be.
    #[error("a malformed message about moved connections")]
    Malformed,
}

impl Message {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.body.kind()];
        bytes.extend(self.boot.to_be_bytes());
        match &self.body {
            Body::Keep { sequence, flows } | Body::Forget { sequence, flows } => {
                bytes.extend(sequence.to_be_bytes());
                let count = u16::try_from(flows.len()).unwrap_or(u16::MAX);
                bytes.extend(count.to_be_bytes());
                flows.iter().for_each(|flow| write(flow, &mut bytes));
            }
            Body::Digest(digest) => {
                bytes.extend(digest.count.to_be_bytes());
                bytes.extend([0; 2]);
                bytes.extend(digest.sum.to_be_bytes());
            }
            Body::Acknowledge { sequence } => {
                bytes.extend(sequence.to_be_bytes());
                bytes.extend([0; 2]);
            }
            Body::TellAgain => bytes.extend([0; 6]),
        }
        bytes
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader(bytes);
        let [version, kind] = reader.take()?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let boot = u64::from_be_bytes(reader.take()?);
        let number = u32::from_be_bytes(reader.take()?);
        let count = usize::from(u16::from_be_bytes(reader.take()?));
        let body = match kind {
            1 | 2 => {
                if count > BATCH {
                    return Err(Unreadable::Malformed);
                }
                let flows = (0..count)
                    .map(|_| reader.flow())
                    .collect::<Result<Vec<_>, _>>()?;
                let sequence = number;
                if kind == 1 {
                    Body::Keep { sequence, flows }
                } else {
                    Body::Forget { sequence, flows }
                }
            }
            3 => Body::Digest(Digest {
                count: number,
                sum: u64::from_be_bytes(reader.take()?),
            }),
            4 => Body::Acknowledge { sequence: number },
            5 => Body::TellAgain,
            _ => return Err(Unreadable::Malformed),
        };
        if !reader.0.is_empty() {
            return Err(Unreadable::Malformed);
        }
        Ok(Self { boot, body })
    }
}

impl Body {
    const fn kind(&self) -> u8 {
        match self {
            Self::Keep { .. } => 1,
            Self::Forget { .. } => 2,
            Self::Digest(_) => 3,
            Self::Acknowledge { .. } => 4,
            Self::TellAgain => 5,
        }
    }
}

const _: () = assert!(
    HEADER + BATCH * 38 <= 1280 - 40 - 8 - 160,
    "room for a seal"
);

fn write(flow: &Flow, bytes: &mut Vec<u8>) {
    let family = if flow.frontend.address.is_ipv4() {
        4
    } else {
        6
    };
    bytes.extend([family, flow.frontend.protocol as u8]);
    for (address, port) in [
        (flow.client.ip(), flow.client.port()),
        (flow.frontend.address, flow.frontend.port),
    ] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
        bytes.extend(port.to_be_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Unreadable::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn flow(&mut self) -> Result<Flow, Unreadable> {
        let [family, protocol] = self.take()?;
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|known| *known as u8 == protocol)
            .ok_or(Unreadable::Malformed)?;
        let (client, port) = self.end(family)?;
        let (address, frontend_port) = self.end(family)?;
        Ok(Flow {
            client: SocketAddr::new(client, port),
            frontend: Frontend {
                address,
                port: frontend_port,
                protocol,
            },
        })
    }

    fn end(&mut self, family: u8) -> Result<(IpAddr, u16), Unreadable> {
        let address = match family {
            4 => IpAddr::from(self.take::<4>()?),
            6 => IpAddr::from(self.take::<16>()?),
            _ => return Err(Unreadable::Malformed),
        };
        Ok((address, u16::from_be_bytes(self.take()?)))
    }
}
