//! Reading a cluster as kubectl would: its configuration, and every kind that is asked for, or why it cannot be read.

use std::fmt::Debug;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{DeserializeGuard, PartialObjectMetaExt as _};
use kube::{Api, Client, Resource};
use landfall_crds::gateway_api::{ReferenceGrant, TCPRoute, UDPRoute, earlier};
use serde::de::DeserializeOwned;

use crate::args::Connection;
use crate::out::complain;
use crate::picture::{Hidden, NAMESPACE, Picture, Sight};
use crate::words::plain;

/// A cluster, and the namespace of whoever asks.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// `-n`, else that of the context.
    pub(crate) namespace: String,
    /// Where it is and by which name it is known, for who has to agree to a change.
    pub(crate) place: String,
}

/// Connects as kubectl would.
///
/// # Errors
/// When there is no kubeconfig, or it names no such context.
pub(crate) async fn connect(connection: &Connection) -> anyhow::Result<Cluster> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    let read = match &connection.kubeconfig {
        Some(path) => {
            Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?
        }
        None => match Kubeconfig::read() {
            // In a Pod there is no kubeconfig, and none is needed.
            Err(_) if connection.context.is_none() && in_a_pod() => {
                return from(kube::Config::incluster()?, None, connection);
            }
            found => found.context(NOWHERE)?,
        },
    };
    let context = connection.context.clone().or(read.current_context.clone());
    let config = match kube::Config::from_custom_kubeconfig(read, &options).await {
        Err(_) if connection.kubeconfig.is_none() && connection.context.is_none() && in_a_pod() => {
            return from(kube::Config::incluster()?, None, connection);
        }
        found => found.context(NOWHERE)?,
    };
    from(config, context, connection)
}

const NOWHERE: &str =
    "no cluster to ask: name one by --kubeconfig, $KUBECONFIG or ~/.kube/config, and --context";

/// The namespace that whoever asks has named, without asking a cluster: `-n`, else that of the context.
pub(crate) fn namespace(connection: &Connection) -> Option<String> {
    let of_context = || {
        let read = match &connection.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let read = read.ok()?;
        let name = connection.context.clone().or(read.current_context)?;
        let mut contexts = read.contexts.into_iter();
        let context = contexts.find(|context| context.name == name)?.context?;
        context.namespace.filter(|namespace| !namespace.is_empty())
    };
    connection.namespace.clone().or_else(of_context)
}

fn in_a_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn from(
    mut config: kube::Config,
    context: Option<String>,
    connection: &Connection,
) -> anyhow::Result<Cluster> {
    let of_context = config.default_namespace.clone();
    // Nobody waits for ever for an API server that took the question and says nothing.
    config.read_timeout = Some(connection.request_timeout);
    let place = match context {
        Some(context) => format!("{} (context {context})", config.cluster_url),
        None => config.cluster_url.to_string(),
    };
    Ok(Cluster {
        client: Client::try_from(config).context("making a client")?,
        namespace: connection.namespace.clone().unwrap_or(of_context),
        place,
    })
}

/// What a command needs to see besides pools, records and Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Landfall's own workloads, Pods and Leases.
    pub(crate) workloads: bool,
    /// Namespaces, nodes, ServiceCIDRs, the Gateway API: what the planner goes by.
    pub(crate) planning: bool,
}

