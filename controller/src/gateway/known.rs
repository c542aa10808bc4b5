//! What is known of the Gateway API, and what was decided of it last.
//!
//! Pure. The whole world is decided at once, when something of it has changed: a decision is cheap, and whom a change
//! could reach needs not be told. What differs from before is handed on: Gateways to the allocator, classes and routes to
//! the writer of their status.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_crds::conditions::{ANNOUNCED, GATEWAYS_SERVED, find};
use landfall_crds::gateway_api::{Address, GatewayClass, ListenerSet, RouteParentStatus};
use landfall_crds::version::{Stamped, supersedes};
use landfall_crds::{Frontend, FrontendProtocol, MAX_FRONTENDS};
use landfall_gateway::world::Backing;
use landfall_gateway::{Decisions, NamespacedName, Route, RouteKey, World};
use landfall_ipam::address::Point;
use landfall_ipam::service::Labels;
use serde_json::Value;

use super::{Marks, status};

/// What has a status that its own writer writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A class, by name.
    Class(String),
    /// A ListenerSet.
    ListenerSet(NamespacedName),
    /// A route.
    Route(RouteKey),
    /// The record of an address, as far as it has what Gateways' infrastructure says.
    Record(Point),
}

/// As much of a route as its status takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveRoute {
    pub uid: String,
    pub version: String,
    pub parents: Vec<RouteParentStatus>,
}

impl Stamped for LiveRoute {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> &str {
        &self.version
    }
}

/// As much of a record as Gateways' infrastructure says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRecord {
    pub uid: String,
    pub marks: Marks,
}

/// The world of the Gateway API, and the decision about it.
#[derive(Debug, Default)]
pub struct Known {
    pub world: World,
    pub decisions: Decisions,
    /// The routes' statuses as last seen.
    pub routes: BTreeMap<RouteKey, LiveRoute>,
    /// The records as last seen.
    pub records: BTreeMap<Point, LiveRecord>,
    /// What the records say is served for Gateways, where they say anything.
    served: BTreeMap<Point, BTreeSet<Frontend>>,
    /// Whether a record's address is answered for, and if not, why not.
    announced: BTreeMap<Point, Result<(), String>>,
    /// Of which of them it is said whether Gateways are served, too.
    told: BTreeSet<Point>,
    /// Whose status says something else than what was decided.
    stale: BTreeSet<Subject>,
    /// What is being written, or is to be tried again.
    pub open: BTreeSet<Subject>,
    /// The world has changed since it was decided.
    changed: bool,
    /// Of which release the definitions are was asked: until then nothing is said of a class, which would be said anew.
    release_asked: bool,
    /// The finalizer of classes was refused, and is not tried again yet.
    hold_refused: bool,
}

