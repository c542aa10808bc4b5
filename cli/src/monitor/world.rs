//! What is known of the cluster, and what news make of it: lines. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use landfall_controller::gateway::Gateway;
use landfall_crds::gateway_api::{CONTROLLER, GatewayClass};
use landfall_crds::{L2Node, LoadBalancerIP, parse_ip_name};

use super::address::{self, Change};
use super::holder::{self, Holder};
use super::line::{About, Line, Whose};
use super::node;
use crate::ips::{self, is_balanced};
use crate::picture::{Picture, Sight, is_session_of};

/// Kinds that are watched; Events by who writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Address,
    Service,
    Gateway,
    Class,
    Node,
    Session,
    ControllersEvent,
    AnnouncersEvent,
}

/// Namespace, empty for what has none, and name.
pub(super) type Key = (String, String);

/// An object as it is now.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Address(Box<LoadBalancerIP>),
    Service(Box<Service>),
    Gateway(Box<Gateway>),
    Class(Box<GatewayClass>),
    Node(Box<L2Node>),
    Session(Box<Lease>),
    Event(Box<Event>),
}

/// What a watch says.
#[derive(Clone, Debug)]
pub(super) enum News {
    Seen(Kind, Key, Object),
    Gone(Kind, Key),
    /// These are all there are.
    Listed(Kind, BTreeSet<Key>),
    /// It cannot be watched now, and why, unless that is nothing to speak of.
    Broken(Kind, Option<String>),
    /// It is watched again.
    Mended(String),
    /// An object that cannot be read, and is left out.
    Unreadable(Kind, Key, String),
}

/// What is known.
#[derive(Default)]
pub(super) struct World {
    records: BTreeMap<Key, LoadBalancerIP>,
    services: BTreeMap<Key, Service>,
    gateways: BTreeMap<Key, Holder>,
    classes: BTreeMap<Key, GatewayClass>,
    nodes: BTreeMap<Key, L2Node>,
    sessions: BTreeMap<Key, Lease>,
    events: BTreeSet<(Kind, Key)>,
    /// Kinds of which a list was complete: what comes now is a change.
    listed: BTreeSet<Kind>,
    /// Kinds of which a list was complete, or that could not be listed.
    heard_of: BTreeSet<Kind>,
}

