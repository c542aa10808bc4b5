//! Moving over from another balancer: its objects in, Landfall's out, and what becomes of every address in use.
//!
//! ```text
//! their objects ──► metallb | cilium | kube_vip | purelb ──► draft: pools, policies, notes
//!                                                              │
//!      Services, records, pools of the cluster ──► fate ◄──────┘   what the controller would do with each address
//! ```
//!
//! Pure but for [`theirs`], which reads, and [`carry`], which writes. Nothing is written of which the planner says that an address in use would change.

mod announcers;
mod blocks;
mod carry;
mod cilium;
mod fate;
mod kube_vip;
mod metallb;
mod purelb;
#[cfg(test)]
mod tests;
mod theirs;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIPPool};
use landfall_ipam::selection::Selector;
use serde::Serialize;
use serde_json::Value;

pub(crate) use carry::migrate;

use crate::args::From;
use crate::words::{plain, table};
use fate::Fate;

/// What their objects come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) pools: Vec<(LoadBalancerIPPool, String)>,
    pub(crate) policies: Vec<(L2AnnouncementPolicy, String)>,
    /// What has no equivalent, or means something else here.
    pub(crate) notes: Vec<String>,
}

/// An object that comes to nothing, which was noted.
struct Skipped;

impl Draft {
    /// Nothing of theirs was there to be read.
    fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.policies.is_empty() && self.notes.is_empty()
    }

    fn note(&mut self, object: &Value, says: &str) {
        self.notes.push(format!("{}: {says}", named(object)));
    }

    /// A selector of theirs; where it cannot be read, that is noted, and the object comes to nothing.
    fn selector(&mut self, object: &Value, field: &str) -> Result<Option<LabelSelector>, Skipped> {
        let pointer = format!("/{}", field.replace('.', "/"));
        let value = object.pointer(&pointer).unwrap_or(&Value::Null);
        self.read(object, field, value)
    }

    /// Selectors of which one suffices: none where everything is selected.
    fn selectors(&mut self, object: &Value, field: &str) -> Result<Vec<LabelSelector>, Skipped> {
        let pointer = format!("/{}", field.replace('.', "/"));
        let list = object.pointer(&pointer).and_then(Value::as_array);
        let (mut all, mut everything) = (Vec::new(), false);
        for (at, value) in list.into_iter().flatten().enumerate() {
            match self.read(object, &format!("{field}[{at}]"), value)? {
                Some(one) => all.push(one),
                None => everything = true,
            }
        }
        if everything {
            all.clear();
        }
        Ok(all)
    }

    fn read(
        &mut self,
        object: &Value,
        field: &str,
        value: &Value,
    ) -> Result<Option<LabelSelector>, Skipped> {
        selector(value).map_err(|problem| {
            self.note(
                object,
                &format!(
                    "{field} cannot be read ({problem}), and it comes to nothing: mend it first"
                ),
            );
            Skipped
        })
    }

    /// A pool; a second one of a name gets a number.
    fn pool(&mut self, name: &str, spec: landfall_crds::LoadBalancerIPPoolSpec, from: &Value) {
        let taken = |name: &str| {
            self.pools
                .iter()
                .any(|(pool, _)| pool.metadata.name.as_deref() == Some(name))
        };
        let name = unique(name, taken);
        self.pools
            .push((LoadBalancerIPPool::new(&name, spec), named(from)));
    }

    fn policy(&mut self, name: &str, spec: landfall_crds::L2AnnouncementPolicySpec, from: &Value) {
        let taken = |name: &str| {
            self.policies
                .iter()
                .any(|(policy, _)| policy.metadata.name.as_deref() == Some(name))
        };
        let name = unique(name, taken);
        self.policies
            .push((L2AnnouncementPolicy::new(&name, spec), named(from)));
    }
}

fn unique(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or_default()
}