impl Known {
    /// Nothing is left to decide or to write.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        !self.changed && self.stale.is_empty() && self.open.is_empty()
    }

    /// Whether there is something to decide, or to write.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.changed || !self.stale.is_empty()
    }

    /// Changes the world; it is decided anew before anything follows from it.
    pub fn change(&mut self, change: impl FnOnce(&mut World)) {
        change(&mut self.world);
        self.changed = true;
    }

    /// Decides what has changed, and says what was decided before; `None`: there is nothing to decide.
    pub fn decide(&mut self) -> Option<Decisions> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let decisions = landfall_gateway::decide(&self.world);
        Some(std::mem::replace(&mut self.decisions, decisions))
    }

    /// Whose status says something else than what was decided now.
    pub fn mark_stale(&mut self) {
        let classes = self.decisions.classes.keys();
        let classes = classes.filter(|name| self.class_speaks_otherwise(name));
        let sets = self.world.listener_sets.keys();
        let sets = sets.filter(|key| status::listener_set(self, key, status::long_ago()).is_some());
        let routes = self.routes.keys().filter(|key| self.speaks_otherwise(key));
        let stale: Vec<Subject> = classes
            .cloned()
            .map(Subject::Class)
            .chain(sets.cloned().map(Subject::ListenerSet))
            .chain(routes.cloned().map(Subject::Route))
            .collect();
        self.stale.extend(stale);
    }

    fn class_speaks_otherwise(&self, name: &str) -> bool {
        let differs = status::class(self, name, status::long_ago()).is_some()
            || self.finalizer(name).is_some();
        self.release_asked && differs
    }

    /// The finalizer to write of a class, unless that was refused just now.
    pub fn finalizer(&self, name: &str) -> Option<Value> {
        status::finalizer(self, name).filter(|_| !self.hold_refused)
    }

    /// The finalizer of a class was written, or we may not write it: then the classes say so.
    pub fn hold_seen(&mut self, may: bool) {
        self.hold_refused = !may;
        if self.world.may_not_hold == may {
            self.change(|world| world.may_not_hold = !may);
        }
    }

    /// What was refused may be granted by now.
    pub fn hold_again(&mut self) {
        self.hold_refused = false;
        self.mark_stale();
    }

    /// The release of the definitions was asked for, and could be learnt or not; whether that is news.
    pub fn release_seen(&mut self, release: Option<String>) -> bool {
        let asked = std::mem::replace(&mut self.release_asked, true);
        if asked && self.world.bundle == release {
            return false;
        }
        self.change(|world| world.bundle = release);
        true
    }

    /// Whether a kind of the API, by its plural, may be read. Returns whether that is news.
    pub fn kind_seen(&mut self, plural: &'static str, readable: bool) -> bool {
        if self.world.hidden.contains(plural) != readable {
            return false;
        }
        self.change(|world| {
            if readable {
                world.hidden.remove(plural);
            } else {
                world.hidden.insert(plural);
            }
        });
        true
    }

    /// What a record says is served; whether that is news.
    pub fn served_seen(&mut self, at: Point, frontends: &[Frontend]) -> bool {
        let served: BTreeSet<Frontend> = frontends.iter().cloned().collect();
        if served.is_empty() {
            return self.served.remove(&at).is_some();
        }
        self.served.insert(at, served.clone()) != Some(served)
    }

    /// The first of these addresses whose record is full and has no room for some of this, with the ports that are left out.
    #[must_use]
    pub fn left_out(
        &self,
        addresses: &[IpAddr],
        frontends: &[Frontend],
    ) -> Option<(IpAddr, Vec<(u16, FrontendProtocol)>)> {
        let port = |one: &Frontend| (one.port, one.protocol);
        addresses.iter().find_map(|address| {
            let served = self.served.get(&Point::from(*address))?;
            if served.len() < MAX_FRONTENDS {
                return None;
            }
            let served: BTreeSet<_> = served.iter().map(port).collect();
            let ours = frontends.iter().map(port);
            let left_out: Vec<_> = ours.filter(|one| !served.contains(one)).collect();
            (!left_out.is_empty()).then_some((*address, left_out))
        })
    }

    /// Whether the records of these addresses say that all of this is served.
    #[must_use]
    pub fn is_served(&self, addresses: &[Address], frontends: &[Frontend]) -> bool {
        let points = addresses.iter().filter_map(|address| {
            let address: IpAddr = address.value.parse().ok()?;
            Some(Point::from(address))
        });
        let mut served = points.map(|at| self.served.get(&at));
        frontends.is_empty()
            || served.all(|served| {
                served.is_some_and(|served| frontends.iter().all(|one| served.contains(one)))
            })
    }

    /// The ListenerSets of a Gateway may say something else now.
    pub fn sets_again(&mut self, gateway: &NamespacedName) {
        let sets = self.decisions.listener_sets.iter();
        let sets = sets.filter(|(_, decision)| decision.gateway == *gateway);
        self.stale
            .extend(sets.map(|(key, _)| Subject::ListenerSet(key.clone())));
    }

    /// A Service as routes see it.
    pub fn service_seen(&mut self, key: &NamespacedName, service: Option<&Service>) {
        let backing = service.map(backing);
        if self.world.services.get(key) == backing.as_ref() {
            return;
        }
        self.change(|world| match backing {
            Some(backing) => {
                world.services.insert(key.clone(), backing);
            }
            None => {
                world.services.remove(key);
            }
        });
    }

    /// A pool came, or went.
    pub fn pool_seen(&mut self, name: &str, there: bool) {
        if self.world.pools.contains(name) == there {
            return;
        }
        self.change(|world| {
            if there {
                world.pools.insert(name.to_owned());
            } else {
                world.pools.remove(name);
            }
        });
    }

    /// The labels of a namespace were seen; `None`: it is gone.
    pub fn namespace_seen(&mut self, name: &str, labels: Option<&Labels>) {
        if self.world.namespaces.get(name) == labels {
            return;
        }
        self.change(|world| match labels {
            Some(labels) => {
                world.namespaces.insert(name.to_owned(), labels.clone());
            }
            None => {
                world.namespaces.remove(name);
            }
        });
    }

    /// A class was seen.
    pub fn class_seen(&mut self, name: &str, class: GatewayClass) {
        let known = self.world.classes.get(name);
        if known.is_some_and(|known| !supersedes(&class, &**known)) {
            return;
        }
        self.change(|world| {
            world.classes.insert(name.to_owned(), class.into());
        });
    }

    /// The status of a class was written. An answer never brings back what its watch saw go, nor an older state.
    pub fn class_answered(&mut self, name: &str, class: GatewayClass) {
        let known = self.world.classes.get(name);
        if known.is_some_and(|known| known.uid() == class.uid()) {
            self.class_seen(name, class);
        }
    }

    /// A ListenerSet was seen.
    pub fn listener_set_seen(&mut self, key: &NamespacedName, set: ListenerSet) {
        let known = self.world.listener_sets.get(key);
        if known.is_some_and(|known| !supersedes(&set, &**known)) {
            return;
        }
        self.change(|world| {
            world.listener_sets.insert(key.clone(), set.into());
        });
    }

    /// The status of a ListenerSet was written; what holds of classes holds here.
    pub fn listener_set_answered(&mut self, key: &NamespacedName, set: ListenerSet) {
        let known = self.world.listener_sets.get(key);
        if known.is_some_and(|known| known.uid() == set.uid()) {
            self.listener_set_seen(key, set);
        }
    }

    /// The status of a route was written; what holds of classes holds here.
    pub fn route_answered(&mut self, key: &RouteKey, route: Route, live: LiveRoute) {
        let known = self.routes.get(key);
        if known.is_some_and(|known| known.uid == live.uid) {
            self.route_seen(key, Some((route, live)));
        }
    }

    /// A route was seen; `None`: it is gone.
    pub fn route_seen(&mut self, key: &RouteKey, route: Option<(Route, LiveRoute)>) {
        let Some((route, live)) = route else {
            self.routes.remove(key);
            self.change(|world| {
                world.routes.remove(key);
            });
            return;
        };
        let known = self.routes.get(key);
        if known.is_some_and(|known| !supersedes(&live, known)) {
            return;
        }
        self.routes.insert(key.clone(), live);
        // A status of its own changes nothing that is decided, but may have to be written again.
        if self
            .world
            .routes
            .get(key)
            .is_some_and(|known| **known == route)
        {
            if self.speaks_otherwise(key) {
                self.stale.insert(Subject::Route(key.clone()));
            }
            return;
        }
        self.change(|world| {
            world.routes.insert(key.clone(), Arc::new(route));
        });
    }

    fn speaks_otherwise(&self, key: &RouteKey) -> bool {
        status::route(self, key, status::long_ago()).is_some()
    }

    /// What a record says of its announcement. Returns whether that is news.
    pub fn announced_seen(&mut self, at: Point, conditions: &[Condition]) -> bool {
        let said = find(conditions, ANNOUNCED).map(|condition| {
            // It may be announced for a Service that shares it, and nobody serves the Gateway.
            let served = find(conditions, GATEWAYS_SERVED).into_iter();
            let all = [condition].into_iter().chain(served);
            let mut no = all.filter(|one| one.status != "True");
            no.next().map_or(Ok(()), |no| Err(no.message.clone()))
        });
        let told = find(conditions, GATEWAYS_SERVED).is_some();
        let told = if told {
            self.told.insert(at)
        } else {
            self.told.remove(&at)
        };
        let news = match said {
            Some(said) => self.announced.insert(at, said.clone()) != Some(said),
            None => self.announced.remove(&at).is_some(),
        };
        news || told
    }

    /// Whether an address is answered for, and if not, why not.
    pub fn announced(&self, at: Point) -> Result<(), String> {
        let said = self.announced.get(&at).cloned();
        said.unwrap_or_else(|| Err("no node answers for it yet".to_owned()))
    }

    /// Whether it is said of an address that Services share if Gateways are served there, too.
    #[must_use]
    pub fn is_told(&self, at: Point) -> bool {
        self.told.contains(&at)
    }

    /// What is to be written now, but for what waits for another attempt.
    pub fn pop_stale(&mut self, waits: impl Fn(&Subject) -> bool) -> Vec<Subject> {
        let now: Vec<Subject> = self
            .stale
            .iter()
            .filter(|one| !waits(one))
            .cloned()
            .collect();
        for subject in &now {
            self.stale.remove(subject);
            self.open.insert(subject.clone());
        }
        now
    }

    /// What was to be written now is not begun.
    pub fn put_back(&mut self, subject: Subject) {
        self.open.remove(&subject);
        self.again(subject);
    }

    /// A status is looked at again.
    pub fn again(&mut self, subject: Subject) {
        self.stale.insert(subject);
    }
}

