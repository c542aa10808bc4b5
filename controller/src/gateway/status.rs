//! What the status of a class, a Gateway, a ListenerSet or a route shall say, compared with what it says. Pure.
//!
//! `None`: it says so already, so that nothing to do writes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use landfall_crds::FrontendProtocol;
use landfall_crds::conditions::{NewCondition, find};
use landfall_crds::gateway_api::{
    self, Address, CONTROLLER, GATEWAYS_EXIST, Gateway, GatewayStatus, Listener, ListenerStatus,
    RouteGroupKind, RouteParentStatus, SupportedFeature,
};
use landfall_gateway::{
    ListenerDecision, NamespacedName, RouteKey, RouteKind, Standing, crowded, programmed,
};
use landfall_gateway::{listener, listener_set};
use landfall_ipam::address::Point;
use landfall_ipam::index::Writes;
use serde_json::{Value, json};

use super::Known;
use crate::managed::{owns, wrote};

const PROGRAMMED: &str = "Programmed";
const NO_RESOURCES: &str = "NoResources";
/// The field manager of finalizers alone: what it applies no more goes by itself.
pub const FINALIZER_MANAGER: &str = "landfall-finalizer";

/// A time for who asks only whether there is something to write.
pub(super) fn long_ago() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

fn conditions(
    new: Vec<NewCondition>,
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let new = new.into_iter();
    new.map(|one| one.condition(before, generation, now.clone()))
        .collect()
}

/// Whether what stands there has all of these just so; others' conditions are theirs.
fn has_all(live: &[Condition], ours: &[Condition]) -> bool {
    ours.iter().all(|condition| live.contains(condition))
}

/// The status of a class.
#[must_use]
pub fn class(known: &Known, name: &str, now: Time) -> Option<Value> {
    let class = known.world.classes.get(name)?;
    let decided = known.decisions.classes.get(name)?;
    let before = class
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let generation = class.metadata.generation;
    let ours = conditions(decided.conditions.clone(), before, generation, &now);
    let features = decided.features.iter().map(|name| SupportedFeature {
        name: (*name).to_owned(),
    });
    let features: Vec<SupportedFeature> = features.collect();
    let live = class.status.iter();
    let same = live
        .flat_map(|status| &status.supported_features)
        .eq(&features);
    (!same || !has_all(before, &ours))
        .then(|| json!({"conditions": ours, "supportedFeatures": features}))
}

/// What gives a class the finalizer that keeps it while a Gateway is of it, or takes our own off. Nobody can add one to what
/// is being deleted.
#[must_use]
pub fn finalizer(known: &Known, name: &str) -> Option<Value> {
    let metadata = &known.world.classes.get(name)?.metadata;
    let wanted = known.decisions.classes.get(name)?.in_use;
    let mut finalizers = metadata.finalizers.iter().flatten();
    let stands = finalizers.any(|one| one == GATEWAYS_EXIST);
    let path = format!("/f:metadata/f:finalizers/v:\"{GATEWAYS_EXIST}\"");
    let differs = if wanted {
        !stands && metadata.deletion_timestamp.is_none()
    } else {
        stands && owns(FINALIZER_MANAGER, metadata, &path)
    };
    let finalizers: &[&str] = if wanted { &[GATEWAYS_EXIST] } else { &[] };
    differs.then(|| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": name, "uid": metadata.uid, "finalizers": finalizers},
        })
    })
}

