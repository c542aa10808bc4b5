//! Packets, as each node's XDP director is done with them: what `landfall-announcer samples` says, by [`super::looks`].

mod line;
mod packet;

use kube::Api;
use kube::api::ListParams;
use landfall_crds::L2Node;
use tokio::sync::watch;

use super::connect_to_watch;
use super::looks::Looks;
use crate::args::{self, Connection, LineOutput};
use crate::cluster::Cluster;
use crate::out::{End, Voice, complain, written};
use crate::words::plain;
use line::{Line, Places, Sample, heading};

/// Tells packets until nobody reads.
///
/// # Errors
/// When the API server cannot be asked, or no node shows its packets.
pub(super) async fn tell(connection: &Connection, flags: &args::Monitor) -> anyhow::Result<End> {
    let cluster = connect_to_watch(connection).await?;
    let words = |_: &str| Ok(vec!["samples".to_owned()]);
    let named = flags.node.as_deref();
    let (_, all) = watch::channel(None);
    let mut looks = Looks::<Sample>::begin(&cluster.client, named, "packets", words, all).await?;
    let places = places(&cluster).await;
    let voice = Voice::start()?;
    let is_table = flags.output == LineOutput::Table;
    let mut is_heard = !is_table || voice.say(heading()).await;
    while is_heard {
        let (node, sample) = looks.next().await?;
        let line = Line::new(&node, sample, &places);
        if line.is_about(flags.address) {
            is_heard = voice.say(written(&line, flags.output, Line::draw)?).await;
        }
    }
    Ok(End::Well)
}

/// Whose Ethernet address is whose; without, packets are told all the same.
async fn places(cluster: &Cluster) -> Places {
    let nodes: Api<L2Node> = Api::all(cluster.client.clone());
    match nodes.list(&ListParams::default()).await {
        Ok(nodes) => Places::of(&nodes.items),
        Err(error) => {
            complain!("nodes are not named: {}", plain(&error.to_string()));
            Places::default()
        }
    }
}
