//! A Gateway as the allocator sees it: a holder of addresses like a Service. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use landfall_crds::FrontendProtocol;
use landfall_crds::gateway_api::Gateway;
use landfall_crds::text::quoted;
use landfall_gateway::{GatewayDecision, NamespacedName};
use landfall_ipam::address::unusable;
use landfall_ipam::request::Request;
use landfall_ipam::service::{FamilyPolicy, Labels, Protocol};
use landfall_ipam::{Family, HolderKey, PoolName, Reason, Refusal, Service};

use super::{LiveService, Writers, wrote};

/// How many addresses the API lets the status of a Gateway name.
const MAX_ADDRESSES: usize = 16;
/// Where a Gateway names addresses.
const ADDRESSES: &str = "spec.addresses";

/// The key of a Gateway among the holders.
pub(crate) fn key(gateway: &NamespacedName) -> HolderKey {
    HolderKey::gateway(&gateway.namespace, &gateway.name)
}

/// What the allocator knows of a Gateway; without a decision it is none of ours, and wants nothing.
pub(crate) fn service(
    at: &NamespacedName,
    gateway: &Gateway,
    decision: Option<&GatewayDecision>,
) -> Service {
    let metadata = &gateway.metadata;
    let request = match decision {
        Some(decision) => request(gateway, decision),
        None => Ok(Request::default()),
    };
    let families = families(request.as_ref().ok(), decision);
    let status = gateway.status.iter().flat_map(|status| &status.addresses);
    let frontends = decision.map_or(Vec::new(), |decision| decision.frontends.clone());
    Service {
        key: key(at),
        uid: metadata.uid.clone().unwrap_or_default(),
        created: metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
        wanted: decision.is_some(),
        labels: labels(gateway),
        gateway_class: Some(gateway.spec.gateway_class_name.clone()),
        request,
        policy: FamilyPolicy::PreferDualStack,
        families,
        ports: frontends
            .iter()
            .map(|frontend| {
                let protocol = match frontend.protocol {
                    FrontendProtocol::Tcp => Protocol::Tcp,
                    FrontendProtocol::Udp => Protocol::Udp,
                };
                (protocol, frontend.port)
            })
            .collect(),
        frontends,
        local: false,
        selector: Labels::new(),
        cluster: Vec::new(),
        external: Vec::new(),
        status: status.filter_map(|one| one.value.parse().ok()).collect(),
        hosts: Vec::new(),
        ours: has_ours(gateway),
        touched: touched(metadata),
        notes: Vec::new(),
    }
}

/// Whether the addresses in its status are ours.
pub(crate) fn has_ours(gateway: &Gateway) -> bool {
    wrote(&gateway.metadata, "/f:status/f:addresses")
}

/// Whether its status says anything of ours. What was cleared still names us as one who wrote the status, with nothing in it.
fn touched(metadata: &ObjectMeta) -> bool {
    ["addresses", "conditions", "listeners"]
        .into_iter()
        .any(|field| wrote(metadata, &format!("/f:status/f:{field}")))
}

/// What is kept of a Gateway beside what the allocator knows.
pub(crate) fn live(gateway: &Gateway) -> LiveService {
    LiveService {
        uid: gateway.metadata.uid.clone().unwrap_or_default(),
        version: gateway
            .metadata
            .resource_version
            .clone()
            .unwrap_or_default(),
        generation: gateway.metadata.generation,
        ingress: Vec::new(),
        conditions: gateway
            .status
            .as_ref()
            .map(|status| status.conditions.clone())
            .unwrap_or_default(),
        writers: Writers::default(),
    }
}

/// Labels by which pools choose: the Gateway's own, and those for what is made for it.
fn labels(gateway: &Gateway) -> Labels {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let mut all = infrastructure.map_or_else(Labels::new, |all| all.labels.clone());
    all.extend(gateway.metadata.labels.clone().unwrap_or_default());
    all
}

/// One address of each family that can be had, unless addresses are named and nothing else is asked for.
fn families(request: Option<&Request>, decision: Option<&GatewayDecision>) -> Vec<Family> {
    let any =
        decision.is_none_or(|decision| decision.asked.as_ref().map_or(true, |asked| asked.any > 0));
    let named: Vec<Family> = Family::ALL
        .into_iter()
        .filter(|family| {
            let mut addresses = request.into_iter().flat_map(|request| &request.addresses);
            addresses.any(|address| Family::of(*address) == *family)
        })
        .collect();
    if any || named.is_empty() {
        Family::ALL.to_vec()
    } else {
        named
    }
}

/// What a Gateway asks for: in `spec.addresses`, by annotations as Services do, and by its class.
fn request(gateway: &Gateway, decision: &GatewayDecision) -> Result<Request, Refusal> {
    let invalid = |message: String| Refusal::new(Reason::InvalidRequest, message);
    if !decision.is_accepted() {
        return Err(invalid(decision.accepted.message.clone()));
    }
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let mut annotations: BTreeMap<String, String> =
        infrastructure.map_or_else(BTreeMap::new, |all| all.annotations.clone());
    annotations.extend(gateway.metadata.annotations.clone().unwrap_or_default());
    let mut request = Request::read(&annotations, None)?;
    let asked = decision
        .asked
        .as_ref()
        .map_err(|why| invalid(why.clone()))?;
    for address in &asked.addresses {
        add(&mut request, *address)?;
    }
    let named = request.addresses.len();
    let wanted = families(Some(&request), Some(decision));
    let is_named = |family: &Family| {
        let mut addresses = request.addresses.iter();
        addresses.any(|address| Family::of(*address) == *family)
    };
    let any = wanted.iter().filter(|family| !is_named(family)).count();
    if named + any > MAX_ADDRESSES {
        return Err(invalid(format!(
            "asks for {} addresses in {ADDRESSES} and by annotations, and the status of a Gateway has room for {MAX_ADDRESSES}; \
             remove some",
            named + any
        )));
    }
    let Some(pool) = decision.pool.as_deref().map(PoolName::from) else {
        return Ok(request);
    };
    if request.pools.is_empty() {
        request.pools.push(pool);
    } else if !request.pools.contains(&pool) {
        return Err(invalid(format!(
            "landfall.dev/pool names another pool than GatewayClass {}, whose Gateways have addresses of pool {} only; \
             remove the annotation, or use another class",
            gateway.spec.gateway_class_name,
            quoted(pool.as_str())
        )));
    }
    Ok(request)
}