/// The status of a ListenerSet; one that adds to no Gateway of ours any more is cleared of what we wrote.
#[must_use]
pub fn listener_set(known: &Known, key: &NamespacedName, now: Time) -> Option<Value> {
    let object = known.world.listener_sets.get(key)?;
    let Some(decision) = known.decisions.listener_sets.get(key) else {
        // While nobody can say whose its Gateway is, what stands there stays.
        let parent = listener_set::gateway(key, object);
        let parent = parent.and_then(|at| known.world.gateways.get(&at));
        let waits = parent.is_some_and(|gateway| known.world.waits_for_class(gateway));
        let touched = ["conditions", "listeners"]
            .iter()
            .any(|field| wrote(&object.metadata, &format!("/f:status/f:{field}")));
        return (touched && !waits).then(|| json!({}));
    };
    let gateway = known.world.gateways.get(&decision.gateway)?;
    if known.world.waits_for_class(gateway) {
        return None;
    }
    let said = said_of(known, &decision.gateway, gateway);
    let (served, ports) = with_room(known, &decision.gateway, gateway, &said);
    let parent = |listener: &ListenerDecision| {
        let port = port_of(&object.spec.listeners, &listener.name);
        let left_out = port.is_some_and(|port| ports.contains(&port));
        served.as_ref().filter(|_| !left_out).unwrap_or(&said)
    };
    let mut parents = decision.listeners.iter().map(parent);
    let whole = parents.find(|one| one.status != Some(true));
    let whole = whole.or(served.as_ref()).unwrap_or(&said);
    let generation = decision.generation;
    let live = object.status.clone().unwrap_or_default();
    let own = vec![decision.accepted.clone(), decision.programmed(whole)];
    let own = conditions(own, &live.conditions, generation, &now);
    let listeners = listeners(
        &decision.listeners,
        parent,
        &live.listeners,
        generation,
        &now,
    );
    let same = has_all(&live.conditions, &own) && same_listeners(&live.listeners, &listeners);
    (!same).then(|| json!({"conditions": own, "listeners": listeners}))
}

/// `Programmed` of a Gateway as its status has it: it counts once it is about the spec of now and all the ListenerSets of
/// now, and the records say that all of their listeners are served.
fn said_of(known: &Known, at: &NamespacedName, gateway: &Gateway) -> NewCondition {
    let status = gateway.status.as_ref();
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let attached = status.and_then(|status| status.attached_listener_sets);
    let decision = known.decisions.gateways.get(at);
    let wanted = decision.and_then(|decision| decision.attached_sets);
    let addresses = status.map_or(&[][..], |status| &status.addresses);
    let frontends = decision.map_or(&[][..], |decision| &decision.frontends);
    let is_of_now = |one: &&Condition| {
        one.observed_generation == gateway.metadata.generation
            && attached == count(wanted)
            // Where there is no room for all of it, it waits for nothing.
            && (one.reason == NO_RESOURCES || known.is_served(addresses, frontends))
    };
    let said = find(conditions, PROGRAMMED).filter(is_of_now);
    NewCondition {
        type_: PROGRAMMED,
        status: said.and_then(|one| one.status.to_lowercase().parse().ok()),
        reason: said.map_or("Pending", |one| &one.reason).to_owned(),
        message: said
            .map_or("it is being worked on", |one| &one.message)
            .to_owned(),
    }
}

/// A port of a listener.
type Port = (u16, FrontendProtocol);

fn port_of(listeners: &[Listener], name: &str) -> Option<Port> {
    let listener = listeners.iter().find(|one| one.name == name)?;
    Some((listener.port, listener::kind(listener)?.protocol()))
}

/// What holds of the ports for which there is room where a Gateway says that there is none for all, and those others.
fn with_room(
    known: &Known,
    at: &NamespacedName,
    gateway: &Gateway,
    said: &NewCondition,
) -> (Option<NewCondition>, Vec<Port>) {
    let addresses = gateway.status.iter().flat_map(|status| &status.addresses);
    let addresses: Vec<IpAddr> = addresses.filter_map(|one| one.value.parse().ok()).collect();
    let frontends = known.decisions.gateways.get(at);
    let frontends = frontends.map_or(&[][..], |decision| &decision.frontends);
    let left_out = known.left_out(&addresses, frontends);
    match left_out.filter(|_| said.reason == NO_RESOURCES) {
        None => (None, Vec::new()),
        Some((_, ports)) => {
            let served = addresses.iter().map(|address| (*address, Ok(()))).collect();
            let decision = known.decisions.gateways.get(at);
            let served = decision.map(|one| programmed(one, &Standing::Assigned(served)));
            (served, ports)
        }
    }
}

fn count(of: Option<usize>) -> Option<i32> {
    of.map(|of| i32::try_from(of).unwrap_or(i32::MAX))
}