fn backing(service: &Service) -> Backing {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_ref());
    Backing {
        ports: ports
            .into_iter()
            .flatten()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((u16::try_from(port.port).ok()?, protocol))
            })
            .collect(),
        external_name: spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName"),
    }
}

#[cfg(test)]
mod tests {
    use landfall_gateway::RouteKind;
    use serde_json::json;

    use super::*;

    fn class(uid: &str, version: &str) -> GatewayClass {
        let metadata = json!({"name": "c", "uid": uid, "resourceVersion": version});
        let spec = json!({"controllerName": "landfall.dev/gateway-controller"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn no_answer_brings_back_a_class_and_nothing_an_older_state_of_one() {
        let mut known = Known::default();
        known.class_answered("c", class("u", "4"));
        assert!(known.world.classes.is_empty());
        known.class_seen("c", class("u", "6"));
        known.class_seen("c", class("u", "5"));
        known.class_answered("c", class("u", "5"));
        known.class_answered("c", class("former", "7"));
        assert_eq!(*known.world.classes["c"], class("u", "6"));
        known.class_answered("c", class("u", "7"));
        assert_eq!(*known.world.classes["c"], class("u", "7"));
    }

    #[test]
    fn no_answer_brings_back_a_route() {
        let key = RouteKey {
            kind: RouteKind::Tcp,
            name: NamespacedName::new("blue", "web"),
        };
        let route = Route {
            created: 1,
            generation: None,
            spec: serde_json::from_value(json!({})).unwrap(),
        };
        let live = LiveRoute {
            uid: "u".to_owned(),
            version: "2".to_owned(),
            ..LiveRoute::default()
        };
        let mut known = Known::default();
        known.route_answered(&key, route.clone(), live.clone());
        assert!(known.routes.is_empty() && known.world.routes.is_empty());
        known.route_seen(&key, Some((route.clone(), live.clone())));
        known.route_answered(
            &key,
            route,
            LiveRoute {
                version: "3".to_owned(),
                ..live
            },
        );
        assert_eq!(known.routes[&key].version, "3");
    }
}