fn add(request: &mut Request, address: IpAddr) -> Result<(), Refusal> {
    if let Some(kind) = unusable(address) {
        return Err(Refusal::new(
            Reason::InvalidRequest,
            format!(
                "{ADDRESSES}: {address} is {kind}, which no Gateway can have; ask for an address of a pool"
            ),
        ));
    }
    if !request.addresses.contains(&address) {
        request.addresses.push(address);
        request.fields.entry(address).or_insert(ADDRESSES);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landfall_gateway::World;
    use serde_json::{Value, json};

    use super::*;

    /// What the allocator knows of a Gateway of a class with these parameters.
    fn known(parameters: Value, metadata: Value, mut spec: Value) -> Service {
        let mut world = World::default();
        world.pools.insert("public".to_owned());
        let class = json!({"metadata": {}, "spec": {
            "controllerName": "landfall.dev/gateway-controller", "parametersRef": parameters}});
        let class = serde_json::from_value(class).unwrap();
        world.classes.insert("internet".to_owned(), Arc::new(class));
        spec["gatewayClassName"] = json!("internet");
        spec["listeners"] = json!([{"name": "one", "port": 80, "protocol": "TCP"}]);
        let gateway: Gateway =
            serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let at = NamespacedName::new("blue", "edge");
        world.gateways.insert(at.clone(), Arc::new(gateway.clone()));
        let decisions = landfall_gateway::decide(&world);
        service(&at, &gateway, decisions.gateways.get(&at))
    }

    fn plain(spec: Value) -> Service {
        known(Value::Null, json!({}), spec)
    }

    #[test]
    fn without_addresses_it_asks_for_one_of_each_family_and_with_some_for_those_alone() {
        assert_eq!(plain(json!({})).families, Family::ALL);
        let any = json!({"addresses": [{"type": "IPAddress"}]});
        assert_eq!(plain(any).families, Family::ALL);
        let named = json!({"addresses": [{"value": "2001:db8::1"}]});
        assert_eq!(plain(named).families, [Family::V6]);
        let both = json!({"addresses": [{"value": "2001:db8::1"}, {"type": "IPAddress"}]});
        let both = plain(both);
        assert_eq!(both.families, Family::ALL);
        assert_eq!(both.request.unwrap().addresses.len(), 1);
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_by_field() {
        let refusal = plain(json!({"addresses": [{"value": "127.0.0.1"}]}))
            .request
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidRequest);
        assert!(
            refusal.message.starts_with("spec.addresses: 127.0.0.1 is"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn the_pool_of_its_class_is_asked_for_and_no_annotation_names_another() {
        let pool = json!({"group": "landfall.dev", "kind": "LoadBalancerIPPool", "name": "public"});
        let public = PoolName::from("public");
        let of = |annotations: Value| {
            known(pool.clone(), json!({"annotations": annotations}), json!({})).request
        };
        assert_eq!(of(json!({})).unwrap().pools, std::slice::from_ref(&public));
        assert_eq!(
            of(json!({"landfall.dev/pool": "public"})).unwrap().pools,
            [public]
        );
        let refusal = of(json!({"landfall.dev/pool": "other"})).unwrap_err();
        assert!(
            refusal.message.contains("GatewayClass internet"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn what_is_for_the_things_made_for_it_counts_where_it_says_nothing_itself() {
        let infrastructure = json!({"infrastructure": {
            "labels": {"tier": "gold", "zone": "dmz"},
            "annotations": {"landfall.dev/sharing-key": "theirs"},
        }});
        let service = known(
            Value::Null,
            json!({"labels": {"tier": "own"}}),
            infrastructure,
        );
        assert_eq!(service.labels["tier"], "own");
        assert_eq!(service.labels["zone"], "dmz");
        assert_eq!(service.request.unwrap().sharing.unwrap().key, "theirs");
    }

    #[test]
    fn more_addresses_than_a_status_has_room_for_are_refused() {
        let of = |named: usize, annotated: usize, any: bool| {
            let mut addresses: Vec<Value> = (0..named)
                .map(|n| json!({"value": format!("192.0.2.{n}")}))
                .collect();
            addresses.extend(any.then(|| json!({})));
            let texts = (0..annotated).map(|n| format!("198.51.100.{n}"));
            let texts: Vec<String> = texts.collect();
            let annotations = json!({"landfall.dev/ips": texts.join(",")});
            let metadata = json!({"annotations": annotations});
            known(Value::Null, metadata, json!({"addresses": addresses})).request
        };
        assert_eq!(of(8, 8, false).unwrap().addresses.len(), 16);
        for (named, annotated, any) in [(9, 8, false), (8, 8, true)] {
            let refusal = of(named, annotated, any).unwrap_err();
            assert!(
                refusal
                    .message
                    .starts_with("asks for 17 addresses in spec.addresses"),
                "{}",
                refusal.message
            );
        }
    }
}
