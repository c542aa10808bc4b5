//! Letting go of addresses, once the status no longer names them.

use std::net::IpAddr;

use landfall_ipam::ServiceKey;
use landfall_ipam::book::Write;

use super::error::StepError;
use super::records;
use crate::context::Context;

/// How often a record is written that somebody else writes too.
const TRIES: usize = 3;

/// The Service lets go of these.
pub(super) async fn write(
    context: &Context,
    key: &ServiceKey,
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