impl World {
    /// Whether each of these kinds was listed, or could not be.
    pub(super) fn has_heard_of(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.heard_of.contains(kind))
    }

    /// Whether nothing of what these kinds have can be seen.
    pub(super) fn sees_none_of(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| !self.listed.contains(kind))
    }

    pub(super) fn has_listed(&self, kind: Kind) -> bool {
        self.listed.contains(&kind)
    }

    /// What there is to say of news.
    pub(super) fn take(&mut self, news: News, now: Timestamp) -> Vec<Line> {
        match news {
            News::Seen(kind, key, object) => {
                let lines = self.seen(kind, key, object, now);
                self.changes_of(kind, lines)
            }
            News::Gone(kind, key) => {
                let lines = self.gone(kind, &key, now);
                self.changes_of(kind, lines)
            }
            News::Listed(kind, keys) => {
                let gone = self.keys(kind).into_iter();
                let gone = gone.filter(|key| !keys.contains(key));
                let lines: Vec<Line> = gone
                    .collect::<Vec<_>>()
                    .iter()
                    .flat_map(|key| self.gone(kind, key, now))
                    .collect();
                let lines = self.changes_of(kind, lines);
                self.listed.insert(kind);
                self.heard_of.insert(kind);
                lines
            }
            News::Broken(kind, why) => {
                self.heard_of.insert(kind);
                let watch = |why: String| Line::new(now, About::Watch, "broken", &why);
                why.map(watch).into_iter().collect()
            }
            News::Mended(words) => vec![Line::new(now, About::Watch, "mended", &words)],
            News::Unreadable(kind, key, why) => {
                // It is there: what is not known of it is not said to be gone.
                let _ = self.gone(kind, &key, now);
                vec![Line::new(now, About::Watch, "unreadable", &why)]
            }
        }
    }

    /// Nothing that is listed for the first time is a change.
    fn changes_of(&self, kind: Kind, lines: Vec<Line>) -> Vec<Line> {
        match self.listed.contains(&kind) {
            true => lines,
            false => Vec::new(),
        }
    }

    fn keys(&self, kind: Kind) -> Vec<Key> {
        match kind {
            Kind::Address => self.records.keys().cloned().collect(),
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::Gateway => self.gateways.keys().cloned().collect(),
            Kind::Class => self.classes.keys().cloned().collect(),
            Kind::Node => self.nodes.keys().cloned().collect(),
            Kind::Session => self.sessions.keys().cloned().collect(),
            Kind::ControllersEvent | Kind::AnnouncersEvent => {
                let events = self.events.iter().filter(|(of, _)| *of == kind);
                events.map(|(_, key)| key.clone()).collect()
            }
        }
    }

    fn seen(&mut self, kind: Kind, key: Key, object: Object, now: Timestamp) -> Vec<Line> {
        match object {
            Object::Address(record) => {
                let before = self.records.insert(key, (*record).clone());
                of_record(before.as_ref(), Some(&record), now)
            }
            Object::Service(service) => {
                let service = *service;
                let holder = Holder::of_service(&service);
                // Only what is told of is kept: most Services are nobody's here.
                let before = match holder.is_ours {
                    true => self.services.insert(key.clone(), service),
                    false => self.services.remove(&key),
                };
                let before = before.as_ref().map(Holder::of_service);
                self.of_holder(About::Service, &key, before.as_ref(), Some(&holder), now)
            }
            Object::Gateway(gateway) => {
                let holder = Holder::of_gateway(&gateway);
                let before = self.gateways.insert(key.clone(), holder.clone());
                self.of_gateway(&key, before.as_ref(), Some(&holder), now)
            }
            Object::Class(class) => {
                self.classes.insert(key, *class);
                Vec::new()
            }
            Object::Node(l2_node) => {
                let name = key.1.clone();
                let before = self.nodes.insert(key, (*l2_node).clone());
                of_node(&name, node::changes(before.as_ref(), Some(&l2_node)), now)
            }
            Object::Session(lease) => {
                let before = self.sessions.insert(key, (*lease).clone());
                of_session(before.as_ref(), Some(&lease), now)
            }
            Object::Event(event) => match self.events.insert((kind, key)) {
                true => vec![self.of_event(&event, now)],
                false => Vec::new(),
            },
        }
    }

    fn gone(&mut self, kind: Kind, key: &Key, now: Timestamp) -> Vec<Line> {
        match kind {
            Kind::Address => of_record(self.records.remove(key).as_ref(), None, now),
            Kind::Service => {
                let before = self.services.remove(key);
                let before = before.as_ref().map(Holder::of_service);
                self.of_holder(About::Service, key, before.as_ref(), None, now)
            }
            Kind::Gateway => {
                let before = self.gateways.remove(key);
                self.of_gateway(key, before.as_ref(), None, now)
            }
            Kind::Class => {
                self.classes.remove(key);
                Vec::new()
            }
            Kind::Node => {
                let before = self.nodes.remove(key);
                of_node(&key.1, node::changes(before.as_ref(), None), now)
            }
            Kind::Session => of_session(self.sessions.remove(key).as_ref(), None, now),
            Kind::ControllersEvent | Kind::AnnouncersEvent => {
                self.events.remove(&(kind, key.clone()));
                Vec::new()
            }
        }
    }

    /// How the addresses stand, a line each; where their records cannot be seen, as the Services say.
    pub(super) fn state(&self, now: Timestamp) -> Vec<Line> {
        let records = match self.has_listed(Kind::Address) {
            true => Sight::Seen(self.records.values().cloned().collect()),
            false => Sight::Hidden(crate::picture::Hidden::Forbidden),
        };
        let services = self
            .services
            .values()
            .filter(|service| is_balanced(service));
        let picture = Picture {
            records,
            services: Sight::Seen(services.cloned().collect()),
            ..Picture::default()
        };
        let mut lines = Vec::new();
        for ip in ips::ips(&picture, None, now) {
            let names = ip.holders.iter().chain(&ip.reserved_for);
            // A Gateway's begins with its kind.
            let names = names.filter_map(|name| name.rsplit(' ').next()?.split_once('/'));
            let whose = names.map(|(namespace, _)| namespace.to_owned()).collect();
            let mut line = line(About::Address, address::state(&ip), now);
            line.addresses = vec![ip.address];
            line.whose = Whose::Namespaces(whose);
            lines.push(line);
        }
        lines
    }

    /// How the nodes stand, a line each, for who looks at all namespaces: in one, addresses alone are one's own.
    pub(super) fn nodes(&self, now: Timestamp) -> Vec<Line> {
        let lines = self.nodes.iter().map(|((_, name), l2_node)| {
            let mut leases = self.sessions.values();
            let lease = leases.find(|lease| is_session_of(lease, name));
            let mut line = line(
                About::Node,
                node::state(l2_node, lease).at([name.as_str()]),
                now,
            );
            line.whose = Whose::Namespaces(Vec::new());
            line
        });
        lines.collect()
    }

    /// Of which classes Gateways are ours is not always to be seen: then all are told of.
    fn of_gateway(
        &self,
        key: &Key,
        before: Option<&Holder>,
        after: Option<&Holder>,
        now: Timestamp,
    ) -> Vec<Line> {
        let of_class = |class: &String| {
            let class = self.classes.get(&(String::new(), class.clone()));
            class.is_some_and(|class| class.spec.controller_name == CONTROLLER)
        };
        let class = after.or(before).and_then(|holder| holder.class.as_ref());
        match !self.has_listed(Kind::Class) || class.is_some_and(of_class) {
            true => self.of_holder(About::Gateway, key, before, after, now),
            false => Vec::new(),
        }
    }

    fn of_holder(
        &self,
        kind: About,
        key: &Key,
        before: Option<&Holder>,
        after: Option<&Holder>,
        now: Timestamp,
    ) -> Vec<Line> {
        let both = after.into_iter().chain(before);
        let mut addresses: Vec<String> = Vec::new();
        for address in both.flat_map(|holder| &holder.addresses) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let nodes: Vec<String> = addresses
            .iter()
            .filter_map(|address| self.owner(address))
            .collect();
        let changes = holder::changes(before, after).into_iter();
        let lines = changes.map(|change| Line {
            object: Some(format!("{}/{}", key.0, key.1)),
            addresses: addresses.clone(),
            nodes: nodes.clone(),
            whose: Whose::Namespaces(vec![key.0.clone()]),
            ..line(kind, change, now)
        });
        lines.collect()
    }

    fn owner(&self, address: &str) -> Option<String> {
        let mut records = self.records.values();
        let record = records.find(|record| record.spec.address == address)?;
        Some(record.status.as_ref()?.owner.as_ref()?.node.clone())
    }

    fn of_event(&self, event: &Event, now: Timestamp) -> Line {
        let regarding = event.regarding.clone().unwrap_or_default();
        let (kind, name) = (
            regarding.kind.unwrap_or_default(),
            regarding.name.unwrap_or_default(),
        );
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let words = format!(
            "{} {}: {}",
            text(&event.type_),
            text(&event.reason),
            text(&event.note)
        );
        let at = event.event_time.as_ref().map_or(now, |time| time.0);
        let mut line = Line::new(at, About::Event, "event", &words);
        let holds = |record: &&LoadBalancerIP| {
            record.spec.holders.iter().any(|holder| {
                holder.kind == kind
                    && holder.name == name
                    && Some(&holder.namespace) == regarding.namespace.as_ref()
            })
        };
        let records: Vec<&LoadBalancerIP> = match kind.as_str() {
            "LoadBalancerIP" => {
                line.addresses = parse_ip_name(&name)
                    .map(|address| address.to_string())
                    .into_iter()
                    .collect();
                let record = self.records.get(&(String::new(), name.clone()));
                record.into_iter().collect()
            }
            _ => self.records.values().filter(holds).collect(),
        };
        for record in &records {
            if !line.addresses.contains(&record.spec.address) {
                line.addresses.push(record.spec.address.clone());
            }
        }
        let addresses = line.addresses.iter();
        line.nodes = addresses.filter_map(|one| self.owner(one)).collect();
        line.whose = match regarding.namespace {
            Some(namespace) => {
                line.object = Some(format!("{kind} {namespace}/{name}"));
                Whose::Namespaces(vec![namespace])
            }
            None => {
                line.object = Some(format!("{kind} {name}"));
                Whose::Namespaces(records.into_iter().flat_map(namespaces).collect())
            }
        };
        line
    }
}

