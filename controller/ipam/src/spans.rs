//! A set of addresses as spans in a balanced tree.
//!
//! It is not a bitmap: the cost of every operation depends on the number of fragments, never on the
//! number of addresses, so that a /64 costs what a /30 costs.
//!
//! Invariant: spans are disjoint and never adjacent (`… end`, `end + 1 …` is one span). Thus the
//! point after a span's end is always free, and one look-up finds the next free address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::address::Point;

/// An inclusive range of points, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First point.
    pub start: Point,
    /// Last point, not below `start`.
    pub end: Point,
}

impl Span {
    /// A span, or `None` when `end` lies below `start`.
    #[must_use]
    pub fn new(start: Point, end: Point) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// A single point.
    #[must_use]
    pub fn point(point: Point) -> Self {
        Self {
            start: point,
            end: point,
        }
    }

    /// Number of points, at least one; the whole line saturates.
    #[must_use]
    pub fn count(self) -> u128 {
        (self.end.0 - self.start.0).saturating_add(1)
    }

    /// Whether the point lies within.
    #[must_use]
    pub fn contains(self, point: Point) -> bool {
        self.start <= point && point <= self.end
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl From<IpNetwork> for Span {
    fn from(network: IpNetwork) -> Self {
        let last = match network {
            IpNetwork::V4(v4) => IpAddr::V4(v4.broadcast()),
            IpNetwork::V6(v6) => IpAddr::V6(v6.broadcast()),
        };
        Self {
            start: network.network().into(),
            end: last.into(),
        }
    }
}

/// A set of points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    ends: BTreeMap<Point, Point>,
}

impl Spans {
    /// Whether it has no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of points, saturating.
    #[must_use]
    pub fn len(&self) -> u128 {
        self.iter()
            .fold(0, |sum, span| sum.saturating_add(span.count()))
    }

    /// Number of spans.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.ends.len()
    }

    /// The spans in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Span> + '_ {
        self.ends.iter().map(|(&start, &end)| Span { start, end })
    }

    /// The span that contains the point.
    #[must_use]
    pub fn span_at(&self, point: Point) -> Option<Span> {
        let (&start, &end) = self.ends.range(..=point).next_back()?;
        (point <= end).then_some(Span { start, end })
    }

    /// Whether it contains the point.
    #[must_use]
    pub fn contains(&self, point: Point) -> bool {
        self.span_at(point).is_some()
    }

    /// The lowest point of `within` that is not in this set.
    #[must_use]
    pub fn first_gap(&self, within: Span) -> Option<Point> {
        match self.span_at(within.start) {
            None => Some(within.start),
            Some(taken) => taken.end.next().filter(|next| *next <= within.end),
        }
    }

    /// The parts of this set within `window`, ascending.
    pub fn within(&self, window: Span) -> impl Iterator<Item = Span> + '_ {
        let first = self
            .span_at(window.start)
            .map_or(window.start, |span| span.start);
        self.ends
            .range(first..=window.end)
            .filter_map(move |(&start, &end)| Span { start, end }.intersection(window))
    }

    /// Adds a span, merging with what it touches.
    pub fn insert(&mut self, span: Span) {
        let Span { mut start, mut end } = span;
        if let Some((&before, &before_end)) = self.ends.range(..=start).next_back()
            && before_end.next().is_none_or(|next| start <= next)
        {
            if end <= before_end {
                return;
            }
            start = before;
        }
        let reach = end.next().unwrap_or(end);
        while let Some((&next, &next_end)) = self.ends.range(start..=reach).next_back() {
            self.ends.remove(&next);
            end = end.max(next_end);
        }
        self.ends.insert(start, end);
    }

    /// Takes a span out, splitting what it cuts.
    pub fn remove(&mut self, span: Span) {
        let Span { start, end } = span;
        while let Some((&at, &at_end)) = self.ends.range(..=end).next_back()
            && at_end >= start
        {
            if at < start
                && let Some(left) = start.previous()
            {
                self.ends.insert(at, left);
            } else {
                self.ends.remove(&at);
            }
            if let Some(right) = end.next()
                && right <= at_end
            {
                self.ends.insert(right, at_end);
            }
            if at <= start {
                break;
            }
        }
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut set = Self::default();
        for span in spans {
            set.insert(span);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn span(start: u128, end: u128) -> Span {
        Span::new(Point(start), Point(end)).unwrap()
    }

    #[test]
    fn touching_spans_become_one() {
        let spans: Spans = [span(1, 3), span(7, 9), span(4, 6)].into_iter().collect();
        assert_eq!(spans.iter().collect::<Vec<_>>(), [span(1, 9)]);
    }

    #[test]
    fn the_ends_of_the_line_hold() {
        let mut spans = Spans::default();
        spans.insert(span(0, u128::MAX));
        spans.insert(span(u128::MAX, u128::MAX));
        assert_eq!(spans.fragments(), 1);
        assert_eq!(spans.first_gap(span(5, u128::MAX)), None);
        spans.remove(span(u128::MAX, u128::MAX));
        spans.remove(span(0, 0));
        assert_eq!(spans.iter().collect::<Vec<_>>(), [span(1, u128::MAX - 1)]);
    }

    proptest! {
        #[test]
        fn it_does_what_a_plain_set_does(steps in prop::collection::vec((any::<bool>(), 0u128..64, 0u128..12), 0..60)) {
            let (mut spans, mut model) = (Spans::default(), BTreeSet::new());
            for (add, start, more) in steps {
                let range = start..=start + more;
                if add {
                    spans.insert(span(start, start + more));
                    model.extend(range);
                } else {
                    spans.remove(span(start, start + more));
                    model.retain(|point| !range.contains(point));
                }
                prop_assert_eq!(spans.len(), model.len() as u128);
                for point in 0..80 {
                    prop_assert_eq!(spans.contains(Point(point)), model.contains(&point));
                    let gap = (point..80).find(|p| !model.contains(p));
                    prop_assert_eq!(spans.first_gap(span(point, 79)), gap.map(Point));
                    let inside: u128 = spans.within(span(point, 79)).map(Span::count).sum();
                    prop_assert_eq!(inside, model.range(point..80).count() as u128);
                }
                let all: Vec<_> = spans.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].end.0 + 1 < pair[1].start.0));
            }
        }
    }
}
