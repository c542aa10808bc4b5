//! The filter for packet sockets that listen for ARP and neighbour messages: one program and one map of addresses for
//! all of them.
//!
//! It keeps frames about other addresses from waking anybody, however many addresses there are, and of those about ours
//! it lets through as many as there is room for, whoever behaves first. It is not pinned: it lives as long as the sockets
//! that have it.
//!
//! Invariant: an address is let through from the moment [`SocketFilter::insert`] returns until
//! [`SocketFilter::remove`] is called.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use aya::programs::{ProgramError, SocketFilter as Program};
use aya::{Ebpf, EbpfError, EbpfLoader};
use landfall_bpf_lb_common::fairness::{RATES, SECRET};
use landfall_bpf_lb_common::neighbour::{ADDRESSES, Address, AddressKey, FILTER, LEFT_OUT};

pub use landfall_bpf_lb_common::fairness::Rates;
pub use landfall_bpf_lb_common::neighbour::LeftOut;

use crate::links::uninterrupted;
use crate::object;

/// Why there is no such filter here. A filter of the classic kind has to do.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The kernel refused the object: without CAP_BPF, or too old.
    #[error("loading the socket filter: {0}")]
    Object(#[from] EbpfError),
    /// The kernel refused the program, or a socket did not take it.
    #[error("the program of the socket filter: {0}")]
    Program(#[from] ProgramError),
    /// The map could not be opened or written.
    #[error("the addresses of the socket filter: {0}")]
    Map(#[from] MapError),
}

/// The loaded program and its addresses.
pub struct SocketFilter {
    // The program lives in here.
    ebpf: Ebpf,
    addresses: HashMap<MapData, AddressKey, u32>,
    rates: Array<MapData, Rates>,
}

/// What the program has counted; readable beside it, and after it.
pub struct LeftOutCounts(PerCpuArray<MapData, u64>);

impl LeftOutCounts {
    /// The frames left out for this reason, for every socket together.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn read(&self, reason: LeftOut) -> Result<u64, FilterError> {
        let each = self.0.get(&(reason as u32), 0)?;
        Ok(each.iter().sum())
    }
}

impl std::fmt::Debug for LeftOutCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeftOutCounts").finish_non_exhaustive()
    }
}

impl SocketFilter {
    /// Loads the program; no address is known, and nothing is held back. `secret` keeps strangers from choosing whose
    /// place they take.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn load(secret: u64) -> Result<(Self, LeftOutCounts), FilterError> {
        // The program asks nothing of the kernel's own types, and reading those takes seconds on a busy node.
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global(SECRET, &secret, true)
            .load(object::FILTER)?;
        let program = program(&mut ebpf)?;
        uninterrupted(|| program.load())?;
        let mut map = |name: &str| {
            let named = || MapError::InvalidName {
                name: name.to_owned(),
            };
            ebpf.take_map(name).ok_or_else(named)
        };
        let counts = LeftOutCounts(PerCpuArray::try_from(map(LEFT_OUT)?)?);
        let addresses = HashMap::try_from(map(ADDRESSES)?)?;
        let rates = Array::try_from(map(RATES)?)?;
        let filter = Self {
            ebpf,
            addresses,
            rates,
        };
        Ok((filter, counts))
    }

    /// From now on each socket gets no more than this.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_rates(&mut self, rates: Rates) -> Result<(), FilterError> {
        Ok(self.rates.set(0, rates, 0)?)
    }

    /// Gives the filter to a socket, in place of the one it has.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn attach(&mut self, socket: impl AsFd) -> Result<(), FilterError> {
        Ok(program(&mut self.ebpf)?.attach(socket)?)
    }

    /// From now on frames from or about this address pass on this interface.
    ///
    /// # Errors
    /// What the kernel refused: more addresses than the map holds.
    pub fn insert(&mut self, ifindex: u32, address: IpAddr) -> Result<(), FilterError> {
        Ok(self.addresses.insert(key(ifindex, address), 1, 0)?)
    }

    /// From now on they do not. An address that is not there is no error.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove(&mut self, ifindex: u32, address: IpAddr) -> Result<(), FilterError> {
        match self.addresses.remove(&key(ifindex, address)) {
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Debug for SocketFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketFilter").finish_non_exhaustive()
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Program, ProgramError> {
    ebpf.program_mut(FILTER)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

fn key(ifindex: u32, address: IpAddr) -> AddressKey {
    let address = match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    };
    AddressKey::new(address, ifindex)
}
