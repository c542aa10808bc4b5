//! The addresses: who holds each, which node answers for it, since when.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use landfall_crds::conditions::{
    ADDRESS_CONFLICT, ANNOUNCED, OUT_OF_POOL, SERVICE_ANNOUNCED, find,
};
use landfall_crds::{LOAD_BALANCER_CLASS, LoadBalancerIP};
use serde::Serialize;

use crate::picture::Picture;
use crate::words::{age, or_none, table};

/// Where an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum State {
    /// A node answers for it.
    Announced,
    /// It has a holder, and nobody answers.
    Silent,
    /// A foreign host uses it.
    Conflict,
    /// It is kept for a holder to come.
    Reserved,
    /// Nobody holds it, and nothing keeps it: it goes.
    Released,
    /// Only its Service could be read, and that does not say.
    Unknown,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ip {
    pub(crate) address: String,
    /// `namespace/name`; a Gateway's begins with its kind.
    pub(crate) holders: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reserved_for: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) standby: Option<String>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) since: Option<String>,
    #[serde(skip)]
    age: String,
    pub(crate) state: State,
    /// Why it is not announced, or what else is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// The addresses in their order, of one namespace or of all. Where records cannot be read, what the Services say of
/// themselves.
pub(crate) fn ips(picture: &Picture, namespace: Option<&str>, now: Timestamp) -> Vec<Ip> {
    let mut all: Vec<Ip> = if picture.records.is_seen() {
        let of = |record: &&LoadBalancerIP| match namespace {
            None => true,
            Some(namespace) => {
                let kept = record.spec.reserved_for.iter();
                let kept = kept.map(|kept| kept.namespace.as_str());
                let holders = record.spec.holders.iter();
                let mut all = holders.map(|holder| holder.namespace.as_str()).chain(kept);
                all.any(|of| of == namespace)
            }
        };
        let records = picture.records.all().iter().filter(of);
        records
            .map(|record| of_record(record, picture.services.all(), now))
            .collect()
    } else {
        let services = picture.services.all().iter();
        let of = services.filter(|service| {
            namespace.is_none_or(|of| service.metadata.namespace.as_deref() == Some(of))
        });
        of.flat_map(of_service).collect()
    };
    all.sort_by_key(|ip| {
        let address = ip.address.parse::<std::net::IpAddr>().ok();
        (address, ip.address.clone())
    });
    all
}

/// What the record says, and where it says nothing the Service that holds it.
pub(crate) fn of_record(record: &LoadBalancerIP, services: &[Service], now: Timestamp) -> Ip {
    let spec = &record.spec;
    let status = record.status.clone().unwrap_or_default();
    let owner = status.owner.as_ref();
    let condition = |type_: &str| find(&status.conditions, type_);
    let is = |type_: &str| condition(type_).filter(|condition| condition.status == "True");
    let conflict = is(ADDRESS_CONFLICT);
    let of_service = spec.holders.iter().find_map(|holder| {
        let mut services = services.iter();
        let service = services.find(|service| {
            holder.kind == "Service"
                && service.metadata.namespace.as_ref() == Some(&holder.namespace)
                && service.metadata.name.as_ref() == Some(&holder.name)
        })?;
        let conditions = service.status.as_ref()?.conditions.as_ref()?;
        let said = find(conditions, SERVICE_ANNOUNCED)?;
        (said.status != "True").then(|| said.message.clone())
    });
    let (state, why) = match () {
        () if spec.holders.is_empty() && spec.reserved_for.is_some() => (State::Reserved, None),
        () if spec.holders.is_empty() => (State::Released, None),
        () if conflict.is_some() => (State::Conflict, conflict.map(|c| c.message.clone())),
        () if owner.is_some() && is(ANNOUNCED).is_some() => (State::Announced, None),
        () => {
            let said = condition(ANNOUNCED).filter(|said| said.status != "True");
            let said = said.map(|said| said.message.clone()).or(of_service);
            (State::Silent, said)
        }
    };
    let out = is(OUT_OF_POOL).map(|condition| format!("out of pool: {}", condition.message));
    let why: Vec<String> = why.into_iter().chain(out).collect();
    let said = |kind: &str, namespace: &str, name: &str| match kind {
        "Service" => format!("{namespace}/{name}"),
        kind => format!("{kind} {namespace}/{name}"),
    };
    Ip {
        address: spec.address.clone(),
        holders: spec
            .holders
            .iter()
            .map(|holder| said(&holder.kind, &holder.namespace, &holder.name))
            .collect(),
        reserved_for: spec
            .reserved_for
            .as_ref()
            .map(|kept| said(&kept.kind, &kept.namespace, &kept.name)),
        pool: spec.pool_ref.as_ref().map(|pool| pool.name.clone()),
        node: owner.map(|owner| owner.node.clone()),
        standby: owner.and_then(|owner| owner.standby.clone()),
        interfaces: status.interfaces,
        since: owner
            .and_then(|owner| owner.since.as_ref())
            .map(|since| since.0.to_string()),
        age: owner.map_or_else(String::new, |owner| age(owner.since.as_ref(), now)),
        state,
        why: (!why.is_empty()).then(|| why.join("; ")),
    }
}

