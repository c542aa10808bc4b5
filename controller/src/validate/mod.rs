//! From objects to the allocator's values. Pure; a Service that cannot be read is refused as a
//! value, never as an error.

pub(crate) mod gateway;

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::LoadBalancerIngress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::ResourceExt as _;
use landfall_crds::annotations::{OWN, PREFIX, SHOWN_TO};
use landfall_crds::conditions::{ADDRESS_ASSIGNED, OUT_OF_POOL, find};
use landfall_crds::text::quoted;
use landfall_crds::version::Stamped;
use landfall_crds::{LOAD_BALANCER_CLASS, LoadBalancerIP, parse_ip_name};
use landfall_ipam::address::Point;
use landfall_ipam::book::{OutOfPool, Stored};
use landfall_ipam::request::Request;
use landfall_ipam::service::{FamilyPolicy, Protocol};
use landfall_ipam::{Family, HolderKey, Refusal, Service};

use crate::gateway::{Lender, owning};

pub use crate::managed::MANAGER;
use crate::managed::wrote;

/// A Service as far as its status is concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveService {
    pub uid: String,
    pub version: String,
    /// Its generation, where Services have one.
    pub generation: Option<i64>,
    pub ingress: Vec<LoadBalancerIngress>,
    pub conditions: Vec<Condition>,
    /// Who wrote the ingress.
    pub writers: Writers,
}

/// The field managers of a Service's `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// We are among them: it is what we wrote last.
    pub ours: bool,
    /// The last of the others who wrote the status.
    pub other: Option<String>,
}

impl Stamped for LiveService {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> &str {
        &self.version
    }
}

/// The key of an object; `None` for one without name or namespace.
#[must_use]
pub fn key(metadata: &ObjectMeta) -> Option<HolderKey> {
    Some(HolderKey::service(
        metadata.namespace.clone()?,
        metadata.name.clone()?,
    ))
}

/// What the allocator knows of a Service. `default_class`: Services without a class are ours too;
/// `lender`: the Gateway it was made for.
#[must_use]
pub fn service(
    object: &core::Service,
    default_class: bool,
    lender: Option<&Lender>,
) -> Option<Service> {
    let spec = object.spec.clone().unwrap_or_default();
    let metadata = &object.metadata;
    let ours = match spec.load_balancer_class.as_deref() {
        Some(class) => class == LOAD_BALANCER_CLASS,
        None => default_class,
    };
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let own = metadata.labels.clone().unwrap_or_default();
    let labels = match lender {
        Some(lender) => lender.labels(&own),
        None => own,
    };
    let live = live(object);
    Some(Service {
        key: key(metadata)?,
        uid: metadata.uid.clone().unwrap_or_default(),
        created: metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
        wanted: balanced && ours && metadata.deletion_timestamp.is_none(),
        labels,
        frontends: Vec::new(),
        gateway_class: lender.map(|lender| lender.class.clone()),
        request: request(object, spec.load_balancer_ip.as_deref(), lender),
        policy: match spec.ip_family_policy.as_deref() {
            Some("PreferDualStack") => FamilyPolicy::PreferDualStack,
            Some("RequireDualStack") => FamilyPolicy::RequireDualStack,
            _ => FamilyPolicy::SingleStack,
        },
        families: families(&spec),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        local: spec.external_traffic_policy.as_deref() == Some("Local"),
        selector: spec.selector.unwrap_or_default(),
        cluster: addresses(spec.cluster_ips.as_deref()),
        external: addresses(spec.external_ips.as_deref()),
        hosts: live
            .ingress
            .iter()
            .filter_map(|point| point.hostname.clone())
            .collect(),
        ours: live.writers.ours,
        status: live
            .ingress
            .iter()
            .filter_map(|point| point.ip.as_deref()?.parse().ok())
            .collect(),
        touched: find(&live.conditions, ADDRESS_ASSIGNED).is_some(),
        notes: metadata
            .annotations
            .iter()
            .flatten()
            .filter_map(unknown)
            .collect(),
    })
}

