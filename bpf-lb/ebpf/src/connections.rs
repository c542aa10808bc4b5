//! The connections of this node: which pod has them, who else has them, and which of them the
//! kernel has.
//!
//! ```text
//!  SYN ──► half-open (LRU) ──── the one right ACK, or the pod's answer ────► confirmed (hash)
//!          may be evicted                                                     never evicted
//! ```
//! Each stands in its table twice: as the client's packets show it (forward), and as the pod's
//! replies do (reverse).
//!
//! Invariants: what is half-open or forged never touches what is confirmed, except that a SYN marks
//! it as challenged; only the acknowledgement of the pod's own SYN-ACK replaces it. Only a SYN may
//! take over a client's port from another frontend, and only once that connection is over.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::{ACK, FIN, RST, TCP_ACKNOWLEDGEMENT, UDP};
use landfall_bpf_lb_common::records::{ConnectionState, Direction};

use crate::family::{Family, Pod};
use crate::packet::Packet;
use crate::shared::{self, has_kernels, is_fresh, note_stray, now, second, short};

/// A half-open connection is one for so many seconds; a SYN repeated within them follows it.
const HALF_OPEN_SECONDS: u32 = 10;

/// What nobody knows is taken in when it is repeated after so many seconds, for a node with newer
/// tables may have sent it here.
const STRANGER_SECONDS: u32 = 1;

/// What is known of a packet's connection.
pub(crate) enum Known<F: Family> {
    /// This pod has it.
    Pod(Pod<F>),
    /// This pod had it, and it is over: what comes now may be of the client's next one, elsewhere.
    Over(Pod<F>),
    /// The same in its client's name alone, in which anybody can send a reset.
    Torn(Pod<F>),
    /// This pod has it, but another node was sent a SYN of the same ports and may have the next one.
    Contested(Pod<F>),
    /// The node of this hop id has it.
    Node(u16),
    /// The kernel has it.
    Kernel,
    /// Nothing.
    No,
}

#[inline(always)]
pub(crate) fn forward<F: Family>(packet: &Packet<F>) -> F::Key {
    let transport = &packet.transport;
    F::key(
        packet.client,
        transport.source,
        packet.vip,
        transport.destination,
        transport.protocol,
        Direction::Forward,
    )
}

#[inline(always)]
fn reverse<F: Family>(packet: &Packet<F>, pod: Pod<F>) -> F::Key {
    let transport = &packet.transport;
    F::key(
        packet.client,
        transport.source,
        pod.address,
        pod.port,
        transport.protocol,
        Direction::Reverse,
    )
}

/// The part of an entry that does not depend on the family.
#[inline(always)]
pub(crate) fn state<F: Family>(entry: *mut F::Entry) -> &'static mut ConnectionState {
    // SAFETY: entries of both families begin with it. It may be reused under us, which shows as
    // another connection's; every field is written by itself.
    unsafe { &mut *entry.cast() }
}

#[inline(always)]
pub(crate) fn pod_of<F: Family>(entry: *mut F::Entry) -> Pod<F> {
    Pod {
        // SAFETY: an entry of a table, as above.
        address: F::address(unsafe { &*entry }),
        port: state::<F>(entry).port,
    }
}

#[inline(always)]
fn known_by<F: Family>(entry: *mut F::Entry) -> Known<F> {
    match state::<F>(entry).kind {
        ConnectionState::KIND_POD => Known::Pod(pod_of::<F>(entry)),
        ConnectionState::KIND_NODE => Known::Node(state::<F>(entry).port),
        ConnectionState::KIND_KERNEL => Known::Kernel,
        _ => Known::No,
    }
}

/// Notes that a packet was seen, to about a second.
#[inline(always)]
pub(crate) fn touch(state: &mut ConnectionState, now: u32) {
    if now.wrapping_sub(state.seen) >= second() {
        state.seen = now;
    }
}

#[inline(always)]
pub(crate) fn is_half_open(state: &ConnectionState, now: u32) -> bool {
    now.wrapping_sub(state.seen) < second() * HALF_OPEN_SECONDS
}

/// What is known of the connection that `packet`, an ICMP error, is about. It is no sign of life and no sign of death:
/// anybody can send one.
#[inline(always)]
pub(crate) fn find<F: Family>(packet: &Packet<F>) -> Known<F> {
    let key = forward(packet);
    let Some(entry) = F::connection(&key) else {
        return F::half_open(&key).map_or(Known::No, known_by);
    };
    match known_by(entry) {
        Known::Pod(pod) if state::<F>(entry).is_over() => Known::Over(pod),
        known => known,
    }
}

