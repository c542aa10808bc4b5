//! The last checks: backends are replaced, and the address moves, while the client asks.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::{Course, LOST, Owners, SETTLING, Tried, tried};
use crate::connectivity::judge::{self, Move, Seen};
use crate::connectivity::plan::Plan;
use crate::connectivity::report::Outcome;

const ONE_NODE: &str =
    "backends can run on one node beside the client's, and an address cannot move to another";

impl Course<'_> {
    pub(super) async fn rolling_update(&mut self) -> anyhow::Result<Outcome> {
        let before = match self.stage.rolled_out().await? {
            Ok(pods) => pods.iter().map(Pod::name_any).collect(),
            Err(why) => return Ok(Outcome::failed(why)),
        };
        let mark = self.mark();
        if let Err(why) = self.deploy(None).await? {
            return Ok(Outcome::failed(why));
        }
        tried!(self.watch(LOST).await.map(|()| Vec::<()>::new()));
        Ok(judge::rolling_update(
            &tried!(self.seen(mark).await?),
            &before,
        ))
    }

    pub(super) async fn planned_move(&mut self) -> anyhow::Result<Outcome> {
        let Some((from, before)) = self.may_move().await? else {
            return Ok(Outcome::skipped(ONE_NODE));
        };
        tried!(self.watch(SETTLING).await.map(|()| Vec::<()>::new()));
        let mark = self.mark();
        if let Err(why) = self.deploy(Some(&from)).await? {
            return Ok(Outcome::failed(why));
        }
        tried!(self.left(&from).await?);
        tried!(self.watch(LOST).await.map(|()| Vec::<()>::new()));
        let by_xdp = self.plan.as_ref().is_some_and(Plan::forwards_by_xdp);
        let by = Move::Planned { by_xdp };
        let outcome = self.moved(mark, &before, &from, by).await?;
        // As it was, for what comes after.
        Ok(match self.deploy(None).await? {
            Ok(_) => outcome,
            Err(why) => Outcome::failed(why),
        })
    }

    pub(super) async fn restart(&mut self) -> anyhow::Result<Outcome> {
        if !self.flags.disruptive {
            return Ok(Outcome::skipped(
                "deletes an announcer's Pod: --disruptive permits it",
            ));
        }
        self.without_announcer(Move::Restart).await
    }

    pub(super) async fn failover(&mut self) -> anyhow::Result<Outcome> {
        if !self.flags.disruptive {
            return Ok(Outcome::skipped(
                "kills an announcer: --disruptive permits it",
            ));
        }
        self.without_announcer(Move::Failover).await
    }

    /// The addresses move because their owner's announcer ends.
    async fn without_announcer(&mut self, by: Move) -> anyhow::Result<Outcome> {
        let Some((from, before)) = self.may_move().await? else {
            return Ok(Outcome::skipped(ONE_NODE));
        };
        tried!(self.stood_by().await?);
        tried!(self.watch(SETTLING).await.map(|()| Vec::<()>::new()));
        let mark = self.mark();
        let ended = match by {
            Move::Failover => self.stage.crash_announcer(&self.image, &from).await?,
            Move::Planned { .. } | Move::Restart => self.stage.replace_announcer(&from).await?,
        };
        if let Err(why) = ended {
            return Ok(Outcome::failed(why));
        }
        tried!(self.left(&from).await?);
        tried!(self.watch(LOST).await.map(|()| Vec::<()>::new()));
        self.moved(mark, &before, &from, by).await
    }

    /// The owner of an address, where another node could have it; and every address's.
    async fn may_move(&self) -> anyhow::Result<Option<(String, Owners)>> {
        if self
            .plan
            .as_ref()
            .is_none_or(|plan| plan.backends.len() < 2)
        {
            return Ok(None);
        }
        let owners = self.owned().await?.unwrap_or_default();
        let first = owners.values().next().cloned();
        Ok(first.map(|first| (first, owners)))
    }

    /// Waits until every address has a node that takes it over: the backends have only just come back.
    async fn stood_by(&self) -> Tried<()> {
        let stood_by = self
            .stage
            .until(async || {
                for vip in self.pairs.keys() {
                    let record = self.stage.record(*vip).await?;
                    let owner = record.and_then(|record| record.status?.owner);
                    if owner.and_then(|owner| owner.standby).is_none() {
                        return Ok(Err(format!("no node is {vip}'s standby")));
                    }
                }
                Ok(Ok(()))
            })
            .await?;
        Ok(stood_by.map_err(Outcome::failed))
    }

    /// Waits until a node has no address of the test any more.
    async fn left(&self, node: &str) -> Tried<()> {
        let left = self
            .stage
            .until(async || {
                Ok(match self.owned().await? {
                    Ok(owners) => match owners.iter().find(|(_, owner)| *owner == node) {
                        None => Ok(()),
                        Some((vip, _)) => Err(format!("{vip} is still at {node}")),
                    },
                    Err(why) => Err(why),
                })
            })
            .await?;
        Ok(left.map_err(Outcome::failed))
    }

    async fn moved(
        &self,
        mark: usize,
        before: &Owners,
        from: &str,
        by: Move,
    ) -> anyhow::Result<Outcome> {
        let after = tried!(self.seen(mark).await?);
        let to: Vec<String> = after.iter().map(|seen| seen.owner.clone()).collect();
        let seen = after.into_iter().map(|after| Seen {
            owner: before.get(&after.window.vip).cloned().unwrap_or_default(),
            ..after
        });
        Ok(judge::moved(&seen.collect::<Vec<_>>(), from, &to, by))
    }
}
