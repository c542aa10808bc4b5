//! Letting go of addresses, once the status no longer names them.

use std::net::IpAddr;

use landfall_ipam::HolderKey;
use landfall_ipam::book::Write;
use landfall_ipam::index::Writes;
use landfall_runtime::call::within;

use super::error::StepError;
use super::holder::found;
use super::records;
use crate::context::{Context, PATIENCE};

/// How often a record is written that somebody else writes too.
const TRIES: usize = 3;

/// The Service lets go of these.
pub(super) async fn write(
    context: &Context,
    key: &HolderKey,
    leave: &[IpAddr],
) -> Result<(), StepError> {
    let departures = context.state.change(|cache| cache.index.depart(key, leave));
    let mut departures = departures.into_iter();
    while let Some(write) = departures.next() {
        if let Err(error) = depart(context, write.clone()).await {
            // It holds what it could not let go of: the next plan leaves again.
            let rest = [write].into_iter().chain(departures);
            let open: Vec<_> = rest.map(|write| write.at()).collect();
            context
                .state
                .change(|cache| cache.index.undepart(key, &open));
            return Err(error);
        }
    }
    if !leave.is_empty() {
        tracing::info!(service = %key, addresses = ?leave, "released");
    }
    Ok(())
}

/// A former Service of this name lets go of what it holds, when the API server itself says that it
/// is no more: a watch of Services may lag behind one of records.
pub(super) async fn former(
    context: &Context,
    key: &HolderKey,
    writes: &Writes,
) -> Result<(), StepError> {
    let found = within(PATIENCE, found(context, key)).await;
    let found = found.map_err(StepError::api("get", key.in_words()))?;
    match found {
        Some(found) if writes.former.contains(found.uid()) => {
            found.seen(context);
            Ok(())
        }
        _ => write(context, key, &writes.plan.leave).await,
    }
}

async fn depart(context: &Context, write: Write) -> Result<(), StepError> {
    let at = write.at();
    let mut next = Some(write);
    let mut last = Ok(());
    for _ in 0..TRIES {
        let Some(write) = next else {
            return Ok(());
        };
        last = records::write(context, &write).await;
        next = match &last {
            Err(StepError::Overtaken(_)) => context.state.lock().index.open(at),
            _ => return last,
        };
    }
    last
}
