//! Between the election's frames, which own their names, and the wire's, which borrow them.
//!
//! Every field is named on both sides, so that one that is added cannot be forgotten here.

use landfall_election::peers as machine;
use landfall_election::{NodeName, SessionId};
use landfall_wire::peers as wire;

/// What is said of a frame of the election.
pub(super) fn said(frame: &machine::Frame) -> wire::Frame<'_> {
    let machine::Frame {
        node,
        session,
        body,
    } = frame;
    wire::Frame {
        node: node.as_str(),
        session: session.as_str(),
        body: match body {
            machine::Body::Beat(beat) => wire::Body::Beat(said_beat(beat)),
            machine::Body::Suspect(all) => wire::Body::Suspect(said_suspects(all)),
            machine::Body::Veto(all) => wire::Body::Veto(said_suspects(all)),
            machine::Body::Fenced(machine::Fenced {
                node,
                session,
                by,
                written,
            }) => wire::Body::Fenced(wire::Fenced {
                node: node.as_str(),
                session: session.as_str(),
                by: by.as_str(),
                written: *written,
            }),
            machine::Body::Claims(titles) => wire::Body::Claims(
                titles
                    .iter()
                    .map(
                        |machine::Title {
                             address,
                             transitions,
                             written,
                         }| wire::Title {
                            address: *address,
                            transitions: *transitions,
                            written: *written,
                        },
                    )
                    .collect(),
            ),
            machine::Body::Moves(moves) => wire::Body::Moves(said_moves(moves)),
            machine::Body::Ceded(moves) => wire::Body::Ceded(said_moves(moves)),
        },
    }
}

fn said_moves(moves: &[machine::Move]) -> Vec<wire::Move> {
    let moves = moves.iter().map(
        |machine::Move {
             address,
             transitions,
         }| wire::Move {
            address: *address,
            transitions: *transitions,
        },
    );
    moves.collect()
}

fn said_beat(beat: &machine::Beat) -> wire::Beat<'_> {
    let machine::Beat {
        sequence,
        interval,
        window,
        kind,
        flags,
        heard,
        ended,
    } = beat;
    let machine::Flags {
        has_api,
        alone,
        renewals,
        draining,
        leaving,
        programmed,
        few_hear,
    } = *flags;
    wire::Beat {
        sequence: *sequence,
        interval: *interval,
        window: *window,
        kind: match kind {
            machine::Kind::Watch => wire::Kind::Watch,
            machine::Kind::Discovery => wire::Kind::Discovery,
            machine::Kind::Poll => wire::Kind::Poll,
            machine::Kind::Final => wire::Kind::Final,
            machine::Kind::End => wire::Kind::End,
        },
        flags: wire::Flags {
            has_api,
            alone,
            renewals,
            draining,
            leaving,
            programmed,
            few_hear,
        },
        heard: heard
            .iter()
            .map(|machine::Heard { session, sequence }| wire::Heard {
                session: session.as_str(),
                sequence: *sequence,
            })
            .collect(),
        ended: ended.iter().map(SessionId::as_str).collect(),
    }
}

fn said_suspects(suspects: &[machine::Suspect]) -> Vec<wire::Suspect<'_>> {
    suspects.iter().map(said_suspect).collect()
}

fn said_suspect(suspect: &machine::Suspect) -> wire::Suspect<'_> {
    let machine::Suspect {
        node,
        session,
        sequence,
    } = suspect;
    wire::Suspect {
        node: node.as_str(),
        session: session.as_str(),
        sequence: *sequence,
    }
}

/// What was heard, as the election takes it.
pub(super) fn heard(frame: wire::Frame<'_>) -> machine::Frame {
    let wire::Frame {
        node,
        session,
        body,
    } = frame;
    machine::Frame {
        node: NodeName::new(node),
        session: SessionId::new(session),
        body: match body {
            wire::Body::Beat(beat) => machine::Body::Beat(heard_beat(beat)),
            wire::Body::Suspect(all) => machine::Body::Suspect(heard_suspects(&all)),
            wire::Body::Veto(all) => machine::Body::Veto(heard_suspects(&all)),
            wire::Body::Fenced(wire::Fenced {
                node,
                session,
                by,
                written,
            }) => machine::Body::Fenced(machine::Fenced {
                node: NodeName::new(node),
                session: SessionId::new(session),
                by: NodeName::new(by),
                written,
            }),
            wire::Body::Claims(titles) => machine::Body::Claims(
                titles
                    .into_iter()
                    .map(
                        |wire::Title {
                             address,
                             transitions,
                             written,
                         }| machine::Title {
                            address,
                            transitions,
                            written,
                        },
                    )
                    .collect(),
            ),
            wire::Body::Moves(moves) => machine::Body::Moves(heard_moves(moves)),
            wire::Body::Ceded(moves) => machine::Body::Ceded(heard_moves(moves)),
        },
    }
}

