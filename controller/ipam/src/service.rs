//! What the allocator knows of a Service, or of a Gateway of our class: values alone, already read out of the object.
//!
//! A Gateway is a Service to the allocator in all but name: it asks, holds, shares and waits by the same rules. What it
//! says in other fields (addresses in `spec.addresses`, ports in its listeners) is the same wish.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::address::Family;
use crate::request::Request;
use landfall_crds::Frontend;

use crate::{HolderKey, Refusal};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Who stands first when several wait: creation order, then namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Creation, in seconds since the epoch, as the API server wrote it.
    pub created: i64,
    /// The holder.
    pub key: HolderKey,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyPolicy {
    /// One family.
    #[default]
    SingleStack,
    /// Both where both can be had.
    PreferDualStack,
    /// Both or none.
    RequireDualStack,
}

/// A port's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// One Service or Gateway that wants, or has stopped wanting, addresses from us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is, its namespace and name.
    pub key: HolderKey,
    /// Its uid: a Service made anew under the same name is another one.
    pub uid: String,
    /// Creation, in seconds since the epoch.
    pub created: i64,
    /// Of type LoadBalancer, of a class that is ours, and not being deleted.
    pub wanted: bool,
    /// Its labels, and those lent by its Gateway.
    pub labels: Labels,
    /// The class of the Gateway it was made for, or is.
    pub gateway_class: Option<String>,
    /// What it asks for by annotations and `spec.loadBalancerIP`.
    pub request: Result<Request, Refusal>,
    /// How many families it wants.
    pub policy: FamilyPolicy,
    /// Its families, the primary one first.
    pub families: Vec<Family>,
    /// Its ports.
    pub ports: BTreeSet<(Protocol, u16)>,
    /// `externalTrafficPolicy: Local`.
    pub local: bool,
    /// What is served on its addresses, if it is a Gateway: its records say so.
    pub frontends: Vec<Frontend>,
    /// Its pod selector.
    pub selector: Labels,
    /// `spec.clusterIPs`: nobody else can have them.
    pub cluster: Vec<IpAddr>,
    /// `spec.externalIPs`: those that are ours to give are claimed like requests.
    pub external: Vec<IpAddr>,
    /// The addresses its status names.
    pub status: Vec<IpAddr>,
    /// The host names its status names: no pool has them.
    pub hosts: Vec<String>,
    /// Our own field manager wrote these; else they are somebody else's until a pool makes them ours.
    pub ours: bool,
    /// Its status carries our condition.
    pub touched: bool,
    /// What else its condition says: of what it asks that is not understood, and in whose name.
    pub notes: Vec<String>,
}

impl Service {
    /// Its place among those who wait.
    #[must_use]
    pub fn queue_key(&self) -> QueueKey {
        QueueKey {
            created: self.created,
            key: self.key.clone(),
        }
    }

    /// Whether it shares addresses on the same terms as the other.
    #[must_use]
    pub fn shares_as(&self, other: &Self) -> bool {
        let sharing = |service: &Self| service.readable().and_then(|r| r.sharing.clone());
        self.wanted == other.wanted
            && self.ports == other.ports
            && self.local == other.local
            && self.selector == other.selector
            && self.external == other.external
            && sharing(self) == sharing(other)
    }

    /// Whether it names the address in `spec.externalIPs`.
    #[must_use]
    pub fn names_external(&self, address: IpAddr) -> bool {
        self.external.contains(&address)
    }

    /// The request, when it is readable.
    #[must_use]
    pub fn readable(&self) -> Option<&Request> {
        self.request.as_ref().ok()
    }
}
