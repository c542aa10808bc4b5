//! The bodies of frames: what is said, as plain values that borrow their names.

use std::net::IpAddr;
use std::time::Duration;

use super::bytes::{Reader, Writer};
use super::{LONGEST_LIST, LONGEST_NODE, LONGEST_SESSION, MOST_ITEMS, Refusal};

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// "I live, and this is what I heard."
    Beat(Beat<'a>),
    /// "These are silent to me."
    Suspect(Vec<Suspect<'a>>),
    /// "I hear it."
    Veto(Vec<Suspect<'a>>),
    /// "This session is over."
    Fenced(Fenced<'a>),
    /// "I answer for these."
    Claims(Vec<Title>),
    /// "Take these from me."
    Moves(Vec<Move>),
    /// "I answer for these no more: answer for them at once."
    Ceded(Vec<Move>),
}

/// The heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat<'a> {
    /// Of this session; never goes back.
    pub sequence: u64,
    /// How long its sender waits between two; in whole microseconds on the wire.
    pub interval: Duration,
    /// How long a silence its sender asks to be forgiven; in whole microseconds on the wire.
    pub window: Duration,
    /// What it is for.
    pub kind: Kind,
    /// How its sender does.
    pub flags: Flags,
    /// What its sender heard last, by session.
    pub heard: Vec<Heard<'a>>,
    /// Sessions that are over, the youngest first: of more than there is room for the eldest are left out.
    pub ended: Vec<&'a str>,
}

/// What a beat is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of the beats of a watch.
    Watch = 1,
    /// "I am here", to all, now and then.
    Discovery = 2,
    /// "Do you hear me? Answer at once."
    Poll = 3,
    /// The answer to a poll.
    Final = 4,
    /// The last one of a watch, ended by word.
    End = 5,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// Of this session.
    pub session: &'a str,
    /// Its last sequence heard on this segment; 0 for none.
    pub sequence: u64,
}

/// How a node does, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The API server acknowledged a renewal of its Lease within two periods.
    pub has_api: bool,
    /// For how long it has been without the API server while a peer had it; in whole milliseconds on the wire.
    pub alone: Duration,
    /// Counts the renewals that the API server acknowledged, and begins again after 255; last on the wire.
    pub renewals: u8,
    /// Its node is being drained.
    pub draining: bool,
    /// It gives everything away and ends.
    pub leaving: bool,
    /// Its data plane is in order.
    pub programmed: bool,
    /// Fewer than half of its watchers hear it.
    pub few_hear: bool,
}

/// A session and the last sequence heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect<'a> {
    /// Whose.
    pub node: &'a str,
    /// Which.
    pub session: &'a str,
    /// The last sequence that whoever says this has heard.
    pub sequence: u64,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced<'a> {
    /// Whose.
    pub node: &'a str,
    /// Which.
    pub session: &'a str,
    /// Who ended it.
    pub by: &'a str,
    /// The API server has it in writing; if not, the peers agreed.
    pub written: bool,
}

/// The right a node claims to answer for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Title {
    /// Of this address.
    pub address: IpAddr,
    /// The record's count of owners, the claimant included.
    pub transitions: u64,
    /// The record says so already.
    pub written: bool,
}

/// An address its owner wants another node to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// This address.
    pub address: IpAddr,
    /// The record's count of owners, the present one included.
    pub transitions: u64,
}

const HAS_API: u8 = 1;
const DRAINING: u8 = 2;
const LEAVING: u8 = 4;
const PROGRAMMED: u8 = 8;
const FEW_HEAR: u8 = 16;
const WRITTEN: u8 = 1;

impl Body<'_> {
    /// The byte that says which it is.
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Beat(_) => 1,
            Self::Suspect(_) => 2,
            Self::Veto(_) => 3,
            Self::Fenced(_) => 4,
            Self::Claims(_) => 5,
            Self::Moves(_) => 6,
            Self::Ceded(_) => 7,
        }
    }

    /// Writes it; `None` if it does not fit, or has more of something than a frame may have.
    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        match self {
            Self::Beat(beat) => beat.emit(out),
            Self::Suspect(items) | Self::Veto(items) => {
                list(out, items, MOST_ITEMS, |out, item| item.emit(out))
            }
            Self::Fenced(fenced) => fenced.emit(out),
            Self::Claims(items) => list(out, items, MOST_ITEMS, |out, item| item.emit(out)),
            Self::Moves(items) | Self::Ceded(items) => {
                list(out, items, MOST_ITEMS, |out, item| item.emit(out))
            }
        }
    }
}

