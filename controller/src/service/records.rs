//! Writing records. Every answer goes back into the index, refusals too.

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use landfall_crds::annotations::SHOWN_TO;
use landfall_crds::{LoadBalancerIP, ip_name};
use landfall_ipam::PoolName;
use landfall_ipam::address::Point;
use landfall_ipam::book::Write;
use landfall_ipam::index::Mark;
use landfall_runtime::call::within;
use landfall_runtime::class::Class;
use serde_json::json;

use super::build;
use super::error::StepError;
use crate::context::{Context, MANAGER, PATIENCE};
use crate::pool::guard::{self, Naming};
use crate::validate;

/// Carries out one write. After a refused one the index has been shown the record as it is.
pub(super) async fn write(context: &Context, write: &Write) -> Result<(), StepError> {
    let _naming = hold_pool(context, write).await?;
    let api: Api<LoadBalancerIP> = Api::all(context.client.clone());
    let (at, operation, answer) = match write {
        Write::Create(at, spec) => {
            let metadata = ObjectMeta {
                name: Some(ip_name(at.address())),
                ..ObjectMeta::default()
            };
            let record = LoadBalancerIP {
                metadata,
                spec: spec.clone(),
                status: None,
            };
            let params = PostParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PostParams::default()
            };
            (
                *at,
                "create LoadBalancerIP",
                within(PATIENCE, api.create(&params, &record))
                    .await
                    .map(Some),
            )
        }
        Write::Replace(at, spec, stored) => {
            let patch = build::record_patch(spec, &stored.uid, &stored.version);
            let params = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let (name, patch) = (ip_name(at.address()), Patch::Merge(patch));
            let answer = within(PATIENCE, api.patch(&name, &params, &patch)).await;
            (*at, "patch LoadBalancerIP", answer.map(Some))
        }
        Write::Delete(at, stored) => {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(stored.uid.clone()),
                    resource_version: Some(stored.version.clone()),
                }),
                ..DeleteParams::default()
            };
            let name = ip_name(at.address());
            let answer = within(PATIENCE, api.delete(&name, &params)).await;
            if answer.is_ok() {
                context
                    .state
                    .change(|cache| cache.index.record_gone(*at, &stored.uid, true));
            }
            (*at, "delete LoadBalancerIP", answer.map(|_| None))
        }
    };
    match answer {
        Ok(record) => {
            see(context, record.as_ref());
            Ok(())
        }
        Err(error) if matches!(error.class(), Class::Conflict | Class::NotFound) => {
            context.metrics.conflict();
            look(context, at, write).await?;
            Err(StepError::Overtaken(at.address().to_string()))
        }
        Err(error) => Err(StepError::api(operation, at.address().to_string())(error)),
    }
}

/// The pool that a record will name is held before it does. One that is gone by now is named by nobody who did not name
/// it before: what was planned with it is planned anew.
async fn hold_pool<'a>(
    context: &'a Context,
    write: &Write,
) -> Result<Option<Naming<'a>>, StepError> {
    let (at, spec, before) = match write {
        Write::Create(at, spec) => (at, spec, None),
        Write::Replace(at, spec, stored) => (at, spec, stored.spec.pool_ref.as_ref()),
        Write::Delete(..) => return Ok(None),
    };
    let Some(pool) = &spec.pool_ref else {
        return Ok(None);
    };
    let name = PoolName::from(pool.name.as_str());
    let overtaken = || StepError::Overtaken(at.address().to_string());
    let is_new = before != Some(pool);
    let naming = match is_new {
        true => Some(Naming::begin(context, *at, name.clone()).ok_or_else(overtaken)?),
        false => None,
    };
    let held = within(PATIENCE, guard::hold(context, &name)).await;
    let held = held.map_err(StepError::api("hold LoadBalancerIPPool", name.to_string()))?;
    if is_new && !held {
        return Err(overtaken());
    }
    Ok(naming)
}

fn see(context: &Context, record: Option<&LoadBalancerIP>) {
    if let Some((at, stored)) = record.and_then(validate::stored) {
        context
            .state
            .change(|cache| cache.index.record_seen(at, stored));
    }
}

/// Shows the index a record as the API server has it now.
async fn look(context: &Context, at: Point, write: &Write) -> Result<(), StepError> {
    let api: Api<LoadBalancerIP> = Api::all(context.client.clone());
    let name = ip_name(at.address());
    let found = within(PATIENCE, api.get_opt(&name))
        .await
        .map_err(StepError::api("get LoadBalancerIP", &name))?;
    match (&found, write) {
        (Some(_), _) => see(context, found.as_ref()),
        (None, Write::Replace(_, _, stored) | Write::Delete(_, stored)) => {
            context
                .state
                .change(|cache| cache.index.record_gone(at, &stored.uid, true));
        }
        (None, Write::Create(..)) => {}
    }
    Ok(())
}

/// Notes in a record that the status of its holder has named the address.
pub(super) async fn note_shown(context: &Context, at: Point, uid: &str) -> Result<(), StepError> {
    let api: Api<LoadBalancerIP> = Api::all(context.client.clone());
    let name = ip_name(at.address());
    let uids = context.state.lock().index.shown_to(at, uid);
    let uids = uids.into_iter().collect::<Vec<_>>().join(",");
    let patch = json!({"metadata": {"annotations": {SHOWN_TO: uids}}});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    let answer = within(PATIENCE, api.patch(&name, &params, &patch)).await;
    let record = answer.map_err(StepError::api("annotate LoadBalancerIP", &name))?;
    see(context, Some(&record));
    Ok(())
}

/// Writes a record's `OutOfPool` condition.
pub(super) async fn mark(context: &Context, mark: &Mark) -> Result<(), StepError> {
    let api: Api<LoadBalancerIP> = Api::all(context.client.clone());
    let name = ip_name(mark.at.address());
    let condition = build::out_of_pool(mark, Timestamp::now());
    let status = json!({"conditions": [condition]});
    let answer = landfall_runtime::apply::status(&api, &name, MANAGER, &status);
    let record = within(PATIENCE, answer)
        .await
        .map_err(StepError::api("mark LoadBalancerIP", &name))?;
    see(context, Some(&record));
    Ok(())
}
