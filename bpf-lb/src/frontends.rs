//! The frontends as the programs find them: at one of two places of an array, and in a map of all, which is what a restart
//! reads. In the map alone is also which addresses have one: their echo requests are answered, and nobody else has to look
//! for that.
//!
//! Invariant: a frontend that is in the map is at one of its places, or the first of them says that another one is to be
//! looked for in the map. A place that was left is given to another frontend only when no packet can be looking at it any
//! more, and one that is served stays where it is found. So it does not matter in which order a program sees what is
//! written: it finds a new frontend or none yet, and never another one's entry. Echo requests to an address are answered from
//! its first frontend to its last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use landfall_bpf_lb_common::places::{PLACES, places4, places6};
use landfall_bpf_lb_common::quote::ICMP;
use landfall_bpf_lb_common::records::{FrontendEntry, FrontendKey4, FrontendKey6};
use landfall_bpf_lb_common::{echo, names};

use crate::desired::{Frontend, Protocol};
use crate::nodes::gone;
use crate::sys;
use crate::words::Words;

/// Those of both families.
pub(crate) struct Frontends {
    four: OfFamily<FrontendKey4>,
    six: OfFamily<FrontendKey6>,
}

impl Frontends {
    /// Opens the maps, and brings the places to what the map of all says: what wrote that may not have known of places, or
    /// have ended in between.
    pub(crate) fn open(open: impl Fn(&str) -> Result<MapData, MapError>) -> Result<Self, MapError> {
        Ok(Self {
            four: OfFamily::open(open(names::FRONTENDS4)?, &open(names::PLACES4)?)?,
            six: OfFamily::open(open(names::FRONTENDS6)?, &open(names::PLACES6)?)?,
        })
    }

    /// All of them; one of a protocol that nothing of ours serves is left out.
    pub(crate) fn read(&self) -> Result<Vec<(Frontend, FrontendEntry)>, MapError> {
        let mut all = Vec::new();
        for (key, entry) in self.four.all()? {
            let address = Ipv4Addr::from(key.address.to_ne_bytes()).into();
            all.extend(named(address, key.port, key.protocol).map(|frontend| (frontend, entry)));
        }
        for (key, entry) in self.six.all()? {
            let address = Ipv6Addr::from(from_words(key.address)).into();
            all.extend(named(address, key.port, key.protocol).map(|frontend| (frontend, entry)));
        }
        Ok(all)
    }

    /// Makes a frontend known, or its entry another one.
    pub(crate) fn set(
        &mut self,
        frontend: &Frontend,
        entry: FrontendEntry,
    ) -> Result<(), MapError> {
        match key(frontend) {
            Key::V4(key) => self.four.set(key, entry),
            Key::V6(key) => self.six.set(key, entry),
        }
    }

    pub(crate) fn remove(&mut self, frontend: &Frontend) -> Result<(), MapError> {
        match key(frontend) {
            Key::V4(key) => self.four.remove(key),
            Key::V6(key) => self.six.remove(key),
        }
    }

    /// Lets every packet on its way pass: what was left before may be used again after it.
    pub(crate) fn let_packets_pass(&mut self) -> Result<(), MapError> {
        sys::let_packets_pass().map_err(MapError::IoError)?;
        self.four.resting.clear();
        self.six.resting.clear();
        Ok(())
    }
}

/// A frontend's key as its places hold it. The last word has the protocol in it, and is zero where there is none.
trait Placed: Pod + Ord {
    const WORDS: usize;
    /// The first [`Self::WORDS`] of them.
    fn words(&self) -> [u64; 3];
    fn places(&self) -> [u32; 2];
    /// The key by which echo requests to its address are answered: before any frontend of that, and behind all of a
    /// lower one.
    fn echo(&self) -> Self;
}

impl Placed for FrontendKey4 {
    fn echo(&self) -> Self {
        Self {
            port: echo::PORT,
            protocol: ICMP,
            ..*self
        }
    }

    const WORDS: usize = 1;

    fn words(&self) -> [u64; 3] {
        [join(self.address, service(self.port, self.protocol)), 0, 0]
    }

    fn places(&self) -> [u32; 2] {
        places4(self.words()[0])
    }
}

impl Placed for FrontendKey6 {
    fn echo(&self) -> Self {
        Self {
            port: echo::PORT,
            protocol: ICMP,
            ..*self
        }
    }

    const WORDS: usize = 3;

    fn words(&self) -> [u64; 3] {
        let [a, b, c, d] = self.address;
        let service = service(self.port, self.protocol);
        [join(a, b), join(c, d), join(service, 0)]
    }