/// What is known of the connection of `packet`, which does not open one.
#[inline(always)]
pub(crate) fn look_up<F: Family>(packet: &Packet<F>) -> Known<F> {
    let key = forward(packet);
    let now = short(now());
    let Some(entry) = F::connection(&key) else {
        return look_up_half_open(packet, &key, now);
    };
    let connection = state::<F>(entry);
    let was_over = connection.kind == ConnectionState::KIND_POD && connection.is_over();
    // What is over grows old, whatever is said from its port.
    if !was_over {
        touch(connection, now);
    }
    if connection.challenged == ConnectionState::ELSEWHERE
        && connection.kind == ConnectionState::KIND_POD
        && !was_over
    {
        return Known::Contested(pod_of::<F>(entry));
    }
    if packet.transport.flags & (FIN | RST) != 0 {
        client_ends::<F>(packet, connection, pod_of::<F>(entry));
    } else if connection.challenged != 0 || connection.kind == ConnectionState::KIND_NODE {
        // That another node has it may have been told after the SYN of the client's next one.
        match F::half_open(&key) {
            Some(challenger) if is_half_open(state::<F>(challenger), now) => {
                match confirm(packet, &key, challenger, now) {
                    Known::Pod(pod) => return Known::Pod(pod),
                    Known::Kernel => return Known::Kernel,
                    _ => {}
                }
            }
            _ => connection.challenged = 0,
        }
    }
    if was_over {
        let pod = pod_of::<F>(entry);
        return if connection.pod_fin != 0 && acknowledges(packet, connection) {
            Known::Pod(pod)
        } else if connection.is_over_for_the_pod() {
            Known::Over(pod)
        } else {
            Known::Torn(pod)
        };
    }
    known_by(entry)
}

/// The client has finished, or torn the connection down; its reply's entry must know as well.
#[inline(always)]
fn client_ends<F: Family>(packet: &Packet<F>, connection: &mut ConnectionState, pod: Pod<F>) {
    let twin = if connection.kind == ConnectionState::KIND_POD {
        F::connection(&reverse(packet, pod))
    } else {
        None
    };
    if packet.transport.flags & FIN != 0 {
        connection.client_fin = 1;
        if let Some(twin) = twin {
            state::<F>(twin).client_fin = 1;
        }
    } else if connection.reset == 0 {
        connection.reset = ConnectionState::RESET_BY_CLIENT;
        if let Some(twin) = twin {
            state::<F>(twin).reset = ConnectionState::RESET_BY_CLIENT;
        }
    }
}

/// What the table of half-open connections knows.
#[inline(always)]
fn look_up_half_open<F: Family>(packet: &Packet<F>, key: &F::Key, now: u32) -> Known<F> {
    let Some(entry) = F::half_open(key) else {
        return Known::No;
    };
    let connection = state::<F>(entry);
    if connection.kind == ConnectionState::KIND_STRANGER {
        return Known::No;
    }
    if connection.kind == ConnectionState::KIND_KERNEL {
        // Whoever was answered says so; anybody can send a SYN in the name of a client whose connection is elsewhere.
        if connection.confirmed_by == ConnectionState::BY_ACK && !acknowledges(packet, connection) {
            return Known::No;
        }
        return go_on_there(packet, key, now);
    }
    if connection.confirmed_by >= ConnectionState::BY_ANSWER {
        touch(connection, now);
        return known_by(entry);
    }
    // A client that gives up says so to the pod it tried.
    if packet.transport.flags & RST != 0 && is_half_open(connection, now) {
        return Known::Pod(pod_of::<F>(entry));
    }
    confirm(packet, key, entry, now)
}

/// The kernel's goes on: more than a forged SYN, and worth a place that is not taken away.
#[inline(always)]
fn go_on_there<F: Family>(packet: &Packet<F>, key: &F::Key, now: u32) -> Known<F> {
    let kernels = confirmed(ConnectionState::KIND_KERNEL, 0, now);
    if F::insert(key, &F::entry(kernels, packet.vip)) {
        F::remove_half_open(key);
    }
    Known::Kernel
}

