//! How long a connection is kept after it was last seen.
//!
//! Pure. The programs note what they see; here is decided when that is enough.

use landfall_bpf_lb_common::records::ConnectionState;

use crate::desired::Protocol;

/// A TCP connection that nobody has closed: as kube-proxy keeps it.
const ESTABLISHED: u32 = 24 * 3600;
/// One that one end has finished with.
const HALF_CLOSED: u32 = 3600;
/// One that both ends have finished with; a SYN may open it anew before.
const CLOSED: u32 = 60;
/// One that its pod has torn down; or its client, where connections have no room to spare: anybody can say
/// so in a client's name, and an idle pod does not contradict it.
const RESET: u32 = 10;
/// A UDP flow that the pod has answered.
const UDP: u32 = 180;
/// A flow of either kind that waits for its confirmation.
const UNCONFIRMED: u32 = 30;
/// One without its other direction, or of a pod that nobody names any more.
const ORPHAN: u32 = 60;
/// Datagrams to a pod that nobody names any more, since it answered last: a client that keeps its port goes on asking, and
/// is another pod's from then on. kube-proxy forgets such a flow at once.
const UNANSWERED: u32 = 10;

/// By then a pod has answered, or its answer has gone another way.
const ANSWERED: u32 = 2;
/// What was opened since the last sweep or the one before.
pub(crate) const LATELY: u32 = 15;

/// The time of one sweep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Jiffies, of 32 bits.
    pub(crate) now: u32,
    /// Jiffies in a second.
    pub(crate) second: u32,
}

impl Clock {
    /// Seconds since an entry was last seen.
    pub(crate) fn silent(self, state: &ConnectionState) -> u32 {
        self.since(state.seen)
    }

    /// Seconds since these jiffies. Another CPU may be a little ahead of this clock.
    pub(crate) fn since(self, then: u32) -> u32 {
        let jiffies = self.now.wrapping_sub(then);
        if jiffies > u32::MAX / 2 {
            0
        } else {
            jiffies / self.second.max(1)
        }
    }
}

/// What a connection's age depends on besides itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    /// Its table is more than half full.
    pub(crate) is_crowded: bool,
    /// Its pod is behind a frontend.
    pub(crate) is_served: bool,
}

/// Seconds after which a confirmed connection goes.
pub(crate) fn limit(protocol: Protocol, state: &ConnectionState, around: Surroundings) -> u32 {
    let client_ends = state.client_fin != 0 || state.reset != 0;
    let limit = match protocol {
        Protocol::Udp => UDP,
        Protocol::Tcp if state.reset == ConnectionState::RESET_BY_POD => RESET,
        Protocol::Tcp if state.reset != 0 && around.is_crowded => RESET,
        Protocol::Tcp if state.is_over_for_the_pod() => CLOSED,
        // Of a connection of the kernel's path only the client's half is seen.
        Protocol::Tcp if client_ends && state.kind == ConnectionState::KIND_KERNEL => CLOSED,
        Protocol::Tcp if client_ends || state.pod_fin != 0 => HALF_CLOSED,
        Protocol::Tcp => ESTABLISHED,
    };
    match protocol {
        _ if around.is_served => limit,
        Protocol::Udp => UNANSWERED,
        Protocol::Tcp => limit.min(ORPHAN),
    }
}

/// Whether its client alone may go on, which then says nothing about the connection's age.
pub(crate) fn may_be_asked_in_vain(protocol: Protocol, around: Surroundings) -> bool {
    protocol == Protocol::Udp && !around.is_served
}

/// Whether a connection goes, by both its directions. Either may have been seen later.
pub(crate) fn is_over(
    clock: Clock,
    protocol: Protocol,
    state: &ConnectionState,
    twin: Option<&ConnectionState>,
    around: Surroundings,
) -> bool {
    // What another node has goes by its word.
    if state.kind == ConnectionState::KIND_NODE {
        return false;
    }
    let alone = state.kind == ConnectionState::KIND_POD && twin.is_none();
    let silent = match twin {
        None if may_be_asked_in_vain(protocol, around) => u32::MAX,
        None => clock.silent(state),
        Some(twin) if may_be_asked_in_vain(protocol, around) => clock.silent(twin),
        Some(twin) => clock.silent(state).min(clock.silent(twin)),
    };
    let is_served = around.is_served && !alone;
    silent
        >= limit(
            protocol,
            state,
            Surroundings {
                is_served,
                ..around
            },
        )
}

/// Whether an entry of the half-open ones goes.
pub(crate) fn is_stale(clock: Clock, protocol: Protocol, state: &ConnectionState) -> bool {
    let limit = if state.confirmed_by == ConnectionState::BY_ROOM {
        let without_room = Surroundings {
            is_crowded: true,
            is_served: true,
        };
        limit(protocol, state, without_room)
    } else {
        UNCONFIRMED
    };
    clock.silent(state) >= limit
}

