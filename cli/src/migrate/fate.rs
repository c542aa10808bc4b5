//! What becomes of every address in use, as the controller's own planner says.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use landfall_controller::settings::Settings;
use landfall_controller::survey::{self, Objects};
use landfall_crds::{HolderKey, LoadBalancerIPPool};
use landfall_ipam::address::Point;
use serde::Serialize;

/// What becomes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Becomes {
    /// Landfall records it, and it stays its Service's.
    Kept,
    /// It stays as it is, and Landfall has nothing to do with it.
    LeftAlone,
    /// The Service would get another.
    Changed,
}

impl Becomes {
    pub(crate) fn said(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::LeftAlone => "left alone",
            Self::Changed => "CHANGED",
        }
    }
}

/// One address in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fate {
    pub(crate) address: String,
    pub(crate) service: String,
    pub(crate) becomes: Becomes,
    /// Its Service is one that Landfall serves.
    pub(crate) served: bool,
    pub(crate) why: String,
}

/// The fate of every address that a Service of type LoadBalancer has, with these pools beside those of the cluster.
pub(crate) fn fates(
    mut objects: Objects,
    pools: &[&LoadBalancerIPPool],
    settings: &Settings,
) -> Vec<Fate> {
    let new = |pool: &LoadBalancerIPPool| {
        pools
            .iter()
            .any(|new| new.metadata.name == pool.metadata.name)
    };
    objects.pools.retain(|pool| !new(pool));
    objects
        .pools
        .extend(pools.iter().map(|pool| (*pool).clone()));
    let services = objects.services.clone();
    let mut index = survey::cache(objects, settings).index;
    // As a controller does that begins: everything in use is taken in before anything is given.
    index.adopt();
    let mut fates = Vec::new();
    for service in &services {
        let key = HolderKey::service(service.namespace().unwrap_or_default(), service.name_any());
        for address in addresses(service) {
            let Ok(parsed) = address.parse::<std::net::IpAddr>() else {
                continue;
            };
            let at = Point::from(parsed);
            let known = index.service(&key).filter(|known| known.wanted);
            let (becomes, why) = match known {
                None => (Becomes::LeftAlone, foreign(service, settings)),
                Some(known) => {
                    let held = index.held_by(&key).any(|held| held == at);
                    let plan = index.preview(known);
                    let has = plan.addresses(known);
                    if held && has.contains(&parsed) {
                        let mut entries = index.entries();
                        let entry = entries
                            .find(|(point, _)| *point == at)
                            .map(|(_, entry)| entry);
                        let pool = entry.and_then(|entry| entry.want.as_ref()?.pool_ref.clone());
                        let pool = pool.map(|pool| format!("pool {}", pool.name));
                        (
                            Becomes::Kept,
                            pool.unwrap_or_else(|| "its record".to_owned()),
                        )
                    } else if has.is_empty() {
                        let says = plan.outcome.map(|outcome| outcome.message);
                        (Becomes::LeftAlone, says.unwrap_or_default())
                    } else {
                        let says = plan.outcome.map(|outcome| outcome.message);
                        (Becomes::Changed, says.unwrap_or_default())
                    }
                }
            };
            fates.push(Fate {
                address,
                service: key.to_string(),
                becomes,
                served: known.is_some(),
                why,
            });
        }
    }
    fates.sort_by_key(|fate| fate.address.parse::<std::net::IpAddr>().ok());
    fates
}

fn addresses(service: &Service) -> Vec<String> {
    let balanced =
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let status = service.status.as_ref().filter(|_| balanced);
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress
        .into_iter()
        .flatten()
        .filter_map(|point| point.ip.clone())
        .collect()
}

fn foreign(service: &Service, settings: &Settings) -> String {
    let class = service
        .spec
        .as_ref()
        .and_then(|spec| spec.load_balancer_class.as_deref());
    match class {
        Some(class) => format!("its class {class} is another balancer's, and cannot be changed: make the Service anew to move it"),
        None if !settings.default_class => {
            "it has no class, and the controller runs with --default-class=false: landfall upgrade --default-class=true takes it".to_owned()
        }
        None => "it is being deleted".to_owned(),
    }
}
