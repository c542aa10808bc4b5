//! What audited accounts may do, held against what they did so far.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::ListParams;
use landfall_testbed::control_plane::AUDIT_LOG;

use super::Runner;
use crate::rights::{Account, Roles, judge};
use crate::scenario::spec::{Rights, Step};

impl Runner<'_> {
    /// What is rare may still be about to be done: it is looked again as long as the step may take.
    pub(super) async fn rights(&mut self, rights: &Rights, step: &Step) -> Result<String> {
        self.transcript
            .command("…", "the API server's audit log, held against the roles");
        let roles = self.roles().await?;
        let until = Instant::now() + step.within.unwrap_or_default();
        loop {
            let (said, faults) = self.judged(rights, &roles)?;
            if faults.is_empty() {
                self.transcript.output(&said.join("\n"), None);
                return Ok(String::new());
            }
            ensure!(Instant::now() < until, "{}", faults.join("\n     "));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// A line about each account, and what is wrong with any.
    fn judged(&self, rights: &Rights, roles: &Roles) -> Result<(Vec<String>, Vec<String>)> {
        let path = self.lab.plan().dir.join("control-plane").join(AUDIT_LOG);
        let log = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let (mut said, mut faults) = (Vec::new(), Vec::new());
        for text in &self.scenario.lab.audited {
            let account = Account::parse(text).map_err(anyhow::Error::msg)?;
            let verdict = judge(&account, roles, &log).map_err(anyhow::Error::msg)?;
            let seldom = rights.seldom.get(text).into_iter().flatten();
            let of_account = verdict.faults(seldom.map(|(right, _)| right.as_str()));
            faults.extend(of_account.iter().map(|fault| format!("{text}: {fault}")));
            let (granted, unused) = (verdict.granted.len(), verdict.unused.len());
            said.push(format!(
                "{account}: {granted} rights, {} used",
                granted - unused
            ));
        }
        Ok((said, faults))
    }

    async fn roles(&self) -> Result<Roles> {
        let (client, all) = (self.lab.client().await?, ListParams::default());
        Ok(Roles {
            cluster: Api::all(client.clone()).list(&all).await?.items,
            namespaced: Api::all(client.clone()).list(&all).await?.items,
            everywhere: Api::all(client.clone()).list(&all).await?.items,
            within: Api::all(client).list(&all).await?.items,
        })
    }
}
