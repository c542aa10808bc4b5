//! What there is: objects as they were read, and as much of others as is asked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use landfall_crds::FrontendProtocol;
use landfall_crds::gateway_api::{
    CONTROLLER, GATEWAY, Gateway, GatewayClass, LISTENER_SET, ListenerSet, ReferenceGrantSpec,
    RouteSpec, TCPRoute, UDPRoute,
};
use landfall_crds::selector::Labels;

/// An object by namespace and name. Sorted by namespace first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl NamespacedName {
    /// The object `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// What names an object of the API server; `None` for one without name or namespace.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self::new(
            metadata.namespace.clone()?,
            metadata.name.clone()?,
        ))
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds that routes attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParentKind {
    /// `Gateway`.
    Gateway,
    /// `ListenerSet`.
    ListenerSet,
}

/// What routes attach to, by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParentKey {
    /// Its kind.
    pub kind: ParentKind,
    /// Its name.
    pub name: NamespacedName,
}

impl fmt::Display for ParentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ParentKind::Gateway => GATEWAY,
            ParentKind::ListenerSet => LISTENER_SET,
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// The kinds of routes that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// `TCPRoute`.
    Tcp,
    /// `UDPRoute`.
    Udp,
}

impl RouteKind {
    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    /// The protocol of what it takes.
    #[must_use]
    pub const fn protocol(self) -> FrontendProtocol {
        match self {
            Self::Tcp => FrontendProtocol::Tcp,
            Self::Udp => FrontendProtocol::Udp,
        }
    }
}

/// A route by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: NamespacedName,
}

/// A route of layer 4.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// When it was made, in seconds since the epoch: of several the oldest serves.
    pub created: i64,
    /// Which generation of it says so.
    pub generation: Option<i64>,
    /// What it says.
    pub spec: RouteSpec,
}

impl Route {
    /// A route of either kind.
    #[must_use]
    pub fn new(metadata: &ObjectMeta, spec: &RouteSpec) -> Self {
        let created = metadata.creation_timestamp.as_ref();
        Self {
            created: created.map_or(0, |time| time.0.as_second()),
            generation: metadata.generation,
            spec: spec.clone(),
        }
    }
}

impl From<&TCPRoute> for Route {
    fn from(route: &TCPRoute) -> Self {
        Self::new(&route.metadata, &route.spec.route)
    }
}

impl From<&UDPRoute> for Route {
    fn from(route: &UDPRoute) -> Self {
        Self::new(&route.metadata, &route.spec.route)
    }
}

/// As much of a Service as routes ask of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Its ports, with their protocols as they are written.
    pub ports: BTreeSet<(u16, String)>,
    /// It stands for a name outside the cluster.
    pub external_name: bool,
}

/// Everything that is decided by.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The classes, ours and others', by name.
    pub classes: BTreeMap<String, Arc<GatewayClass>>,
    /// The Gateways, ours and others'.
    pub gateways: BTreeMap<NamespacedName, Arc<Gateway>>,
    /// The ListenerSets, of our Gateways and of others'.
    pub listener_sets: BTreeMap<NamespacedName, Arc<ListenerSet>>,
    /// The Gateways that have addresses of ours, by records or by what we wrote into their status.
    pub held: BTreeSet<NamespacedName>,
    /// The routes of layer 4.
    pub routes: BTreeMap<RouteKey, Arc<Route>>,
    /// The grants.
    pub grants: BTreeMap<NamespacedName, Arc<ReferenceGrantSpec>>,
    /// The Services.
    pub services: BTreeMap<NamespacedName, Backing>,
    /// The labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    /// The names of the pools, which classes may refer to.
    pub pools: BTreeSet<String>,
    /// The release of the standard whose definitions are installed, where they say so.
    pub bundle: Option<String>,
    /// The kinds that we may not read, by their plurals: there may be any number of them.
    pub hidden: BTreeSet<&'static str>,
    /// We may not give classes the finalizer that keeps them while they are in use.
    pub may_not_hold: bool,
}

impl World {
    /// The classes that are ours.
    pub fn our_classes(&self) -> impl Iterator<Item = (&String, &Arc<GatewayClass>)> {
        let ours = |class: &Arc<GatewayClass>| class.spec.controller_name == CONTROLLER;
        self.classes.iter().filter(move |(_, class)| ours(class))
    }

    /// The class of a Gateway, if it is ours.
    #[must_use]
    pub fn our_class(&self, gateway: &Gateway) -> Option<&Arc<GatewayClass>> {
        let class = self.classes.get(&gateway.spec.gateway_class_name)?;
        (class.spec.controller_name == CONTROLLER).then_some(class)
    }

    /// The Gateways of our classes that are not being deleted.
    pub fn our_gateways(&self) -> impl Iterator<Item = (&NamespacedName, &Arc<Gateway>)> {
        self.gateways
            .iter()
            .filter(|(key, _)| self.our_gateway(key).is_some())
    }

    /// A Gateway of one of our classes that is not being deleted. One that has addresses of ours is ours until its class
    /// is another controller's: a class that is not there says nothing, and costs nobody an address.
    #[must_use]
    pub fn our_gateway(&self, key: &NamespacedName) -> Option<&Arc<Gateway>> {
        let gateway = self.gateways.get(key)?;
        let stays = gateway.metadata.deletion_timestamp.is_none();
        let waits = self.waits_for_class(gateway) && self.held.contains(key);
        (stays && (waits || self.our_class(gateway).is_some())).then_some(gateway)
    }

    /// Whether a Gateway that stays is of a class that is not there: nobody can say whose it is.
    #[must_use]
    pub fn waits_for_class(&self, gateway: &Gateway) -> bool {
        gateway.metadata.deletion_timestamp.is_none()
            && !self.classes.contains_key(&gateway.spec.gateway_class_name)
    }
}
