//! Whether a pool gives addresses to a Service, and if not, why not.

use std::fmt;

use landfall_crds::selector::{SERVICE_NAME, SERVICE_NAMESPACE};

use super::Pool;
use crate::service::{Labels, Service};

/// Why a pool does not give a Service a new address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its `serviceSelector` does not match.
    ServiceSelector,
    /// Its `namespaceSelector` does not match.
    NamespaceSelector,
    /// It is reserved for Gateways of certain classes.
    GatewayClass,
    /// It is disabled.
    Disabled,
    /// It is being deleted.
    Draining,
    /// It does not assign unless asked for.
    NotAutomatic,
    /// The Service asks for another one.
    OtherPool,
    /// The Service's namespace has as many of its addresses as one may.
    NamespaceLimit(u32),
    /// The Service has as many of its addresses as one may.
    ServiceLimit(u32),
}

impl Rejection {
    /// What would help.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ServiceSelector => "change the Service's labels or the pool's serviceSelector",
            Self::NamespaceSelector => {
                "change the namespace's labels or the pool's namespaceSelector"
            }
            Self::GatewayClass => "provide a pool without gatewayClasses",
            Self::Disabled => "set the pool's spec.disabled to false",
            Self::Draining => "use another pool",
            Self::NotAutomatic => "name the pool in landfall.dev/pool",
            Self::OtherPool => "change or remove landfall.dev/pool",
            Self::NamespaceLimit(_) => {
                "release an address in the namespace or raise the pool's maxPerNamespace"
            }
            Self::ServiceLimit(_) => "ask for fewer addresses or raise the pool's maxPerService",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NamespaceLimit(most) => {
                return write!(f, "the namespace has {most} of its addresses, as many as one may (maxPerNamespace)");
            }
            Self::ServiceLimit(most) => {
                return write!(f, "the Service has {most} of its addresses, as many as one may (maxPerService)");
            }
            Self::ServiceSelector => "its serviceSelector does not match",
            Self::NamespaceSelector => "its namespaceSelector does not match",
            Self::GatewayClass => "it is kept for Gateways of certain classes",
            Self::Disabled => "it is disabled",
            Self::Draining => "it is being deleted",
            Self::NotAutomatic => "it assigns only when named (autoAssign is false)",
            Self::OtherPool => "another one is named",
        })
    }
}

/// Whether the pool's selectors admit the Service: what decides whether it may stay.
///
/// # Errors
/// The first selector that does not.
pub fn admits(pool: &Pool, service: &Service, namespace: Option<&Labels>) -> Result<(), Rejection> {
    let class = service.gateway_class.as_ref();
    if !pool.gateway_classes.is_empty()
        && !class.is_some_and(|class| pool.gateway_classes.contains(class))
    {
        return Err(Rejection::GatewayClass);
    }
    // The pseudo-labels come from the object itself: a user's own labels cannot forge them.
    let label = |key: &str| match key {
        SERVICE_NAME => Some(service.key.name.as_str()),
        SERVICE_NAMESPACE => Some(service.key.namespace.as_str()),
        _ => service.labels.get(key).map(String::as_str),
    };
    if pool
        .services
        .as_ref()
        .is_some_and(|selector| !selector.matches(label))
    {
        return Err(Rejection::ServiceSelector);
    }
    let label = |key: &str| namespace?.get(key).map(String::as_str);
    if pool
        .namespaces
        .as_ref()
        .is_some_and(|selector| namespace.is_none() || !selector.matches(label))
    {
        return Err(Rejection::NamespaceSelector);
    }
    Ok(())
}

/// Whether the pool gives the Service a new address; `named` says that it was asked for, by name
/// or by one of its addresses.
///
/// # Errors
/// What stands against it.
pub fn offers(
    pool: &Pool,
    service: &Service,
    namespace: Option<&Labels>,
    named: bool,
) -> Result<(), Rejection> {
    admits(pool, service, namespace)?;
    if pool.draining {
        return Err(Rejection::Draining);
    }
    if pool.disabled {
        return Err(Rejection::Disabled);
    }
    if !pool.auto_assign && !named {
        return Err(Rejection::NotAutomatic);
    }
    Ok(())
}