/// Confirms the half-open connection of `packet`, if this is the acknowledgement of its SYN-ACK:
/// whoever has not seen that cannot know the number.
#[inline(always)]
fn confirm<F: Family>(
    packet: &Packet<F>,
    key: &F::Key,
    entry: *mut F::Entry,
    now: u32,
) -> Known<F> {
    let connection = state::<F>(entry);
    if connection.confirmed_by != ConnectionState::BY_ACK || !acknowledges(packet, connection) {
        return Known::No;
    }
    if connection.kind == ConnectionState::KIND_KERNEL {
        return go_on_there(packet, key, now);
    }
    let pod = pod_of::<F>(entry);
    let reverse_key = reverse(packet, pod);
    let frontend = Pod {
        address: packet.vip,
        port: packet.transport.destination,
    };
    let acknowledgement = connection.acknowledgement;
    promote::<F>(key, pod, &reverse_key, frontend, acknowledgement, now);
    Known::Pod(pod)
}

/// Whether `packet` acknowledges what the pod said last, as far as it was noted.
#[inline(always)]
fn acknowledges<F: Family>(packet: &Packet<F>, connection: &ConnectionState) -> bool {
    let offset = packet.transport.offset + TCP_ACKNOWLEDGEMENT;
    let said = packet.frame.words::<u32, 1, 4>(offset);
    packet.transport.flags & ACK != 0
        && said.is_some_and(|[number]| u32::from_be(number) == connection.acknowledgement)
}

/// Moves a connection from the half-open to the confirmed ones. Without room it stays where it is,
/// as one that is confirmed, and new connections take the kernel's path for a while.
#[inline(always)]
pub(crate) fn promote<F: Family>(
    forward_key: &F::Key,
    pod: Pod<F>,
    reverse_key: &F::Key,
    frontend: Pod<F>,
    acknowledgement: u32,
    now: u32,
) {
    let mut end = confirmed(ConnectionState::KIND_POD, pod.port, now);
    // By which the pod's SYN-ACK is known, should the pod say it once more.
    end.acknowledgement = acknowledgement;
    if F::insert(forward_key, &F::entry(end, pod.address)) {
        end.port = frontend.port;
        if F::insert(reverse_key, &F::entry(end, frontend.address)) {
            F::remove_half_open(forward_key);
            F::remove_half_open(reverse_key);
            return;
        }
        F::remove(forward_key);
    }
    for key in [forward_key, reverse_key] {
        if let Some(entry) = F::half_open(key) {
            state::<F>(entry).confirmed_by = ConnectionState::BY_ROOM;
        }
    }
    note_stray();
    shared::note_full();
}

#[inline(always)]
fn confirmed(kind: u8, port: u16, now: u32) -> ConnectionState {
    ConnectionState {
        port,
        kind,
        seen: now,
        ..EMPTY
    }
}

const EMPTY: ConnectionState = ConnectionState {
    port: 0,
    kind: 0,
    confirmed_by: 0,
    acknowledgement: 0,
    seen: 0,
    client_fin: 0,
    pod_fin: 0,
    reset: 0,
    challenged: 0,
};

/// Whether the client's port reaches `pod` by another frontend already.
#[inline(always)]
fn collides<F: Family>(packet: &Packet<F>, pod: Pod<F>, now: u32) -> bool {
    let key = reverse(packet, pod);
    let other = |entry: *mut F::Entry| {
        let frontend = pod_of::<F>(entry);
        frontend.address != packet.vip || frontend.port != packet.transport.destination
    };
    if let Some(entry) = F::connection(&key)
        && other(entry)
        && !state::<F>(entry).is_over()
    {
        return true;
    }
    if let Some(entry) = F::half_open(&key)
        && other(entry)
    {
        let connection = state::<F>(entry);
        return connection.confirmed_by >= ConnectionState::BY_ANSWER
            || is_half_open(connection, now);
    }
    false
}

/// The pod that a repeated SYN was given to before. What the kernel has is the kernel's to open anew:
/// it alone knows whether that is over.
#[inline(always)]
pub(crate) fn opened_before<F: Family>(packet: &Packet<F>) -> Known<F> {
    let (key, now) = (forward(packet), short(now()));
    if let Some(entry) = F::half_open(&key)
        && is_half_open(state::<F>(entry), now)
    {
        return known_by(entry);
    }
    if has_kernels()
        && let Some(entry) = F::connection(&key)
        && state::<F>(entry).kind == ConnectionState::KIND_KERNEL
    {
        let connection = state::<F>(entry);
        touch(connection, now);
        connection.client_fin = 0;
        connection.reset = 0;
        return Known::Kernel;
    }
    Known::No
}