/// The status of a route: what is said of our parents, and what others say of theirs, as it stands.
#[must_use]
pub fn route(known: &Known, key: &RouteKey, now: Time) -> Option<Value> {
    let live = known.routes.get(key)?;
    let decided = known
        .decisions
        .routes
        .get(key)
        .map_or(&[][..], Vec::as_slice);
    let is_ours = |entry: &&RouteParentStatus| entry.controller_name == CONTROLLER;
    let before: Vec<&RouteParentStatus> = live.parents.iter().filter(is_ours).collect();
    let ours = decided.iter().map(|parent| {
        let same = |entry: &&&RouteParentStatus| entry.parent_ref == parent.parent_ref;
        let entry = before.iter().find(same);
        let before = entry.map_or(&[][..], |entry| &entry.conditions);
        RouteParentStatus {
            parent_ref: parent.parent_ref.clone(),
            controller_name: CONTROLLER.to_owned(),
            conditions: conditions(parent.conditions.clone(), before, parent.generation, &now),
        }
    });
    let ours: Vec<RouteParentStatus> = ours.collect();
    if before.iter().copied().eq(&ours) {
        return None;
    }
    let others = live.parents.iter().filter(|entry| !is_ours(entry)).cloned();
    let parents: Vec<RouteParentStatus> = others.chain(ours).collect();
    Some(json!({"parents": parents}))
}

/// The status of a Gateway for which this was planned; one that is no longer ours is cleared of what we wrote. While its
/// class is not there, nobody can say whether it is, and what stands there stays. Services share the addresses `beside`.
#[must_use]
pub fn gateway(
    known: &Known,
    at: &NamespacedName,
    writes: &Writes,
    beside: &BTreeSet<Point>,
    now: Time,
) -> Option<Value> {
    let service = writes.service.as_ref()?;
    let object = known.world.gateways.get(at)?;
    if known.world.waits_for_class(object) {
        return None;
    }
    let (Some(decision), Some(outcome)) = (known.decisions.gateways.get(at), &writes.plan.outcome)
    else {
        return service.touched.then(|| json!({}));
    };
    let nothing = GatewayStatus::default();
    let live = object.status.as_ref().unwrap_or(&nothing);
    let addresses = writes.plan.addresses(service);
    let standing = if outcome.assigned {
        // That a node answers for it is for the Service, until one says that it serves the Gateway, too. Who was served stays so.
        let was = find(&live.conditions, PROGRAMMED).is_some_and(|one| one.status == "True");
        let had = |one: &IpAddr| {
            live.addresses
                .iter()
                .any(|had| had.value == one.to_string())
        };
        let announced = addresses.iter().map(|one| {
            let at = Point::from(*one);
            let untold = beside.contains(&at) && !known.is_told(at) && !(was && had(one));
            let untold =
                untold.then(|| "no node says yet that it serves Gateways there".to_owned());
            let announced = known.announced(at);
            (*one, announced.and_then(|()| untold.map_or(Ok(()), Err)))
        });
        Standing::Assigned(announced.collect())
    } else {
        Standing::Refused(outcome.reason, outcome.message.clone())
    };
    let programmed = programmed(decision, &standing);
    let left_out = known.left_out(&addresses, &decision.frontends);
    let left_out = left_out.filter(|_| programmed.status == Some(true));
    let (crowded, ports) = left_out.map_or((None, Vec::new()), |(at, ports)| {
        (Some(crowded(at, &ports)), ports)
    });
    // Not of the object: a spec that came since then is decided before anything is said of it.
    let generation = decision.generation;
    let parent = |listener: &ListenerDecision| {
        let port = port_of(&object.spec.listeners, &listener.name);
        let crowded = crowded.as_ref();
        let crowded = crowded.filter(|_| port.is_some_and(|port| ports.contains(&port)));
        crowded.unwrap_or(&programmed)
    };
    let listeners = listeners(
        &decision.listeners,
        parent,
        &live.listeners,
        generation,
        &now,
    );
    let attached = count(decision.attached_sets);
    let programmed = crowded.as_ref().unwrap_or(&programmed).clone();
    let own = vec![decision.accepted.clone(), programmed];
    let own = conditions(own, &live.conditions, generation, &now);
    let addresses: Vec<Address> = addresses
        .iter()
        .map(|address| Address {
            type_: Some("IPAddress".to_owned()),
            value: address.to_string(),
        })
        .collect();
    // What somebody else wrote stays where we have nothing to say, as with Services.
    let same_addresses = if addresses.is_empty() {
        !service.ours || live.addresses.is_empty()
    } else {
        live.addresses == addresses
    };
    let same = has_all(&live.conditions, &own)
        && same_addresses
        && (attached.is_none() || attached == live.attached_listener_sets)
        && same_listeners(&live.listeners, &listeners);
    (!same).then(|| {
        let mut status = json!({"conditions": own, "listeners": listeners});
        if !addresses.is_empty() {
            status["addresses"] = json!(addresses);
        }
        if let Some(attached) = attached {
            status["attachedListenerSets"] = json!(attached);
        }
        status
    })
}

