//! Services: from an event to written records and status.
//!
//! ```text
//! object ─validate─► index ─► plan (pure, under the lock: build) ─► records ─► status ─► departures
//! ```
//!
//! The record comes first: creating it is the allocation. Then the status names the address. What
//! a Service leaves goes the other way round: out of the status first, then the record.

pub mod build;
mod departures;
mod error;
mod holder;
mod plan;
mod records;
mod status;

use crate::context::Context;

pub use error::StepError;
pub(crate) use holder::found;
pub use plan::{Planned, Work, plan};

/// Carries out what was planned.
///
/// # Errors
/// When it has to be tried again: at once when overtaken, later otherwise.
pub async fn carry_out(context: &Context, work: &Work) -> Result<(), StepError> {
    let writes = &work.writes;
    if !writes.former.is_empty() {
        return departures::former(context, work.key(), writes).await;
    }
    for write in &writes.records {
        records::write(context, write).await?;
    }
    if let Some(status) = &work.status
        && status::write(context, work.key(), &work.live.uid, status).await?
    {
        work.report(context);
    }
    for mark in &writes.marks {
        records::mark(context, mark).await?;
    }
    for at in &writes.shown {
        records::note_shown(context, *at, &work.live.uid).await?;
    }
    departures::write(context, work.key(), &writes.plan.leave).await?;
    work.finish(&mut context.state.lock());
    Ok(())
}