/// `Kind namespace/name` of an object of theirs.
fn named(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (kind, namespace, name) = (
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    );
    match namespace {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// Texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// A selector as it stands; `None` where there is none, or an empty one that selects everything.
///
/// # Errors
/// What cannot be read: it must not come to one that selects everybody.
fn selector(value: &Value) -> Result<Option<LabelSelector>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let fields = value.as_object().ok_or("is no selector")?;
    let known = ["matchLabels", "matchExpressions"];
    if let Some(field) = fields.keys().find(|field| !known.contains(&field.as_str())) {
        return Err(format!("has the field {field}, which no selector has"));
    }
    let found: LabelSelector =
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    Selector::compile(&found)?;
    let empty = found
        .match_labels
        .as_ref()
        .is_none_or(|labels| labels.is_empty())
        && found.match_expressions.as_ref().is_none_or(Vec::is_empty);
    Ok((!empty).then_some(found))
}

/// Namespaces by name.
fn namespaces(names: &[&str]) -> LabelSelector {
    LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        }]),
        ..LabelSelector::default()
    }
}

/// Reads objects of one balancer.
pub(crate) fn draft(from: From, objects: &[Value]) -> Draft {
    match from {
        From::Metallb => metallb::draft(objects),
        From::Cilium => cilium::draft(objects),
        From::KubeVip => kube_vip::draft(objects),
        From::Purelb => purelb::draft(objects),
    }
}

/// What a balancer writes onto Services for people to read: nothing is asked by it.
const TOLD: [&str; 6] = [
    "metallb.io/ip-allocated-from-pool",
    "metallb.universe.tf/ip-allocated-from-pool",
    "kube-vip.io/vipHost",
    "purelb.io/allocated-by",
    "purelb.io/allocated-from",
    "purelb.io/announcing-",
];

/// What Services ask of a balancer by annotations that mean nothing here.
pub(crate) fn unheard(from: From, services: &[k8s_openapi::api::core::v1::Service]) -> Vec<String> {
    use landfall_crds::annotations as ours;
    let prefixes: &[&str] = match from {
        From::Metallb => &["metallb.io/", "metallb.universe.tf/"],
        From::Cilium => &["lbipam.cilium.io/", "io.cilium/lb-ipam-"],
        From::KubeVip => &["kube-vip.io/"],
        From::Purelb => &["purelb.io/"],
    };
    let known = [
        &ours::IPS_ALIASES[..],
        &ours::POOL_ALIASES[..],
        &ours::SHARING_KEY_ALIASES[..],
        &ours::SHARING_CROSS_NAMESPACE_ALIASES[..],
        &ours::SHARING_PERMIT_DIFFERENT_PODS_ALIASES[..],
    ];
    let is_unheard = |name: &&String| {
        let theirs = prefixes.iter().any(|prefix| name.starts_with(prefix));
        let told = TOLD.iter().any(|told| name.starts_with(told));
        theirs && !told && !known.iter().any(|names| names.contains(&name.as_str()))
    };
    let mut notes = Vec::new();
    for service in services {
        let annotations = service.metadata.annotations.iter().flatten();
        let unheard: Vec<&String> = annotations
            .map(|(name, _)| name)
            .filter(is_unheard)
            .collect();
        for name in unheard {
            notes.push(format!(
                "Service {}/{}: {name} means nothing here",
                service.metadata.namespace.as_deref().unwrap_or_default(),
                service.metadata.name.as_deref().unwrap_or_default()
            ));
        }
    }
    notes
}

/// The plan: what would be written, and what becomes of every address in use.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    pub(crate) pools: Vec<LoadBalancerIPPool>,
    pub(crate) policies: Vec<L2AnnouncementPolicy>,
    pub(crate) addresses: Vec<Fate>,
    pub(crate) notes: Vec<String>,
    /// Why the API server would refuse some of it.
    pub(crate) mistakes: Vec<String>,
    #[serde(skip)]
    origins: Vec<String>,
}

