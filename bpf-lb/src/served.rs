//! Which endpoints have a frontend.
//!
//! Pure. Hardly anything asks, so that they are put together when something does.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::desired::{Desired, Endpoint, Vip};

/// The endpoints of all frontends, those that are going as well.
#[derive(Debug, Default)]
pub(crate) struct Served {
    vips: Vec<Arc<Vip>>,
    going: BTreeSet<Endpoint>,
    /// All of them, sorted.
    all: OnceCell<Vec<Endpoint>>,
}

impl Served {
    /// Those of what is wanted, and these.
    pub(crate) fn new(desired: &Desired, going: BTreeSet<Endpoint>) -> Self {
        Self {
            vips: desired.frontends.values().map(Arc::clone).collect(),
            going,
            all: OnceCell::new(),
        }
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, endpoint: &Endpoint) -> bool {
        self.all().binary_search(endpoint).is_ok()
    }

    fn all(&self) -> &[Endpoint] {
        self.all.get_or_init(|| {
            let wanted = self.vips.iter().flat_map(|vip| vip.backends.keys());
            let mut all: Vec<Endpoint> = wanted.chain(&self.going).copied().collect();
            all.sort_unstable();
            all.dedup();
            all.shrink_to_fit();
            all
        })
    }
}