fn line(kind: About, change: Change, now: Timestamp) -> Line {
    Line {
        nodes: change.nodes,
        ..Line::new(now, kind, change.change, &change.words)
    }
}

/// Whose business an address is.
fn namespaces(record: &LoadBalancerIP) -> Vec<String> {
    let holders = record.spec.holders.iter();
    let holders = holders.map(|holder| holder.namespace.clone());
    let kept = record.spec.reserved_for.iter();
    let kept = kept.map(|kept| kept.namespace.clone());
    holders.chain(kept).collect()
}

fn of_record(
    before: Option<&LoadBalancerIP>,
    after: Option<&LoadBalancerIP>,
    now: Timestamp,
) -> Vec<Line> {
    let both = || after.into_iter().chain(before);
    let address = both().next().map(|record| record.spec.address.clone());
    let whose: Vec<String> = both().flat_map(namespaces).collect();
    let changes = address::changes(before, after).into_iter();
    let lines = changes.map(|change| Line {
        addresses: address.clone().into_iter().collect(),
        whose: Whose::Namespaces(whose.clone()),
        ..line(About::Address, change, now)
    });
    lines.collect()
}

/// The node itself comes first, and then whom else it concerns.
fn of_node(name: &str, changes: Vec<Change>, now: Timestamp) -> Vec<Line> {
    let changes = changes.into_iter();
    let lines = changes.map(|mut change| {
        change.nodes.insert(0, name.to_owned());
        line(About::Node, change, now)
    });
    lines.collect()
}

fn of_session(before: Option<&Lease>, after: Option<&Lease>, now: Timestamp) -> Vec<Line> {
    let changes = node::session_changes(before, after).into_iter();
    let lines = changes.flat_map(|(name, change)| of_node(&name, vec![change], now));
    lines.collect()
}
