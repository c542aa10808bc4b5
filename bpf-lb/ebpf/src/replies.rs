//! What a leaving packet means to the connections: whose reply it is, and what it tells of them.

use landfall_bpf_lb_common::headers::{ACK, FIN, RST, SYN, UDP};
use landfall_bpf_lb_common::records::{ConnectionState, Direction};

use crate::connections::{is_half_open, pod_of, promote, state, touch};
use crate::family::{Family, Pod};
use crate::shared::{self, short};

/// A packet that a pod sends to a client.
pub(crate) struct Reply<F: Family> {
    pub(crate) client: F::Address,
    pub(crate) client_port: u16,
    pub(crate) pod: Pod<F>,
    pub(crate) protocol: u8,
    /// Of TCP.
    pub(crate) flags: u8,
}

/// Where a TCP segment stands in its connection.
pub(crate) struct Numbers {
    pub(crate) sequence: u32,
    /// Bytes of data.
    pub(crate) payload: u32,
}

impl<F: Family> Reply<F> {
    #[inline(always)]
    fn reverse(&self) -> F::Key {
        let (address, port) = (self.pod.address, self.pod.port);
        self.key(address, port, Direction::Reverse)
    }

    /// Of the frontend that the entry of the reverse direction names.
    #[inline(always)]
    fn forward(&self, frontend: Pod<F>) -> F::Key {
        self.key(frontend.address, frontend.port, Direction::Forward)
    }

    #[inline(always)]
    fn key(&self, address: F::Address, port: u16, direction: Direction) -> F::Key {
        F::key(
            self.client,
            self.client_port,
            address,
            port,
            self.protocol,
            direction,
        )
    }
}

/// Address and port of the frontend by which the client of `reply` came, if it came by one.
#[inline(always)]
pub(crate) fn frontend<F: Family>(
    reply: &Reply<F>,
    numbers: impl Fn() -> Option<Numbers>,
) -> Option<(F::Address, u16)> {
    let key = reply.reverse();
    let now = short(shared::now());
    let found = if reply.flags & SYN != 0 {
        opening(reply, &key, numbers, now)?
    } else if let Some(entry) = F::connection(&key) {
        going_on(reply, entry, numbers, now)
    } else if reply.protocol == UDP || reply.flags & RST != 0 || shared::has_strays() {
        answering(reply, &key, now)?
    } else {
        return None;
    };
    Some((found.address, found.port))
}

/// The same of an ICMP error about what the client sent: no sign of life, and none of death.
#[inline(always)]
pub(crate) fn frontend_of_error<F: Family>(reply: &Reply<F>) -> Option<(F::Address, u16)> {
    let key = reply.reverse();
    let entry = F::connection(&key).or_else(|| F::half_open(&key))?;
    let found = pod_of::<F>(entry);
    Some((found.address, found.port))
}

/// The pod answers a SYN: the acknowledgement of its sequence number will confirm the connection.
/// Where none is being opened, it says again what it has said (it lost the acknowledgement, or had no
/// room for the connection), or this one came to the pod without us, and what we know by these ports
/// is over.
#[inline(always)]
fn opening<F: Family>(
    reply: &Reply<F>,
    key: &F::Key,
    numbers: impl Fn() -> Option<Numbers>,
    now: u32,
) -> Option<Pod<F>> {
    let Some(entry) = F::half_open(key) else {
        if reply.flags & ACK != 0 && kernels_answer(reply, &numbers, now) {
            return None;
        }
        let entry = F::connection(key)?;
        let frontend = pod_of::<F>(entry);
        let connection = state::<F>(entry);
        let confirms = numbers()?.sequence.wrapping_add(1);
        if reply.flags & ACK != 0 && connection.acknowledgement == confirms && !connection.is_over()
        {
            return Some(frontend);
        }
        F::remove(&reply.forward(frontend));
        F::remove(key);
        return None;
    };
    let frontend = pod_of::<F>(entry);
    if reply.flags & ACK == 0 {
        return None;
    }
    let forward = F::half_open(&reply.forward(frontend))?;
    if pod_of::<F>(forward) == reply.pod && is_half_open(state::<F>(entry), now) {
        let connection = state::<F>(forward);
        if connection.confirmed_by <= ConnectionState::BY_ACK {
            connection.acknowledgement = numbers()?.sequence.wrapping_add(1);
            connection.confirmed_by = ConnectionState::BY_ACK;
        }
    }
    Some(frontend)
}

/// Whether this is the SYN-ACK of a connection that was left to the kernel, which gives it the VIP for its source itself;
/// it is noted like a pod's.
#[inline(always)]
fn kernels_answer<F: Family>(
    reply: &Reply<F>,
    numbers: impl Fn() -> Option<Numbers>,
    now: u32,
) -> bool {
    let Some(entry) = F::half_open(&reply.forward(reply.pod)) else {
        return false;
    };
    let connection = state::<F>(entry);
    if connection.kind == ConnectionState::KIND_KERNEL
        && let Some(Numbers { sequence, .. }) = numbers()
    {
        connection.acknowledgement = sequence.wrapping_add(1);
        connection.confirmed_by = ConnectionState::BY_ACK;
        connection.seen = now;
    }
    true
}

/// A reply of a confirmed connection.
#[inline(always)]
fn going_on<F: Family>(
    reply: &Reply<F>,
    entry: *mut F::Entry,
    numbers: impl Fn() -> Option<Numbers>,
    now: u32,
) -> Pod<F> {
    let connection = state::<F>(entry);
    let frontend = pod_of::<F>(entry);
    touch(connection, now);
    if reply.flags & (FIN | RST) != 0 || connection.reset != 0 {
        let twin = F::connection(&reply.forward(frontend));
        if reply.flags & FIN != 0 {
            connection.pod_fin = 1;
            if let Some(twin) = twin {
                let twin = state::<F>(twin);
                twin.pod_fin = 1;
                if let Some(Numbers { sequence, payload }) = numbers() {
                    twin.acknowledgement = sequence.wrapping_add(payload).wrapping_add(1);
                }
            }
        }
        // A pod that goes on has not been torn down, whatever somebody sent.
        let reset = if reply.flags & RST != 0 {
            ConnectionState::RESET_BY_POD
        } else {
            0
        };
        connection.reset = reset;
        if let Some(twin) = twin {
            state::<F>(twin).reset = reset;
        }
    }
    frontend
}

/// A reply of a connection that is confirmed by it, or that found no room as a confirmed one.
#[inline(always)]
fn answering<F: Family>(reply: &Reply<F>, key: &F::Key, now: u32) -> Option<Pod<F>> {
    let entry = F::half_open(key)?;
    let connection = state::<F>(entry);
    let frontend = pod_of::<F>(entry);
    if connection.confirmed_by == ConnectionState::BY_ANSWER && reply.flags & RST == 0 {
        let forward = reply.forward(frontend);
        promote::<F>(&forward, reply.pod, key, frontend, 0, now);
    } else if connection.confirmed_by == ConnectionState::BY_ROOM {
        touch(connection, now);
    }
    Some(frontend)
}
