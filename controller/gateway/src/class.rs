//! A GatewayClass: whether its parameters can be used, and whether its release of the standard is known.

use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::{GatewayClass, ParametersRef};
use landfall_crds::text::quoted;

use crate::condition::{ACCEPTED, SUPPORTED_VERSION, is, is_not};
use crate::world::World;

/// The kind that a class's `parametersRef` may name.
const POOL: &str = "LoadBalancerIPPool";
/// The releases of the standard that this was written for: from the first on in which TCPRoute and UDPRoute are `v1`.
const MAJOR: u32 = 1;
const FIRST_MINOR: u32 = 6;

/// What is served of the standard, by the names of its conformance suite and in their order, each with the kind that has to
/// be read for it: of Gateways what layer 4 has. Nothing is made for a Gateway that its `infrastructure` could be seen on
/// (`GatewayInfrastructure`).
const FEATURES: [(&str, &str); 7] = [
    ("Gateway", "gateways"),
    ("GatewayAddressEmpty", "gateways"),
    ("GatewayStaticAddresses", "gateways"),
    ("ListenerSet", "listenersets"),
    ("ReferenceGrant", "referencegrants"),
    ("TCPRoute", "tcproutes"),
    ("UDPRoute", "udproutes"),
];

/// What becomes of a class of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassDecision {
    /// `Accepted`, `SupportedVersion`.
    pub conditions: Vec<NewCondition>,
    /// What is served of the standard.
    pub features: Vec<&'static str>,
    /// A Gateway is of it, so that it has to stay.
    pub in_use: bool,
}

/// Decides a class of ours.
#[must_use]
pub fn decide(world: &World, name: &str, class: &GatewayClass) -> ClassDecision {
    let features = FEATURES.iter();
    let features = features.filter(|(_, kind)| !world.hidden.contains(kind));
    let mut gateways = world.gateways.values();
    ClassDecision {
        conditions: vec![accepted(world, class), supported(world.bundle.as_deref())],
        features: features.map(|(feature, _)| *feature).collect(),
        in_use: gateways.any(|gateway| gateway.spec.gateway_class_name == name),
    }
}

/// The only pool that Gateways of the class have addresses of, if it names one.
///
/// # Errors
/// What is wrong with its parameters, and the remedy.
pub fn pool(world: &World, class: &GatewayClass) -> Result<Option<String>, String> {
    let Some(ParametersRef {
        group,
        kind,
        name,
        namespace,
    }) = &class.spec.parameters_ref
    else {
        return Ok(None);
    };
    if group != landfall_crds::GROUP || kind != POOL {
        return Err(format!(
            "spec.parametersRef names a {} of group {}; name a {POOL} of group {}, or nothing",
            quoted(kind),
            quoted(group),
            landfall_crds::GROUP
        ));
    }
    if namespace.is_some() {
        return Err(format!(
            "spec.parametersRef names a namespace, and a {POOL} has none; remove spec.parametersRef.namespace"
        ));
    }
    if !world.pools.contains(name) {
        return Err(format!(
            "spec.parametersRef names {POOL} {}, which does not exist; create it, or name another one",
            quoted(name)
        ));
    }
    Ok(Some(name.clone()))
}

fn accepted(world: &World, class: &GatewayClass) -> NewCondition {
    let pools = match pool(world, class) {
        Ok(Some(pool)) => format!("of pool {pool}"),
        Ok(None) => "of the pools that admit them".to_owned(),
        Err(why) => return is_not(ACCEPTED, "InvalidParameters", why),
    };
    let hidden: Vec<&str> = world.hidden.iter().copied().collect();
    let hidden = match hidden.as_slice() {
        [] => String::new(),
        kinds => format!(
            "; Landfall may not read {}, and takes none to be there: kubectl apply -k config/gateway-api",
            kinds.join(", ")
        ),
    };
    let unheld = if world.may_not_hold {
        "; Landfall may not patch gatewayclasses, so that nothing keeps it while it is in use: kubectl apply -k config/gateway-api"
    } else {
        ""
    };
    let message = format!("its Gateways get addresses {pools}{hidden}{unheld}");
    is(ACCEPTED, "Accepted", message)
}

/// Whether this release of the standard is one that we know. Others are served as far as they agree with it.
fn supported(bundle: Option<&str>) -> NewCondition {
    let Some(bundle) = bundle else {
        return is_not(
            SUPPORTED_VERSION,
            "UnsupportedVersion",
            "the installed definitions do not say of which release they are; what can be read is served",
        );
    };
    if known(bundle) {
        is(
            SUPPORTED_VERSION,
            "SupportedVersion",
            format!("the Gateway API is installed in release {bundle}"),
        )
    } else {
        is_not(
            SUPPORTED_VERSION,
            "UnsupportedVersion",
            format!(
                "the Gateway API is installed in release {}, and Landfall knows v{MAJOR}.{FIRST_MINOR} and later ones \
                 of v{MAJOR}; what can be read is served",
                quoted(bundle)
            ),
        )
    }
}

/// Whether a release is one that we know.
#[must_use]
pub fn known(bundle: &str) -> bool {
    let mut parts = bundle.trim_start_matches('v').split(['.', '-']);
    let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok());
    matches!((part(), part()), (Some(MAJOR), Some(minor)) if minor >= FIRST_MINOR)
}
