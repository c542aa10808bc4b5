//! Bodies divided so that each part fits into a frame.

use std::net::IpAddr;

use super::{Beat, Body, LONGEST_LIST, MOST_ITEMS, Move};

/// Bytes of a beat without its lists, their two counts included.
const BEAT: usize = 8 + 4 + 4 + 1 + 1 + 4 + 1 + 1;

/// The same in bodies of at most `room` bytes, in order; of nothing, none. A beat stays one: the eldest of its ended
/// sessions are left out for which there is no room.
pub(super) fn pieces<'a>(body: &Body<'a>, room: usize) -> Vec<Body<'a>> {
    match body {
        Body::Beat(beat) => vec![Body::Beat(shortened(beat, room))],
        Body::Fenced(_) => vec![body.clone()],
        Body::Suspect(items) => cut(items, room, |item| {
            1 + item.node.len() + 1 + item.session.len() + 8
        })
        .map(Body::Suspect)
        .collect(),
        Body::Veto(items) => cut(items, room, |item| {
            1 + item.node.len() + 1 + item.session.len() + 8
        })
        .map(Body::Veto)
        .collect(),
        Body::Claims(items) => cut(items, room, |item| address(item.address) + 8 + 1)
            .map(Body::Claims)
            .collect(),
        Body::Moves(items) => cut(items, room, moved).map(Body::Moves).collect(),
        Body::Ceded(items) => cut(items, room, moved).map(Body::Ceded).collect(),
    }
}

const fn moved(item: &Move) -> usize {
    address(item.address) + 8
}

fn shortened<'a>(beat: &Beat<'a>, room: usize) -> Beat<'a> {
    let heard: usize = beat
        .heard
        .iter()
        .map(|heard| 1 + heard.session.len() + 8)
        .sum();
    let mut left = room.saturating_sub(BEAT + heard);
    let ended = beat.ended.iter().take(LONGEST_LIST).take_while(|session| {
        let rest = left.checked_sub(1 + session.len());
        left = rest.unwrap_or(0);
        rest.is_some()
    });
    Beat {
        ended: ended.copied().collect(),
        ..beat.clone()
    }
}

/// As many of the items as fit, again and again.
fn cut<T: Copy>(
    items: &[T],
    room: usize,
    size: impl Fn(&T) -> usize,
) -> impl Iterator<Item = Vec<T>> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut left = room.saturating_sub(1);
        let fits = rest.iter().take(MOST_ITEMS).take_while(|item| {
            let after = left.checked_sub(size(item));
            left = after.unwrap_or(0);
            after.is_some()
        });
        // Every item fits alone; one that did not is for `emit` to refuse, not to turn in circles about.
        let count = fits.count().max(1).min(rest.len());
        let (part, later) = rest.split_at(count);
        rest = later;
        (!part.is_empty()).then(|| part.to_vec())
    })
}

const fn address(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 1 + 4,
        IpAddr::V6(_) => 1 + 16,
    }
}