    fn places(&self) -> [u32; 2] {
        let [high, low, _] = self.words();
        places6([high, low], service(self.port, self.protocol))
    }
}

/// Those of one family.
struct OfFamily<K: Placed> {
    map: HashMap<MapData, K, FrontendEntry>,
    /// Its frontends.
    known: BTreeSet<K>,
    places: Words,
    /// The frontends that are in the map alone, by the place that says so.
    beside: BTreeMap<u32, BTreeSet<K>>,
    /// Places that were left, at which a packet may still be looking.
    resting: BTreeSet<u32>,
}

impl<K: Placed> OfFamily<K> {
    fn open(map: MapData, places: &MapData) -> Result<Self, MapError> {
        let mut opened = Self {
            map: Map::HashMap(map).try_into()?,
            known: BTreeSet::new(),
            places: Words::map(places, K::WORDS + 1)?,
            beside: BTreeMap::new(),
            resting: BTreeSet::new(),
        };
        let all: BTreeMap<K, FrontendEntry> = opened.map.iter().collect::<Result<_, _>>()?;
        let (echoes, known): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(key, _)| *key == key.echo());
        opened.known = known.keys().copied().collect();
        opened.answer_echoes(echoes.into_keys().collect())?;
        let mut placed = BTreeSet::new();
        for key in known.keys() {
            placed.extend(opened.place_of(key));
        }
        // Whoever left one just now may have had a packet look at it.
        for place in (0..PLACES).filter(|place| !placed.contains(place)) {
            if opened.is_taken(place) {
                opened.leave(place);
            }
            let flag = opened.flag(place);
            opened.entry(place).store(VACANT | flag, Ordering::Relaxed);
        }
        if !opened.resting.is_empty() {
            opened.rest()?;
        }
        for (key, entry) in &known {
            let [home, _] = key.places();
            // It is found there by what runs meanwhile, and moves nowhere under that.
            if opened.flag(home) != 0 && opened.place_of(key).is_none() {
                opened.beside.entry(home).or_default().insert(*key);
            } else {
                opened.place(*key, *entry)?;
            }
        }
        for place in (0..PLACES).filter(|place| !opened.beside.contains_key(place)) {
            if opened.flag(place) != 0 {
                opened.entry(place).fetch_and(!BESIDE, Ordering::Relaxed);
            }
        }
        Ok(opened)
    }

    /// Lets every packet on its way pass: what was left may be used again.
    fn rest(&mut self) -> Result<(), MapError> {
        sys::let_packets_pass().map_err(MapError::IoError)?;
        self.resting.clear();
        Ok(())
    }

    fn all(&self) -> Result<Vec<(K, FrontendEntry)>, MapError> {
        self.map.iter().collect()
    }

    /// Has echo requests to just those addresses answered that have a frontend, where they are to these.
    fn answer_echoes(&mut self, answered: BTreeSet<K>) -> Result<(), MapError> {
        let wanted: BTreeSet<K> = self.known.iter().map(Placed::echo).collect();
        for echo in answered.difference(&wanted) {
            gone(self.map.remove(echo))?;
        }
        for echo in wanted.difference(&answered) {
            self.map.insert(*echo, ECHO, 0)?;
        }
        Ok(())
    }

    /// Whether the address of `echo` has a frontend.
    fn has_any(&self, echo: &K) -> bool {
        let next = self.known.range(echo..).next();
        next.is_some_and(|next| next.echo() == *echo)
    }

    fn set(&mut self, key: K, entry: FrontendEntry) -> Result<(), MapError> {
        self.map.insert(key, entry, 0)?;
        let echo = key.echo();
        if !self.has_any(&echo) {
            self.map.insert(echo, ECHO, 0)?;
        }
        self.known.insert(key);
        self.place(key, entry)
    }

    fn remove(&mut self, key: K) -> Result<(), MapError> {
        self.known.remove(&key);
        let echo = key.echo();
        if !self.has_any(&echo) {
            gone(self.map.remove(&echo))?;
        }
        if let Some(place) = self.place_of(&key) {
            self.leave(place);
        }
        gone(self.map.remove(&key))?;
        let [home, _] = key.places();
        if let Some(beside) = self.beside.get_mut(&home) {
            beside.remove(&key);
            if beside.is_empty() {
                self.beside.remove(&home);
                self.entry(home).fetch_and(!BESIDE, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Has a frontend of the map found with this entry.
    fn place(&mut self, key: K, entry: FrontendEntry) -> Result<(), MapError> {
        let [home, other] = key.places();
        let stays = self.place_of(&key);
        let is_beside = |beside: &BTreeSet<K>| beside.contains(&key);
        if stays.is_none() && self.beside.get(&home).is_some_and(is_beside) {
            return Ok(());
        }
        let free = || {
            [home, other]
                .into_iter()
                .find(|place| !self.is_taken(*place))
        };
        let Some(place) = stays.or_else(free) else {
            self.beside.entry(home).or_default().insert(key);
            self.entry(home).fetch_or(BESIDE, Ordering::Release);
            return Ok(());
        };
        if self.resting.contains(&place) {
            self.rest()?;
        }
        let flag = self.flag(place);
        self.entry(place)
            .store(word_of(entry) | flag, Ordering::Release);
        if stays.is_none() {
            // The last word makes it one.
            for (at, word) in self.key(place).iter().zip(key.words()) {
                at.store(word, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Where `key` is.
    fn place_of(&self, key: &K) -> Option<u32> {
        let words = key.words();
        key.places().into_iter().find(|place| {
            let at = self.key(*place).iter().zip(words);
            at.into_iter()
                .all(|(at, word)| at.load(Ordering::Relaxed) == word)
        })
    }

    fn leave(&mut self, place: u32) {
        // The whole of it: with the next one's words half of a key would be another frontend's.
        for word in self.key(place).iter().rev() {
            word.store(0, Ordering::Release);
        }
        let flag = self.flag(place);
        self.entry(place).store(VACANT | flag, Ordering::Release);
        self.resting.insert(place);
    }

    /// [`BESIDE`], if it says so.
    fn flag(&self, place: u32) -> u64 {
        self.entry(place).load(Ordering::Relaxed) & BESIDE
    }

    fn is_taken(&self, place: u32) -> bool {
        self.key(place)[K::WORDS - 1].load(Ordering::Relaxed) != 0
    }

    fn words(&self, place: u32) -> &[AtomicU64] {
        let size = K::WORDS + 1;
        &self.places.all()[place as usize * size..][..size]
    }

    fn key(&self, place: u32) -> &[AtomicU64] {
        &self.words(place)[..K::WORDS]
    }

    fn entry(&self, place: u32) -> &AtomicU64 {
        &self.words(place)[K::WORDS]
    }
}

/// What a place without a frontend says: a program that sees the next one's key before its entry finds no backend.
const VACANT: u64 = word_of(NOTHING);
/// What stands by the key of echo requests.
const ECHO: FrontendEntry = NOTHING;
const NOTHING: FrontendEntry = FrontendEntry {
    table: FrontendEntry::NO_TABLE,
    flags: 0,
};
const BESIDE: u64 = word_of(FrontendEntry {
    table: 0,
    flags: FrontendEntry::BESIDE,
});

/// An entry as the word that it is in memory.
const fn word_of(entry: FrontendEntry) -> u64 {
    join(entry.table, entry.flags)
}

const fn join(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Port and protocol as they lie in a key.
const fn service(port: u16, protocol: u8) -> u32 {
    let [a, b] = port.to_ne_bytes();
    u32::from_ne_bytes([a, b, protocol, 0])
}

fn named(address: IpAddr, port: u16, protocol: u8) -> Option<Frontend> {
    let protocol = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|known| *known as u8 == protocol)?;
    Some(Frontend {
        address,
        port: u16::from_be(port),
        protocol,
    })
}

/// An IPv6 address as the words of a key.
fn to_words(address: Ipv6Addr) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}

fn from_words(words: [u32; 4]) -> [u8; 16] {
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = words.map(u32::to_ne_bytes);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

enum Key {
    V4(FrontendKey4),
    V6(FrontendKey6),
}

fn key(frontend: &Frontend) -> Key {
    let port = frontend.port.to_be();
    let protocol = frontend.protocol as u8;
    match frontend.address {
        IpAddr::V4(address) => Key::V4(FrontendKey4 {
            address: u32::from_ne_bytes(address.octets()),
            port,
            protocol,
            zero: 0,
        }),
        IpAddr::V6(address) => Key::V6(FrontendKey6 {
            address: to_words(address),
            port,
            protocol,
            zero: 0,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_words_lies_in_memory_as_on_the_wire() {
        let address: Ipv6Addr = "2001:db8::1:2".parse().unwrap();
        assert_eq!(from_words(to_words(address)), address.octets());
    }
}
