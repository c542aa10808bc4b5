//! `L2AnnouncementPolicy`: what is announced, and from where.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;
use crate::text::quoted;

/// Which Services' addresses are announced at layer 2, from which nodes and interfaces.
#[derive(Clone, Debug, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "L2AnnouncementPolicy",
    plural = "l2announcementpolicies",
    shortname = "l2policy",
    category = "landfall",
    status = "L2AnnouncementPolicyStatus",
    derive = "PartialEq",
    doc = "Which addresses are announced at layer 2, and from where.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Forwarding",
        type_ = "string",
        json_path = ".spec.loadBalancing"
    ),
    printcolumn(name = "Addresses", type_ = "integer", json_path = ".status.addresses"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct L2AnnouncementPolicySpec {
    /// Services the policy is for, by label; `io.kubernetes.service.name` and
    /// `io.kubernetes.service.namespace` stand for a Service's own name and namespace. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub service_selector: Option<LabelSelector>,

    /// Namespaces the policy is for, by label; both selectors must match. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,

    /// Gateways the policy is for, by label. Absent: all, unless `serviceSelector` is there and `gatewayClasses` is not. A
    /// Gateway needs a policy with `loadBalancing: XDP`: nothing else serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub gateway_selector: Option<LabelSelector>,

    /// Classes of the Gateways the policy is for. Empty: all, as for `gatewaySelector`. A policy with one of these two and
    /// no `serviceSelector` is for no Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub gateway_classes: Vec<String>,

    /// Nodes that may announce, by label. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: Option<LabelSelector>,

    /// Interfaces that may announce: regular expressions over the whole name. Empty: every eligible one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub interfaces: Vec<String>,

    /// Announce the addresses in `status.loadBalancer`, but for those in `spec.externalIPs`.
    #[serde(default = "yes", rename = "loadBalancerIPs")]
    pub load_balancer_ips: bool,

    /// Announce the addresses in `spec.externalIPs`.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: bool,

    /// Nodes that announce rather than others, while they can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub preferred_nodes: Vec<PreferredNode>,

    /// Who carries the traffic from the announcing node to the backends.
    #[serde(default)]
    pub load_balancing: LoadBalancing,

    /// How often to repeat announcements while nothing changes; `0s` is never.
    #[serde(default = "never")]
    #[schemars(length(min = 1, max = MAX_DURATION))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$')")
            .message("not a duration: write it like 30s or 5m; 0s is never"),
        validation = Rule::new(r"!self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') || duration(self) == duration('0s') || duration(self) >= duration('1s')")
            .message("too often: repeat at most once a second, or 0s for never")
    )]
    pub periodic_announcement: String,
}

const fn yes() -> bool {
    true
}

fn never() -> String {
    "0s".to_owned()
}

impl Default for L2AnnouncementPolicySpec {
    /// Every Service on every node, as the API server would default an empty spec.
    fn default() -> Self {
        Self {
            service_selector: None,
            namespace_selector: None,
            gateway_selector: None,
            gateway_classes: Vec::new(),
            node_selector: None,
            interfaces: Vec::new(),
            load_balancer_ips: true,
            external_ips: false,
            preferred_nodes: Vec::new(),
            load_balancing: LoadBalancing::default(),
            periodic_announcement: never(),
        }
    }
}

impl L2AnnouncementPolicySpec {
    /// Whether it says anything of Gateways.
    #[must_use]
    pub fn names_gateways(&self) -> bool {
        self.gateway_selector.is_some() || !self.gateway_classes.is_empty()
    }

    /// Whether Services are its business: all, unless it names Gateways alone.
    #[must_use]
    pub fn is_for_services(&self) -> bool {
        self.service_selector.is_some() || !self.names_gateways()
    }

    /// Whether Gateways are its business: all, unless it names Services alone.
    #[must_use]
    pub fn is_for_gateways(&self) -> bool {
        self.service_selector.is_none() || self.names_gateways()
    }

    /// How often announcements are repeated; `None` is never.
    ///
    /// # Errors
    /// When `periodicAnnouncement` is no duration. The API server refuses such a one; an object
    /// stored under an older definition may still have it.
    pub fn period(&self) -> Result<Option<Duration>, PeriodError> {
        let text = &self.periodic_announcement;
        let period = duration(text).ok_or_else(|| PeriodError(text.clone()))?;
        Ok((!period.is_zero()).then_some(period))
    }
}

/// `periodicAnnouncement` is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("periodicAnnouncement {} is no duration, and nothing is repeated; write it like 30s", quoted(.0))]
pub struct PeriodError(String);

/// The most characters a duration has, as the schema says.
const MAX_DURATION: usize = 16;

/// Reads what the API calls a duration: `1h30m`, `1.5s`, `0s`.
fn duration(text: &str) -> Option<Duration> {
    // The parser panics on products that no duration holds; this short there is none. Signs are for
    // durations of others.
    let fits = !text.is_empty() && text.len() <= MAX_DURATION;
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    if !fits || !plain {
        return None;
    }
    text.parse::<kube::core::Duration>().ok().map(Into::into)
}

/// Nodes to prefer, and how much.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNode {
    /// Added to the preference of the nodes that match.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,

    /// Nodes the weight is for, by label.
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: LabelSelector,
}

/// Who carries the traffic from the announcing node to the backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LoadBalancing {
    /// kube-proxy or the CNI of the announcing node.
    #[default]
    Kernel,
    /// Landfall's XDP director.
    #[serde(rename = "XDP")]
    Xdp,
}

/// What became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2AnnouncementPolicyStatus {
    /// The `metadata.generation` this is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Addresses the policy announces.
    #[serde(default)]
    pub addresses: i32,

    /// Nodes that may announce them.
    #[serde(default)]
    pub nodes: i32,

    /// `Accepted`; `DirectorReady` where `loadBalancing` is `XDP`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_the_api_writes_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for nonsense in ["", "5", "s", "-1s", "+1s", "1d", "1e400s", "ä", "1.1.1s"] {
            assert_eq!(duration(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn nought_is_never_and_nonsense_says_what_to_write() {
        let policy = |text: &str| L2AnnouncementPolicySpec {
            periodic_announcement: text.to_owned(),
            ..L2AnnouncementPolicySpec::default()
        };
        assert_eq!(policy("0s").period(), Ok(None));
        assert_eq!(policy("30s").period(), Ok(Some(Duration::from_secs(30))));
        let refused = policy("often\n").period().unwrap_err().to_string();
        assert!(refused.contains(r#""often\n" is no duration"#), "{refused}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9.a-zµ+-]{0,20}") {
            let _ = duration(&text);
        }

        #[test]
        fn the_longest_numbers_make_no_overflow(digits in "[0-9]{1,15}", unit in "ms|s|m|h") {
            let text = format!("{digits}{unit}");
            prop_assert_eq!(duration(&text).is_some(), text.len() <= MAX_DURATION);
        }
    }
}