/// A name under our prefix that says nothing to us, and which one may be meant.
fn unknown((name, _): (&String, &String)) -> Option<String> {
    if !name.starts_with(PREFIX) || OWN.contains(&name.as_str()) {
        return None;
    }
    let near = OWN.iter().map(|own| (strsim::jaro_winkler(own, name), own));
    let near = near.max_by(|one, two| one.0.total_cmp(&two.0));
    let meant = near.map(|(_, own)| format!("; is {own} meant?"));
    Some(format!(
        "{} is no annotation that Landfall knows{}",
        quoted(name),
        meant.unwrap_or_default()
    ))
}

/// What a Service asks for, also in the name of its Gateway. A request that is unreadable only with what the Gateway
/// lends says where the fault is.
fn request(
    object: &core::Service,
    load_balancer_ip: Option<&str>,
    lender: Option<&Lender>,
) -> Result<Request, Refusal> {
    let own = object.metadata.annotations.clone().unwrap_or_default();
    let alone = Request::read(&own, load_balancer_ip)?;
    let (Some(lender), Some(gateway)) = (lender, owning(&object.metadata)) else {
        return Ok(alone);
    };
    Request::read(&lender.annotations(&own), load_balancer_ip).map_err(|refusal| {
        Refusal::new(
            refusal.reason,
            format!("annotation of Gateway {gateway}: {}", refusal.message),
        )
    })
}

/// What is kept of a Service to compare its status with.
#[must_use]
pub fn live(object: &core::Service) -> LiveService {
    let status = object.status.clone().unwrap_or_default();
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
    LiveService {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        generation: object.metadata.generation,
        ingress: ingress.unwrap_or_default(),
        conditions: status.conditions.unwrap_or_default(),
        writers: writers(&object.metadata),
    }
}

fn writers(metadata: &ObjectMeta) -> Writers {
    let mut entries: Vec<_> = metadata.managed_fields.iter().flatten().collect();
    entries.sort_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let mut writers = Writers {
        ours: wrote(metadata, "/f:status/f:loadBalancer/f:ingress"),
        other: None,
    };
    for entry in entries {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let writes = |path: &str| fields.is_some_and(|fields| fields.pointer(path).is_some());
        let name = entry.manager.as_deref().unwrap_or_default();
        if name != MANAGER
            && (writes("/f:status/f:loadBalancer") || writes("/f:status/f:conditions"))
        {
            writers.other = Some(name.to_owned());
        }
    }
    writers
}

/// The addresses of a list; `None`, which headless Services have for one, is none.
fn addresses(list: Option<&[String]>) -> Vec<IpAddr> {
    let texts = list.unwrap_or_default().iter();
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn families(spec: &core::ServiceSpec) -> Vec<Family> {
    let named = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        });
    let named: Vec<Family> = named.collect();
    if named.is_empty() {
        vec![Family::V4]
    } else {
        named
    }
}

fn port(port: &core::ServicePort) -> Option<(Protocol, u16)> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) => return None,
    };
    Some((protocol, u16::try_from(port.port).ok()?))
}

/// What the index keeps of a record.
#[must_use]
pub fn stored(record: &LoadBalancerIP) -> Option<(Point, Stored)> {
    let address = parse_ip_name(record.metadata.name.as_deref()?).ok()?;
    let conditions = record
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let out_of_pool = find(conditions, OUT_OF_POOL).map(|condition| OutOfPool {
        is: condition.status == "True",
        why: condition.message.clone(),
        since: condition.last_transition_time.0.as_second(),
    });
    let stored = Stored {
        spec: record.spec.clone(),
        uid: Stamped::uid(record).to_owned(),
        version: Stamped::version(record).to_owned(),
        out_of_pool,
        shown_to: record
            .annotations()
            .get(SHOWN_TO)
            .into_iter()
            .flat_map(|uids| uids.split(','))
            .map(str::to_owned)
            .collect(),
        reserved_by_us: wrote(&record.metadata, "/f:spec/f:reservedFor"),
    };
    (record.spec.address.parse() == Ok(address)).then(|| (Point::from(address), stored))
}
