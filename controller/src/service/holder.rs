//! A holder as the API server has it now, of whichever kind it is.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use landfall_crds::gateway_api::Gateway;
use landfall_gateway::NamespacedName;
use landfall_ipam::{HolderKey, HolderKind};

use crate::context::Context;

/// A holder that is there.
#[derive(Debug)]
pub(crate) enum Found {
    Service(Box<Service>),
    Gateway(Box<Gateway>),
}

/// The holder of this name, if there is one.
pub(crate) async fn found(
    context: &Context,
    key: &HolderKey,
) -> Result<Option<Found>, kube::Error> {
    let client = context.client.clone();
    Ok(match key.kind {
        HolderKind::Service => {
            let api: Api<Service> = Api::namespaced(client, &key.namespace);
            let found = api.get_opt(&key.name).await?;
            found.map(|service| Found::Service(Box::new(service)))
        }
        HolderKind::Gateway => {
            let api: Api<Gateway> = Api::namespaced(client, &key.namespace);
            let found = api.get_opt(&key.name).await?;
            found.map(|gateway| Found::Gateway(Box::new(gateway)))
        }
    })
}

impl Found {
    /// Its uid.
    pub(crate) fn uid(&self) -> &str {
        let uid = match self {
            Self::Service(service) => &service.metadata.uid,
            Self::Gateway(gateway) => &gateway.metadata.uid,
        };
        uid.as_deref().unwrap_or_default()
    }

    /// Takes it in, as a watch would.
    pub(crate) fn seen(self, context: &Context) {
        let settings = &context.settings;
        context.state.change(|cache| match self {
            Self::Service(service) => cache.service_seen(*service, settings),
            Self::Gateway(gateway) => {
                if let Some(name) = NamespacedName::of(&gateway.metadata) {
                    cache.gateway_object_seen(&name, Some(*gateway));
                }
            }
        });
    }
}