impl<'a> Body<'a> {
    /// Reads a body of the kind `code`. What follows its last field is a later revision's, and no concern of this one.
    pub(super) fn parse(code: u8, bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = Reader(bytes);
        let body = match code {
            1 => Beat::parse(&mut reader).map(Self::Beat),
            2 => items(&mut reader, MOST_ITEMS, Suspect::parse).map(Self::Suspect),
            3 => items(&mut reader, MOST_ITEMS, Suspect::parse).map(Self::Veto),
            4 => Fenced::parse(&mut reader).map(Self::Fenced),
            5 => items(&mut reader, MOST_ITEMS, Title::parse).map(Self::Claims),
            6 => items(&mut reader, MOST_ITEMS, Move::parse).map(Self::Moves),
            7 => items(&mut reader, MOST_ITEMS, Move::parse).map(Self::Ceded),
            _ => return Err(Refusal::UnknownKind),
        };
        body.ok_or(Refusal::Malformed)
    }
}

/// How many there are, and they.
fn list<T>(
    out: &mut Writer<'_>,
    items: &[T],
    most: usize,
    each: impl Fn(&mut Writer<'_>, &T) -> Option<()>,
) -> Option<()> {
    let count = u8::try_from(items.len()).ok()?;
    if items.len() > most {
        return None;
    }
    out.byte(count)?;
    items.iter().try_for_each(|item| each(out, item))
}

fn items<'a, T>(
    reader: &mut Reader<'a>,
    most: usize,
    each: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = usize::from(reader.byte()?);
    if count > most {
        return None;
    }
    (0..count).map(|_| each(reader)).collect()
}

impl<'a> Beat<'a> {
    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.long(self.sequence)?;
        out.micros(self.interval)?;
        out.micros(self.window)?;
        out.byte(self.kind as u8)?;
        out.byte(self.flags.bits())?;
        out.millis(self.flags.alone)?;
        list(out, &self.heard, LONGEST_LIST, |out, heard| {
            out.name(heard.session)?;
            out.long(heard.sequence)
        })?;
        list(out, &self.ended, LONGEST_LIST, |out, session| {
            out.name(session)
        })?;
        out.byte(self.flags.renewals)
    }

    fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        let mut beat = Self {
            sequence: reader.long()?,
            interval: reader.micros()?,
            window: reader.micros()?,
            kind: Kind::of(reader.byte()?)?,
            flags: Flags::of(reader.byte()?, reader.millis()?),
            heard: items(reader, LONGEST_LIST, |reader| {
                Some(Heard {
                    session: reader.name(LONGEST_SESSION)?,
                    sequence: reader.long()?,
                })
            })?,
            ended: items(reader, LONGEST_LIST, |reader| reader.name(LONGEST_SESSION))?,
        };
        // Not said by the first revision: of such a node nothing is known to be renewed.
        beat.flags.renewals = reader.byte().unwrap_or_default();
        Some(beat)
    }
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Watch,
            Self::Discovery,
            Self::Poll,
            Self::Final,
            Self::End,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

impl Flags {
    fn bits(self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(self.has_api, HAS_API)
            | bit(self.draining, DRAINING)
            | bit(self.leaving, LEAVING)
            | bit(self.programmed, PROGRAMMED)
            | bit(self.few_hear, FEW_HEAR)
    }

    fn of(bits: u8, alone: Duration) -> Self {
        let set = |bit| bits & bit != 0;
        Self {
            has_api: set(HAS_API),
            alone,
            renewals: 0,
            draining: set(DRAINING),
            leaving: set(LEAVING),
            programmed: set(PROGRAMMED),
            few_hear: set(FEW_HEAR),
        }
    }
}

impl<'a> Suspect<'a> {
    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.name(self.node)?;
        out.name(self.session)?;
        out.long(self.sequence)
    }

    fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            node: reader.name(LONGEST_NODE)?,
            session: reader.name(LONGEST_SESSION)?,
            sequence: reader.long()?,
        })
    }
}

impl<'a> Fenced<'a> {
    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.name(self.node)?;
        out.name(self.session)?;
        out.name(self.by)?;
        out.byte(if self.written { WRITTEN } else { 0 })
    }

    fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            node: reader.name(LONGEST_NODE)?,
            session: reader.name(LONGEST_SESSION)?,
            by: reader.name(LONGEST_NODE)?,
            written: reader.byte()? & WRITTEN != 0,
        })
    }
}

impl Title {
    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        address(out, self.address)?;
        out.long(self.transitions)?;
        out.byte(if self.written { WRITTEN } else { 0 })
    }

    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            address: read_address(reader)?,
            transitions: reader.long()?,
            written: reader.byte()? & WRITTEN != 0,
        })
    }
}

impl Move {
    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        address(out, self.address)?;
        out.long(self.transitions)
    }

    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            address: read_address(reader)?,
            transitions: reader.long()?,
        })
    }
}

fn address(out: &mut Writer<'_>, address: IpAddr) -> Option<()> {
    match address {
        IpAddr::V4(address) => {
            out.byte(4)?;
            out.put(&address.octets())
        }
        IpAddr::V6(address) => {
            out.byte(6)?;
            out.put(&address.octets())
        }
    }
}

fn read_address(reader: &mut Reader<'_>) -> Option<IpAddr> {
    match reader.byte()? {
        4 => reader.array::<4>().map(IpAddr::from),
        6 => reader.array::<16>().map(IpAddr::from),
        _ => None,
    }
}