impl Cluster {
    /// Reads what is wanted, as far as it may be read.
    ///
    /// # Errors
    /// When the API server cannot be asked at all.
    pub(crate) async fn picture(&self, wants: Wants) -> anyhow::Result<Picture> {
        let all = || self.client.clone();
        let (pools, records, policies, services) = tokio::try_join!(
            list(Api::all(all())),
            list(Api::all(all())),
            list(Api::all(all())),
            list(Api::all(all())),
        )?;
        let mut picture = Picture {
            pools,
            records,
            policies,
            services,
            ..Picture::default()
        };
        if picture.services.hidden() == Some(Hidden::Forbidden) {
            picture.services = list(Api::namespaced(all(), &self.namespace)).await?;
            picture.services_of = Some(self.namespace.clone());
        }
        if wants.workloads {
            (
                picture.deployments,
                picture.daemon_sets,
                picture.pods,
                picture.leases,
                picture.l2_nodes,
            ) = tokio::try_join!(
                list(Api::namespaced(all(), NAMESPACE)),
                list(Api::namespaced(all(), NAMESPACE)),
                list(Api::namespaced(all(), NAMESPACE)),
                list(Api::namespaced(all(), NAMESPACE)),
                list(Api::all(all())),
            )?;
        }
        if wants.planning {
            let namespaces: Sight<Namespace>;
            (
                namespaces,
                picture.nodes,
                picture.service_cidrs,
                picture.gateways,
            ) = tokio::try_join!(
                list(Api::all(all())),
                list(Api::all(all())),
                list(Api::all(all())),
                list(Api::all(all())),
            )?;
            (
                picture.gateway_classes,
                picture.listener_sets,
                picture.tcp_routes,
                picture.udp_routes,
                picture.grants,
            ) = tokio::try_join!(
                list(Api::all(all())),
                list(Api::all(all())),
                list_either::<TCPRoute, earlier::TCPRoute>(all()),
                list_either::<UDPRoute, earlier::UDPRoute>(all()),
                list_either::<ReferenceGrant, earlier::ReferenceGrant>(all()),
            )?;
            picture.namespaces = match namespaces {
                Sight::Seen(all) => Sight::Seen(
                    all.into_iter()
                        .map(|namespace| namespace.metadata.into_response_partial())
                        .collect(),
                ),
                Sight::Hidden(why) => Sight::Hidden(why),
            };
        }
        Ok(picture)
    }
}

/// All objects of a kind, or why they cannot be seen. One that cannot be decoded is left out and named: it hides no
/// other.
///
/// # Errors
/// Anything but a refusal.
pub(crate) async fn list<K>(api: Api<DeserializeGuard<K>>) -> anyhow::Result<Sight<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            let objects = list.items.into_iter().filter_map(|object| match object.0 {
                Ok(object) => Some(object),
                Err(error) => {
                    complain!(
                        "{} {} cannot be read, and is left out: {}",
                        K::kind(&()),
                        error.metadata.name.as_deref().unwrap_or_default(),
                        plain(&error.error)
                    );
                    None
                }
            });
            Ok(Sight::Seen(objects.collect()))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Sight::Hidden(Hidden::Forbidden)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Sight::Hidden(Hidden::Absent)),
        Err(error) => Err(error).with_context(|| format!("listing {}", K::plural(&()))),
    }
}

/// Lists a kind, by its earlier version where a cluster does not serve the newer one.
async fn list_either<K, E>(client: Client) -> anyhow::Result<Sight<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    E: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Into<K>,
{
    match list(Api::all(client.clone())).await? {
        Sight::Hidden(Hidden::Absent) => Ok(match list::<E>(Api::all(client)).await? {
            Sight::Seen(all) => Sight::Seen(all.into_iter().map(Into::into).collect()),
            Sight::Hidden(why) => Sight::Hidden(why),
        }),
        sight => Ok(sight),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_namespace_is_named_by_its_flag_or_by_the_context() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = "
apiVersion: v1
kind: Config
current-context: one
contexts:
  - {name: one, context: {cluster: c, user: u, namespace: blue}}
  - {name: two, context: {cluster: c, user: u}}
";
        std::fs::write(&path, text).unwrap();
        let of = |context: Option<&str>, typed: Option<&str>| {
            namespace(&Connection {
                kubeconfig: Some(path.clone()),
                context: context.map(str::to_owned),
                namespace: typed.map(str::to_owned),
                request_timeout: Duration::from_secs(15),
            })
        };
        assert_eq!(of(None, None).as_deref(), Some("blue"));
        assert_eq!(of(None, Some("green")).as_deref(), Some("green"));
        assert_eq!(of(Some("two"), None), None);
    }
}