/// What is said of listeners, each with the `Programmed` of its parent as far as it goes for it.
fn listeners<'p>(
    decided: &[ListenerDecision],
    parent: impl Fn(&ListenerDecision) -> &'p NewCondition,
    live: &[ListenerStatus],
    generation: Option<i64>,
    now: &Time,
) -> Vec<ListenerStatus> {
    let all = decided.iter().map(|listener| {
        let before = live.iter().find(|one| one.name == listener.name);
        let before = before.map_or(&[][..], |one| &one.conditions);
        ListenerStatus {
            name: listener.name.clone(),
            supported_kinds: listener.supported_kinds.iter().copied().map(kind).collect(),
            attached_routes: i32::try_from(listener.attached).unwrap_or(i32::MAX),
            conditions: conditions(
                listener.conditions(parent(listener)),
                before,
                generation,
                now,
            ),
        }
    });
    all.collect()
}

fn kind(kind: RouteKind) -> RouteGroupKind {
    RouteGroupKind {
        group: Some(gateway_api::GROUP.to_owned()),
        kind: kind.as_str().to_owned(),
    }
}

/// Whether these listeners stand there, and no others.
fn same_listeners(live: &[ListenerStatus], ours: &[ListenerStatus]) -> bool {
    live.len() == ours.len()
        && ours.iter().all(|listener| {
            let same = |one: &&ListenerStatus| one.name == listener.name;
            live.iter().find(same).is_some_and(|one| {
                one.supported_kinds == listener.supported_kinds
                    && one.attached_routes == listener.attached_routes
                    && has_all(&one.conditions, &listener.conditions)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::super::known::LiveRoute;
    use super::*;
    use landfall_gateway::ParentDecision;
    use landfall_gateway::world::RouteKind;

    fn parent(name: &str, controller: &str, conditions: Value) -> RouteParentStatus {
        serde_json::from_value(json!({
            "parentRef": {"name": name}, "controllerName": controller, "conditions": conditions,
        }))
        .unwrap()
    }

    /// A route that has these entries, and of whose parent `edge` this is decided.
    fn known(parents: Vec<RouteParentStatus>, decided: bool) -> (Known, RouteKey) {
        let key = RouteKey {
            kind: RouteKind::Tcp,
            name: NamespacedName::new("blue", "web"),
        };
        let mut known = Known::default();
        let live = LiveRoute {
            parents,
            ..LiveRoute::default()
        };
        known.routes.insert(key.clone(), live);
        let accepted = NewCondition {
            type_: "Accepted",
            status: Some(true),
            reason: "Accepted".to_owned(),
            message: "attached".to_owned(),
        };
        let decision = ParentDecision {
            generation: Some(3),
            parent_ref: parent("edge", CONTROLLER, json!([])).parent_ref,
            conditions: vec![accepted],
        };
        if decided {
            known.decisions.routes.insert(key.clone(), vec![decision]);
        }
        (known, key)
    }

    fn said(generation: i64) -> RouteParentStatus {
        let condition = json!([{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "attached",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        parent("edge", CONTROLLER, condition)
    }

    /// A class of ours with this metadata, of which there is a Gateway or none.
    fn class_known(metadata: Value, in_use: bool) -> Known {
        let mut known = Known::default();
        let class =
            json!({"metadata": metadata, "spec": {"controllerName": gateway_api::CONTROLLER}});
        known.class_seen("c", serde_json::from_value(class).unwrap());
        if in_use {
            let gateway = json!({"metadata": {}, "spec": {"gatewayClassName": "c"}});
            let gateway: Gateway = serde_json::from_value(gateway).unwrap();
            let at = NamespacedName::new("blue", "edge");
            known.change(|world| {
                world.gateways.insert(at, gateway.into());
            });
        }
        known.decide();
        known
    }

    #[test]
    fn a_class_has_the_finalizer_while_a_gateway_is_of_it() {
        let plain = json!({"name": "c", "uid": "u"});
        assert_eq!(finalizer(&class_known(plain.clone(), false), "c"), None);
        let patch = finalizer(&class_known(plain.clone(), true), "c").unwrap();
        assert_eq!(
            patch["metadata"],
            json!({"name": "c", "uid": "u", "finalizers": [GATEWAYS_EXIST]})
        );
        // Nothing can be added to one that is being deleted.
        let mut going = plain.clone();
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(finalizer(&class_known(going, true), "c"), None);

        let mut held = plain;
        held["finalizers"] = json!([GATEWAYS_EXIST]);
        assert_eq!(finalizer(&class_known(held.clone(), true), "c"), None);
        // Somebody else's is theirs to take off.
        assert_eq!(finalizer(&class_known(held.clone(), false), "c"), None);
        let name = format!("v:\"{GATEWAYS_EXIST}\"");
        held["managedFields"] = json!([{"manager": FINALIZER_MANAGER, "operation": "Apply",
            "apiVersion": "gateway.networking.k8s.io/v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:finalizers": {name: {}}}}}]);
        let patch = finalizer(&class_known(held, false), "c").unwrap();
        assert_eq!(patch["metadata"]["finalizers"], json!([]));
    }

    #[test]
    fn a_finalizer_that_is_refused_is_told_of_and_tried_again_later() {
        let mut known = class_known(json!({"name": "c", "uid": "u"}), true);
        known.release_seen(None);
        known.hold_seen(false);
        known.decide();
        assert_eq!(known.finalizer("c"), None);
        let said = class(&known, "c", long_ago()).unwrap()["conditions"][0]["message"].clone();
        let said = said.as_str().unwrap();
        assert!(said.contains("may not patch gatewayclasses"), "{said}");
        known.hold_again();
        assert!(known.finalizer("c").is_some());
        known.hold_seen(true);
        known.decide();
        let said = class(&known, "c", long_ago()).unwrap()["conditions"][0]["message"].clone();
        assert!(!said.as_str().unwrap().contains("may not patch"), "{said}");
    }

    #[test]
    fn of_a_class_nothing_is_said_before_the_release_was_asked_for() {
        let mut known = class_known(json!({"name": "c", "uid": "u"}), false);
        known.mark_stale();
        assert!(known.pop_stale(|_| false).is_empty());
        assert!(known.release_seen(None));
        known.decide();
        known.mark_stale();
        assert_eq!(known.pop_stale(|_| false).len(), 1);
        assert!(!known.release_seen(None));
    }

    #[test]
    fn what_others_say_of_a_route_stays_as_it_is() {
        let theirs = parent("other", "example.org/theirs", json!([]));
        let (with, key) = known(vec![theirs.clone()], true);
        let status = route(&with, &key, long_ago()).unwrap();
        assert_eq!(status["parents"][0], json!(theirs));
        assert_eq!(status["parents"][1]["controllerName"], CONTROLLER);
        // Once it stands there, in whatever order, nothing is written.
        let (stands, key) = known(vec![said(3), theirs], true);
        assert_eq!(route(&stands, &key, long_ago()), None);
    }

    #[test]
    fn another_generation_is_said_without_a_transition() {
        let (known, key) = known(vec![said(2)], true);
        let status = route(&known, &key, long_ago()).unwrap();
        let condition = &status["parents"][0]["conditions"][0];
        assert_eq!(condition["observedGeneration"], 3);
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn a_parent_that_is_left_is_taken_out_and_nothing_else() {
        let theirs = parent("other", "example.org/theirs", json!([]));
        let (known, key) = known(vec![theirs.clone(), said(3)], false);
        let status = route(&known, &key, long_ago()).unwrap();
        assert_eq!(status, json!({"parents": [theirs]}));
    }
}