/// Whether a Service is one of a load balancer that could be ours.
pub(crate) fn is_balanced(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
        && class.is_none_or(|class| class == LOAD_BALANCER_CLASS)
}

fn of_service(service: &Service) -> Vec<Ip> {
    let status = service.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let said = find(&conditions, SERVICE_ANNOUNCED);
    let (state, why) = match said.map(|said| (said.status.as_str(), said)) {
        Some(("True", _)) => (State::Announced, None),
        Some((_, said)) if said.reason == "AddressConflict" => {
            (State::Conflict, Some(said.message.clone()))
        }
        Some((_, said)) => (State::Silent, Some(said.message.clone())),
        None => (State::Unknown, None),
    };
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
    let addresses = ingress.into_iter().flatten().filter_map(|point| point.ip);
    let name = format!(
        "{}/{}",
        service.metadata.namespace.as_deref().unwrap_or_default(),
        service.metadata.name.as_deref().unwrap_or_default()
    );
    addresses
        .filter(|_| is_balanced(service))
        .map(|address| Ip {
            address,
            holders: vec![name.clone()],
            reserved_for: None,
            pool: None,
            node: None,
            standby: None,
            interfaces: Vec::new(),
            since: None,
            age: String::new(),
            state,
            why: why.clone(),
        })
        .collect()
}

/// For people.
pub(crate) fn draw(ips: &[Ip]) -> String {
    if ips.is_empty() {
        return "No addresses.\n".to_owned();
    }
    let heading = [
        "ADDRESS",
        "HOLDER",
        "POOL",
        "STATE",
        "NODE",
        "STANDBY",
        "INTERFACE",
        "SINCE",
    ];
    let rows: Vec<Vec<String>> = ips
        .iter()
        .map(|ip| {
            let holder = match (ip.holders.as_slice(), &ip.reserved_for) {
                ([], Some(kept)) => format!("kept for {kept}"),
                ([], None) => or_none(""),
                (holders, _) => holders.join(", "),
            };
            vec![
                ip.address.clone(),
                holder,
                or_none(ip.pool.clone().unwrap_or_default()),
                format!("{:?}", ip.state),
                or_none(ip.node.clone().unwrap_or_default()),
                or_none(ip.standby.clone().unwrap_or_default()),
                or_none(ip.interfaces.join(",")),
                or_none(&*ip.age),
            ]
        })
        .collect();
    let mut out = table(&heading, &rows);
    for ip in ips {
        if let Some(why) = &ip.why {
            out.push_str(&format!("✗ {}\n", crate::words::about(&ip.address, why)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::picture::{Hidden, Sight};

    fn at() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn record(address: &str, spec: Value, status: Value) -> LoadBalancerIP {
        let mut object = json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
            "metadata": {"name": address.replace('.', "-")},
            "spec": {"address": address, "poolRef": {"name": "public"}}, "status": status,
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn held_by(name: &str) -> Value {
        json!({"kind": "Service", "namespace": "blue", "name": name, "uid": name})
    }

    fn silent(name: &str, message: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": "blue", "name": name},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]},
                "conditions": [condition("landfall.dev/Announced", "False", "NoPolicy", message)]},
        }))
        .unwrap()
    }

    fn picture() -> Picture {
        let owner = json!({"node": "node-2", "session": "s", "since": "2026-01-01T00:59:00Z", "standby": "node-3", "transitions": 1});
        let records = vec![
            record(
                "192.0.2.10",
                json!({"holders": [held_by("web")]}),
                json!({}),
            ),
            record(
                "192.0.2.9",
                json!({"holders": [held_by("api"), held_by("dns")], "sharingKey": "k"}),
                json!({"owner": owner, "interfaces": ["eth0"], "conditions": [
                    condition("Announced", "True", "Announced", "node node-2 answers"),
                    condition("OutOfPool", "True", "NotCovered", "pool public no longer covers it")]}),
            ),
            record(
                "192.0.2.11",
                json!({"reservedFor": {"kind": "Service", "namespace": "green", "name": "to-come"}}),
                json!({}),
            ),
            record(
                "192.0.2.12",
                json!({"holders": [held_by("taken")]}),
                json!({"conditions": [
                condition("AddressConflict", "True", "ForeignHost", "02:00:00:00:00:99 answers for 192.0.2.12")]}),
            ),
        ];
        Picture {
            records: Sight::Seen(records),
            services: Sight::Seen(vec![silent(
                "web",
                "192.0.2.10: no policy selects it; apply an L2AnnouncementPolicy",
            )]),
            ..Picture::default()
        }
    }

    #[test]
    fn every_address_says_who_holds_it_and_who_answers_or_why_nobody_does() {
        insta::assert_snapshot!(draw(&ips(&picture(), None, at())));
    }

    #[test]
    fn a_namespace_has_what_its_objects_hold_and_what_is_kept_for_them() {
        let green = ips(&picture(), Some("green"), at());
        assert_eq!(green.len(), 1);
        assert_eq!(green[0].state, State::Reserved);
    }

    #[test]
    fn who_may_read_services_alone_sees_what_these_say() {
        let mut picture = picture();
        picture.records = Sight::Hidden(Hidden::Forbidden);
        insta::assert_snapshot!(draw(&ips(&picture, None, at())));
    }
}
