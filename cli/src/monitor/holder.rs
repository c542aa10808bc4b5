//! What happens to the addresses of a Service or a Gateway, as it says so itself. Pure.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_controller::gateway::Gateway;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, SERVICE_ANNOUNCED, find};

use super::address::{Change, condition};
use crate::ips::is_balanced;

/// As much of a Service or a Gateway as is told of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Holder {
    /// It is one of those that are ours to serve.
    pub(super) is_ours: bool,
    pub(super) addresses: Vec<String>,
    /// The class of a Gateway.
    pub(super) class: Option<String>,
    conditions: Vec<Condition>,
}

impl Holder {
    pub(super) fn of_service(service: &Service) -> Self {
        let status = service.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
        let addresses = ingress.into_iter().flatten().filter_map(|point| point.ip);
        // One that only has external IPs is announced, too.
        let is_told = find(&conditions, SERVICE_ANNOUNCED).is_some();
        Self {
            is_ours: is_balanced(service) || is_told,
            addresses: addresses.collect(),
            class: None,
            conditions: of_types(conditions, &[ADDRESS_ASSIGNED, SERVICE_ANNOUNCED]),
        }
    }

    /// Whether it is ours its class says, which the caller knows.
    pub(super) fn of_gateway(gateway: &Gateway) -> Self {
        let status = gateway.status.clone().unwrap_or_default();
        let addresses = status.addresses.into_iter().map(|address| address.value);
        Self {
            is_ours: true,
            addresses: addresses.collect(),
            class: Some(gateway.spec.gateway_class_name.clone()),
            conditions: of_types(status.conditions, &["Accepted", "Programmed"]),
        }
    }
}

fn of_types(mut conditions: Vec<Condition>, types: &[&str]) -> Vec<Condition> {
    conditions.retain(|condition| types.contains(&condition.type_.as_str()));
    conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    conditions
}

/// What happened between the two.
pub(super) fn changes(before: Option<&Holder>, now: Option<&Holder>) -> Vec<Change> {
    let Some(now) = now else {
        return before
            .filter(|before| before.is_ours)
            .map(|before| Change::new("gone", format!("before, {}", has(before))))
            .into_iter()
            .collect();
    };
    let nothing = Holder::default();
    let before = before.unwrap_or(&nothing);
    if !before.is_ours && !now.is_ours {
        return Vec::new();
    }
    let mut changes = Vec::new();
    if before.addresses != now.addresses {
        let words = match before.addresses.is_empty() {
            true => has(now),
            false => format!("{}; before, {}", has(now), has(before)),
        };
        changes.push(Change::new("addresses", words));
    }
    let all = before.conditions.iter().chain(&now.conditions);
    let mut types: Vec<&str> = all.map(|condition| condition.type_.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    changes.extend(
        types
            .into_iter()
            .filter_map(|type_| condition(&before.conditions, type_, find(&now.conditions, type_))),
    );
    changes
}

fn has(holder: &Holder) -> String {
    match holder.addresses.as_slice() {
        [] => "it has no address".to_owned(),
        all => format!("it has {}", all.join(", ")),
    }
}
