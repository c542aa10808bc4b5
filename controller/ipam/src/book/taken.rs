//! Everything that cannot be handed out, and which addresses were the last to become free again.

use std::collections::VecDeque;
use std::ops::Deref;

use crate::address::Point;
use crate::spans::{Span, Spans};

/// How many of the last freed addresses are remembered.
const REMEMBERED: usize = 256;

/// A set of spans that remembers what was last removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    spans: Spans,
    last: VecDeque<Span>,
    freed: u64,
}

impl Deref for Taken {
    type Target = Spans;

    fn deref(&self) -> &Spans {
        &self.spans
    }
}

impl Taken {
    pub(crate) fn insert(&mut self, span: Span) {
        self.spans.insert(span);
    }

    pub(crate) fn remove(&mut self, span: Span) {
        self.spans.remove(span);
        self.freed += 1;
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(span);
    }

    /// How many times something has been removed.
    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    /// Where, after so many times: the starts of what was removed, which is single addresses;
    /// `None` when that was too long ago.
    pub(crate) fn freed_since(&self, times: u64) -> Option<Vec<Point>> {
        let new = usize::try_from(self.freed.checked_sub(times)?).ok()?;
        let old = self.last.len().checked_sub(new)?;
        Some(self.last.iter().skip(old).map(|span| span.start).collect())
    }
}