fn heard_moves(moves: Vec<wire::Move>) -> Vec<machine::Move> {
    let moves = moves.into_iter().map(
        |wire::Move {
             address,
             transitions,
         }| machine::Move {
            address,
            transitions,
        },
    );
    moves.collect()
}

fn heard_beat(beat: wire::Beat<'_>) -> machine::Beat {
    let wire::Beat {
        sequence,
        interval,
        window,
        kind,
        flags,
        heard,
        ended,
    } = beat;
    let wire::Flags {
        has_api,
        alone,
        renewals,
        draining,
        leaving,
        programmed,
        few_hear,
    } = flags;
    machine::Beat {
        sequence,
        interval,
        window,
        kind: match kind {
            wire::Kind::Watch => machine::Kind::Watch,
            wire::Kind::Discovery => machine::Kind::Discovery,
            wire::Kind::Poll => machine::Kind::Poll,
            wire::Kind::Final => machine::Kind::Final,
            wire::Kind::End => machine::Kind::End,
        },
        flags: machine::Flags {
            has_api,
            alone,
            renewals,
            draining,
            leaving,
            programmed,
            few_hear,
        },
        heard: heard
            .into_iter()
            .map(|wire::Heard { session, sequence }| machine::Heard {
                session: SessionId::new(session),
                sequence,
            })
            .collect(),
        ended: ended.into_iter().map(SessionId::new).collect(),
    }
}

fn heard_suspects(suspects: &[wire::Suspect<'_>]) -> Vec<machine::Suspect> {
    suspects
        .iter()
        .map(
            |wire::Suspect {
                 node,
                 session,
                 sequence,
             }| machine::Suspect {
                node: NodeName::new(*node),
                session: SessionId::new(*session),
                sequence: *sequence,
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::ip;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let suspect = machine::Suspect {
            node: NodeName::new("n2"),
            session: SessionId::new("s2"),
            sequence: 9,
        };
        let beat = |kind| {
            machine::Body::Beat(machine::Beat {
                sequence: 7,
                interval: Duration::from_millis(50),
                window: Duration::from_millis(150),
                kind,
                flags: machine::Flags {
                    has_api: true,
                    alone: Duration::from_secs(3),
                    renewals: 200,
                    draining: true,
                    leaving: false,
                    programmed: true,
                    few_hear: false,
                },
                heard: vec![machine::Heard {
                    session: SessionId::new("s2"),
                    sequence: 4,
                }],
                ended: vec![SessionId::new("s0")],
            })
        };
        let bodies = [
            beat(machine::Kind::Watch),
            beat(machine::Kind::Discovery),
            beat(machine::Kind::Poll),
            beat(machine::Kind::Final),
            beat(machine::Kind::End),
            machine::Body::Suspect(vec![suspect.clone()]),
            machine::Body::Veto(vec![suspect]),
            machine::Body::Fenced(machine::Fenced {
                node: NodeName::new("n2"),
                session: SessionId::new("s2"),
                by: NodeName::new("n1"),
                written: true,
            }),
            machine::Body::Claims(vec![machine::Title {
                address: ip("192.0.2.1"),
                transitions: 3,
                written: true,
            }]),
            machine::Body::Moves(vec![machine::Move {
                address: ip("2001:db8::1"),
                transitions: 3,
            }]),
            machine::Body::Ceded(vec![machine::Move {
                address: ip("2001:db8::1"),
                transitions: 3,
            }]),
        ];
        for body in bodies {
            let frame = machine::Frame {
                node: NodeName::new("n1"),
                session: SessionId::new("s1"),
                body,
            };
            assert_eq!(heard(said(&frame)), frame);
        }
    }
}