/// Notes that the client's next connection, or a lie, has begun at `challenger`: the
/// acknowledgement will tell. One that is over for its pod as well makes room at once, if the next is not to be here.
#[inline(always)]
pub(crate) fn challenge<F: Family>(packet: &Packet<F>, challenger: u8) {
    let key = forward(packet);
    let Some(entry) = F::connection(&key) else {
        return;
    };
    let connection = state::<F>(entry);
    if challenger == ConnectionState::ELSEWHERE && connection.is_over_for_the_pod() {
        F::remove(&reverse(packet, pod_of::<F>(entry)));
        F::remove(&key);
    } else if connection.kind == ConnectionState::KIND_POD
        || (connection.kind == ConnectionState::KIND_NODE && challenger == ConnectionState::HERE)
    {
        connection.challenged = challenger;
    }
}

/// The other node does not have the next connection: this one goes on.
#[inline(always)]
pub(crate) fn uncontested<F: Family>(packet: &Packet<F>) {
    if let Some(entry) = F::connection(&forward(packet)) {
        state::<F>(entry).challenged = 0;
    }
}

/// Opens the connection of `packet`, a SYN, at `pod`.
#[inline(always)]
pub(crate) fn open<F: Family>(packet: &Packet<F>, pod: Pod<F>) -> Result<(), Verdict> {
    challenge(packet, ConnectionState::HERE);
    half_open(packet, pod, ConnectionState::BY_NOTHING)
}

/// Takes in a connection that nobody knows, at `pod`; the pod's answer confirms it. One that is
/// just being opened is left as it is. One of TCP has to be repeated first, where tables are kept:
/// until then another node may say that it has it.
#[inline(always)]
pub(crate) fn adopt<F: Family>(
    packet: &Packet<F>,
    pod: Pod<F>,
    is_settled: bool,
) -> Result<Pod<F>, Verdict> {
    if packet.transport.protocol == UDP {
        shared::are_kept()?;
        half_open(packet, pod, ConnectionState::BY_ANSWER)?;
        return Ok(pod);
    }
    let (key, now) = (forward(packet), now());
    let is_stranger = match F::half_open(&key) {
        Some(entry) if state::<F>(entry).kind == ConnectionState::KIND_STRANGER => {
            let since = short(now).wrapping_sub(state::<F>(entry).seen);
            if since < second() * STRANGER_SECONDS {
                return Err(Verdict::DropUnsettled);
            }
            true
        }
        Some(entry) if is_half_open(state::<F>(entry), short(now)) => {
            return Ok(pod_of::<F>(entry));
        }
        _ => false,
    };
    if !is_settled || !is_fresh(now) {
        return Err(Verdict::DropUnsettled);
    }
    if !is_stranger {
        let first = confirmed(ConnectionState::KIND_STRANGER, 0, short(now));
        F::insert_half_open(&key, &F::entry(first, packet.vip));
        return Err(Verdict::DropUnsettled);
    }
    half_open(packet, pod, ConnectionState::BY_ANSWER)?;
    note_stray();
    Ok(pod)
}

#[inline(always)]
fn half_open<F: Family>(packet: &Packet<F>, pod: Pod<F>, confirmed_by: u8) -> Result<(), Verdict> {
    let now = short(now());
    if collides(packet, pod, now) {
        return Err(Verdict::Collision);
    }
    let mut end = confirmed(ConnectionState::KIND_POD, pod.port, now);
    end.confirmed_by = confirmed_by;
    if !F::insert_half_open(&forward(packet), &F::entry(end, pod.address)) {
        return Err(Verdict::TableFull);
    }
    end.port = packet.transport.destination;
    if !F::insert_half_open(&reverse(packet, pod), &F::entry(end, packet.vip)) {
        return Err(Verdict::TableFull);
    }
    Ok(())
}

/// Remembers that the connection of `packet`, a SYN, is the kernel's: its segments must follow it. Where another
/// connection has had its ports, the acknowledgement of the kernel's own SYN-ACK tells its segments from that one's.
#[inline(always)]
pub(crate) fn leave_to_kernel<F: Family>(packet: &Packet<F>) {
    challenge(packet, ConnectionState::HERE);
    let end = confirmed(ConnectionState::KIND_KERNEL, 0, short(now()));
    F::insert_half_open(&forward(packet), &F::entry(end, packet.vip));
    shared::note_kernel();
}