impl Plan {
    pub(crate) fn new(draft: Draft, addresses: Vec<Fate>) -> Self {
        let origins = draft.pools.iter().map(|(_, from)| from.clone());
        let origins = origins.chain(draft.policies.iter().map(|(_, from)| from.clone()));
        Self {
            origins: origins.collect(),
            pools: draft.pools.into_iter().map(|(pool, _)| pool).collect(),
            policies: draft
                .policies
                .into_iter()
                .map(|(policy, _)| policy)
                .collect(),
            addresses,
            notes: draft.notes,
            mistakes: Vec::new(),
        }
    }

    /// Why this must not be carried out, if it must not.
    fn hindered(&self, leave_alone: bool) -> Option<&'static str> {
        let alone = |fate: &Fate| fate.becomes == fate::Becomes::LeftAlone && fate.served;
        if !self.mistakes.is_empty() {
            Some("what would be written has mistakes, which are told above.")
        } else if !self.changes_nothing() {
            Some("an address in use would change. The table says which, and why.")
        } else if !leave_alone && self.addresses.iter().any(alone) {
            Some(
                "an address in use would be nobody's though its Service is one that Landfall serves. The table says which, and why; --leave-alone accepts it.",
            )
        } else {
            None
        }
    }

    /// What becomes of addresses that are left alone, once the other is gone.
    fn unanswered(&self, from: From) -> Option<String> {
        let alone = self.addresses.iter();
        let alone = alone.filter(|fate| fate.becomes == fate::Becomes::LeftAlone);
        let name = match from {
            From::Metallb => "MetalLB",
            From::Cilium => "Cilium's announcing",
            From::KubeVip => "kube-vip",
            From::Purelb => "PureLB",
        };
        match alone.count() {
            0 => None,
            1 => Some(format!(
                "1 address will be answered by nobody once {name} is gone: the table says which."
            )),
            many => Some(format!(
                "{many} addresses will be answered by nobody once {name} is gone: the table says which."
            )),
        }
    }

    /// No address in use would change.
    pub(crate) fn changes_nothing(&self) -> bool {
        !self
            .addresses
            .iter()
            .any(|fate| fate.becomes == fate::Becomes::Changed)
    }
}

/// For people.
pub(crate) fn draw(plan: &Plan) -> String {
    let mut out = String::new();
    let mut origins = plan.origins.iter();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for pool in &plan.pools {
        let blocks = pool
            .spec
            .blocks
            .iter()
            .map(blocks::said)
            .collect::<Vec<_>>()
            .join(",");
        rows.push(vec![
            "LoadBalancerIPPool".to_owned(),
            pool.metadata.name.clone().unwrap_or_default(),
            blocks,
            origins.next().cloned().unwrap_or_default(),
        ]);
    }
    for policy in &plan.policies {
        let interfaces = match policy.spec.interfaces.as_slice() {
            [] => "every interface".to_owned(),
            some => some.join(","),
        };
        rows.push(vec![
            "L2AnnouncementPolicy".to_owned(),
            policy.metadata.name.clone().unwrap_or_default(),
            interfaces,
            origins.next().cloned().unwrap_or_default(),
        ]);
    }
    if rows.is_empty() {
        out.push_str("Nothing to write: there is no object that comes to a pool or a policy.\n");
    } else {
        out.push_str(&table(&["WRITES", "NAME", "WHAT", "FROM"], &rows));
    }
    if !plan.addresses.is_empty() {
        let rows = plan.addresses.iter().map(|fate| {
            vec![
                fate.address.clone(),
                fate.service.clone(),
                fate.becomes.said().to_owned(),
                fate.why.clone(),
            ]
        });
        out.push('\n');
        out.push_str(&table(
            &["ADDRESS", "SERVICE", "BECOMES", "WHY"],
            &rows.collect::<Vec<_>>(),
        ));
    }
    if !plan.notes.is_empty() {
        out.push_str("\nWhat has no equivalent, or means something else here:\n");
        for note in &plan.notes {
            out.push_str(&format!("· {}\n", plain(note)));
        }
    }
    if !plan.mistakes.is_empty() {
        out.push_str("\nWhat the API server would refuse:\n");
        for mistake in &plan.mistakes {
            out.push_str(&format!("✗ {}\n", plain(mistake)));
        }
    }
    out
}