/// Whether an entry of the half-open ones is of a connection that was opened at a pod, and that nothing has been seen of
/// since.
pub(crate) fn is_unanswered(clock: Clock, protocol: Protocol, state: &ConnectionState) -> bool {
    protocol == Protocol::Tcp
        && state.kind == ConnectionState::KIND_POD
        && state.confirmed_by == ConnectionState::BY_NOTHING
        && clock.silent(state) >= ANSWERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u32 = 250;

    fn at(seconds: u32) -> Clock {
        Clock {
            now: 1_000_u32.wrapping_add(seconds.wrapping_mul(SECOND)),
            second: SECOND,
        }
    }

    fn seen() -> ConnectionState {
        ConnectionState {
            kind: ConnectionState::KIND_POD,
            seen: 1_000,
            ..ConnectionState::default()
        }
    }

    const SERVED: Surroundings = Surroundings {
        is_crowded: false,
        is_served: true,
    };
    const UNSERVED: Surroundings = Surroundings {
        is_served: false,
        ..SERVED
    };
    const CROWDED: Surroundings = Surroundings {
        is_crowded: true,
        ..SERVED
    };

    fn goes_after(protocol: Protocol, state: &ConnectionState, around: Surroundings) -> u32 {
        let limit = limit(protocol, state, around);
        assert!(!is_over(
            at(limit - 1),
            protocol,
            state,
            Some(state),
            around
        ));
        assert!(is_over(at(limit), protocol, state, Some(state), around));
        limit
    }

    #[test]
    fn what_nobody_has_closed_is_kept_for_a_day() {
        for around in [SERVED, CROWDED] {
            assert_eq!(goes_after(Protocol::Tcp, &seen(), around), 24 * 3600);
            assert_eq!(goes_after(Protocol::Udp, &seen(), around), 180);
        }
    }

    #[test]
    fn one_end_alone_does_not_close_a_connection() {
        let half = ConnectionState {
            client_fin: 1,
            ..seen()
        };
        assert_eq!(goes_after(Protocol::Tcp, &half, SERVED), 3600);
        let both = ConnectionState { pod_fin: 1, ..half };
        assert_eq!(goes_after(Protocol::Tcp, &both, SERVED), 60);
    }

    #[test]
    fn a_reset_only_shortens_the_age() {
        let by_pod = ConnectionState {
            reset: ConnectionState::RESET_BY_POD,
            ..seen()
        };
        assert_eq!(goes_after(Protocol::Tcp, &by_pod, SERVED), 10);
        assert_eq!(goes_after(Protocol::Tcp, &by_pod, CROWDED), 10);
    }

    #[test]
    fn a_reset_that_anybody_may_have_sent_ends_an_idle_connection_only_where_room_is_scarce() {
        let reset = ConnectionState {
            reset: ConnectionState::RESET_BY_CLIENT,
            ..seen()
        };
        assert_eq!(goes_after(Protocol::Tcp, &reset, SERVED), 3600);
        assert_eq!(goes_after(Protocol::Tcp, &reset, CROWDED), 10);
    }

    #[test]
    fn a_connection_lives_as_long_as_either_direction_is_seen() {
        let later = ConnectionState {
            seen: at(24 * 3600 - 1).now,
            ..seen()
        };
        let clock = at(24 * 3600);
        assert!(!is_over(
            clock,
            Protocol::Tcp,
            &seen(),
            Some(&later),
            SERVED
        ));
        assert!(!is_over(
            clock,
            Protocol::Tcp,
            &later,
            Some(&seen()),
            SERVED
        ));
    }

    #[test]
    fn what_has_no_other_direction_or_no_pod_goes_early() {
        assert!(is_over(at(60), Protocol::Tcp, &seen(), None, SERVED));
        assert!(is_over(
            at(60),
            Protocol::Tcp,
            &seen(),
            Some(&seen()),
            UNSERVED
        ));
        assert!(!is_over(at(59), Protocol::Tcp, &seen(), None, UNSERVED));
    }

    #[test]
    fn datagrams_to_a_pod_that_is_gone_keep_no_flow_and_answers_do() {
        let asked = ConnectionState {
            seen: at(100).now,
            ..seen()
        };
        let is_over = |pod: Option<&ConnectionState>, around| {
            super::is_over(at(100), Protocol::Udp, &asked, pod, around)
        };
        assert!(is_over(Some(&seen()), UNSERVED));
        assert!(is_over(None, UNSERVED), "nobody has answered");
        assert!(!is_over(Some(&asked), UNSERVED), "it answers still");
        assert!(!is_over(Some(&seen()), SERVED));
    }

    #[test]
    fn an_entry_of_another_cpu_that_is_ahead_is_not_old() {
        let ahead = ConnectionState {
            seen: at(1).now,
            ..seen()
        };
        assert!(!is_over(at(0), Protocol::Udp, &ahead, Some(&ahead), SERVED));
    }

    proptest! {
        #[test]
        fn the_clock_may_wrap(start in any::<u32>(), silent in 0u32..24 * 3600) {
            let state = ConnectionState { seen: start, ..seen() };
            let clock = Clock { now: start.wrapping_add(silent * SECOND), second: SECOND };
            prop_assert_eq!(clock.silent(&state), silent);
        }
    }
}
