//! Metrics: read off the running parts at every scrape, so that they cannot drift.

use std::sync::Arc;

use landfall_runtime::metrics::{Writer, count, flag};
use landfall_wire::Reason;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::brain::Summary;
use crate::cluster::{WatchErrors, WriteFailures};
use crate::dataplane::director::DirectorView;
use crate::model::{Kind, XdpState};
use crate::peers;
use crate::responder::Responder;

/// The parts that are read.
#[derive(Clone)]
pub struct Sources {
    pub summary: Arc<Mutex<Summary>>,
    pub responder: Responder,
    pub director: DirectorView,
    pub heartbeats: peers::View,
    /// See [`silences`].
    pub silences: Histogram,
    /// Troubles of the watches.
    pub watch_errors: WatchErrors,
    /// Writes that failed.
    pub write_failures: WriteFailures,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources")
    }
}

/// Of addresses taken over from silent nodes, the seconds from the last heartbeat to the moment from which they are
/// answered for: what is wanted is below 0.3, what a session takes that runs out is 15.
#[must_use]
pub fn silences() -> Histogram {
    Histogram::new([
        0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
    ])
}

/// A registry that shows them.
#[must_use]
pub fn registry(sources: Sources) -> Registry {
    let mut registry = Registry::default();
    registry
        .sub_registry_with_prefix("landfall")
        .register_collector(Box::new(sources));
    registry
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut out = Writer::from(encoder);
        self.ownership(&mut out)?;
        self.wire(&mut out)?;
        self.data_path(&mut out)?;
        self.heartbeats(&mut out)?;
        out.lost_log_records("log_records_lost")?;
        out.counters(
            "writes_failed",
            "Writes that the API server refused or did not answer, by kind of object; not those for which somebody was quicker",
            self.write_failures
                .by_kind()
                .into_iter()
                .map(|(kind, n)| ([("kind", kind)], n)),
        )?;
        let mut errors = self.watch_errors.lock().clone();
        // Those of which there are none are said too: who counts from nothing to one sees a step.
        for kind in Kind::LISTED.into_iter().chain([Kind::Renewal]) {
            for what in ["request", "object"] {
                errors.entry((kind, what)).or_default();
            }
        }
        out.counters(
            "watch_errors",
            "Watch requests that failed and objects that could not be read",
            errors
                .into_iter()
                .map(|((kind, what), n)| ([("kind", kind.as_str()), ("what", what)], n)),
        )
    }
}

impl Sources {
    fn ownership(&self, out: &mut Writer<'_>) -> Result<(), std::fmt::Error> {
        let summary = self.summary.lock().clone();
        out.gauge(
            "addresses_owned",
            "Addresses this node owns",
            count(summary.answering.len()),
        )?;
        out.gauge(
            "addresses_owned_anywhere",
            "Addresses that have an owner, on whatever node",
            count(summary.owners.len()),
        )?;
        let cluster = summary.cluster.unwrap_or_default();
        out.gauges(
            "addresses_unannounced",
            "Addresses that somebody holds and no node answers for, by reason; one node of all says it",
            cluster
                .unannounced
                .iter()
                .map(|(reason, n)| ([("reason", *reason)], count(*n))),
        )?;
        let policies = || cluster.policies.iter();
        out.gauges(
            "policy_accepted",
            "Whether a policy is accepted as a whole, by policy; one node of all says it",
            policies().map(|(policy, outcome)| {
                (
                    [("policy", policy.as_str())],
                    flag(outcome.defects.is_empty()),
                )
            }),
        )?;
        out.gauges(
            "policy_nodes",
            "Nodes that can announce under a policy, by policy; one node of all says it",
            policies()
                .map(|(policy, outcome)| ([("policy", policy.as_str())], count(outcome.nodes))),
        )?;
        out.gauges(
            "policy_addresses",
            "Addresses that a policy selects, by policy; one node of all says it",
            policies()
                .map(|(policy, outcome)| ([("policy", policy.as_str())], count(outcome.addresses))),
        )?;
        out.gauge(
            "session_remaining_seconds",
            "Time this node may go on answering unless it renews its session",
            summary.session_remaining_seconds,
        )?;
        out.gauge(
            "sessions_live",
            "Nodes with a live session",
            count(summary.live.len()),
        )?;
        out.gauge(
            "nodes_silenced",
            "Nodes whose pods get no new connections by XDP, because others ended their sessions for silence",
            count(summary.silenced.len()),
        )?;
        out.gauge(
            "conflicts",
            "Addresses a foreign host uses",
            count(summary.conflicts.len()),
        )?;
        out.counter(
            "conflicts_seen",
            "Foreign hosts found at our addresses",
            summary.conflicts_seen,
        )?;
        out.counters(
            "transitions",
            "Ownerships this node took, by reason",
            summary
                .transitions
                .into_iter()
                .map(|(reason, n)| ([("reason", reason)], n)),
        )?;
        out.gauge(
            "endpoints_unplaced",
            "Endpoints on no node of this segment",
            count(summary.unplaced),
        )
    }

    fn wire(&self, out: &mut Writer<'_>) -> Result<(), std::fmt::Error> {
        let wire = self.responder.counters();
        let each = || wire.interfaces.iter();
        out.counters(
            "frames_answered",
            "Questions answered",
            each().flat_map(|i| {
                let label =
                    |protocol| [("interface", i.interface.as_str()), ("protocol", protocol)];
                [
                    (label("arp"), i.answered_arp),
                    (label("ndp"), i.answered_ndp),
                ]
            }),
        )?;
        out.counters(
            "frames_ignored",
            "Frames not answered, by reason",
            each().flat_map(|i| {
                i.ignored.iter().map(move |(reason, n)| {
                    (
                        [
                            ("interface", i.interface.as_str()),
                            ("reason", reason.label()),
                        ],
                        *n,
                    )
                })
            }),
        )?;
        for (name, help, value) in [
            (
                "frames_announced",
                "Gratuitous announcements sent",
                (|i| i.announced) as fn(&crate::responder::InterfaceSnapshot) -> u64,
            ),
            ("frames_probed", "Probes sent before first claims", |i| {
                i.probed
            }),
            (
                "defences",
                "Announcements made because a foreign host claimed an address of ours",
                |i| i.defended,
            ),
            (
                "probes_contested",
                "Frames in which a foreign host claimed an address that was being probed",
                |i| i.contested,
            ),
            ("frames_unsent", "Frames the kernel would not send", |i| {
                i.unsent
            }),
            ("receive_errors", "Errors of receiving sockets", |i| {
                i.receive_errors
            }),
            (
                "frames_dropped",
                "Frames the kernel dropped before this process saw them",
                |i| i.dropped,
            ),
        ] {
            out.counters(
                name,
                help,
                each().map(|i| ([("interface", i.interface.as_str())], value(i))),
            )?;
        }
        out.counters(
            "double_answers",
            "Frames in which another host claimed an address that this node answers for, by who: an announcer, as while an address moves or is probed, or a foreign host",
            each().flat_map(|i| {
                let label = |by| [("interface", i.interface.as_str()), ("by", by)];
                [
                    (label("announcer"), i.ignored(Reason::Peer)),
                    (label("foreign"), i.conflicts),
                ]
            }),
        )?;
        out.counters(
            "frames_filtered",
            "Frames the eBPF filter kept away from this process, by reason",
            wire.filtered
                .iter()
                .map(|(reason, n)| ([("reason", reason.label())], *n)),
        )
    }

    fn heartbeats(&self, out: &mut Writer<'_>) -> Result<(), std::fmt::Error> {
        let [sent, unsent, heard] = self.heartbeats.frames();
        out.counter("heartbeats_sent", "Frames sent to other announcers", sent)?;
        out.counter(
            "heartbeats_unsent",
            "Frames to other announcers that the kernel would not send",
            unsent,
        )?;
        out.counter(
            "heartbeats_heard",
            "Authentic frames of other announcers",
            heard,
        )?;
        out.counters(
            "heartbeats_refused",
            "Frames of other announcers that were not believed, by reason",
            self.heartbeats
                .refusals()
                .map(|(reason, n)| ([("reason", reason.label())], n)),
        )?;
        let status = self.heartbeats.status();
        out.gauge(
            "heartbeats_enabled",
            "Whether there are keys for heartbeats",
            flag(status.speaks),
        )?;
        out.gauge(
            "heartbeats_late_seconds",
            "How late the timer of the heartbeats was at most in the last half second",
            status.late.as_secs_f64(),
        )?;
        out.counters(
            "heartbeats_by_own_name",
            "Beats by this node's own name: heard of another machine, or perhaps copied of what a process of this node said",
            [
                ([("beats", "heard")], status.namesake_beats),
                ([("beats", "copied")], status.copied_beats),
            ],
        )?;
        out.gauge(
            "peers_heard",
            "Sessions of other nodes that are heard both ways",
            count(status.sessions()),
        )?;
        out.gauges(
            "segment_peers_heard",
            "Sessions of other nodes that are heard both ways, by interface",
            status.heard.iter().map(|(interface, sessions)| {
                ([("interface", interface.as_str())], count(sessions.len()))
            }),
        )?;
        out.histogram(
            "takeover_seconds",
            "From the last heartbeat of a silent node until this one answers, for each address taken over",
            &self.silences,
        )?;
        let counts = self.summary.lock().silences.clone();
        out.counters(
            "silences",
            "Sessions that fell silent, by what came of it",
            counts
                .into_iter()
                .map(|(outcome, n)| ([("outcome", outcome)], n)),
        )
    }

    fn data_path(&self, out: &mut Writer<'_>) -> Result<(), std::fmt::Error> {
        let status = self.director.status();
        let (is_ready, is_failed) = (
            status.state == XdpState::Ready,
            status.state == XdpState::Failed,
        );
        out.gauge(
            "director_ready",
            "Whether the XDP director runs",
            flag(is_ready),
        )?;
        out.gauge(
            "director_failed",
            "Whether the XDP director is wanted and cannot run",
            flag(is_failed),
        )?;
        out.gauges(
            "director_interfaces",
            "Interfaces that the XDP director is on, by where its programs run",
            status.interfaces.iter().map(|(interface, path)| {
                let labels = [("interface", interface.as_str()), ("path", path.as_str())];
                (labels, 1.0)
            }),
        )?;
        out.gauge(
            "director_frontends",
            "Frontends programmed",
            count(status.frontends),
        )?;
        out.gauge(
            "director_backends",
            "Backends programmed",
            count(status.backends),
        )?;
        out.gauge(
            "director_refused",
            "Frontends left to the kernel",
            count(status.refused),
        )?;
        out.gauge(
            "director_unanswered",
            "TCP connections opened at pods of this node within the last half minute that no reply has been seen of",
            count(status.unanswered),
        )?;
        out.counter(
            "director_half_open_inserted",
            "Entries of half-open connections to pods of this node that came, one for each direction",
            status.half_open_inserted,
        )?;
        out.counter(
            "director_half_open_evicted",
            "Entries of half-open connections to pods of this node that went for want of room, as under a flood of SYNs",
            status.half_open_evicted,
        )?;
        let counters = self.director.counters();
        out.counters(
            "director_packets",
            "Packets by what the director did with them",
            counters
                .into_iter()
                .map(|(verdict, n)| ([("verdict", verdict.label())], n)),
        )?;
        out.counters(
            "letters_refused",
            "Letters of other nodes about connections that were not believed, by reason",
            self.director
                .disbelieved()
                .by_reason()
                .into_iter()
                .map(|(reason, n)| ([("reason", reason)], n)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyOutcome;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn the_metrics_and_their_labels_are_these() {
        let token = CancellationToken::new();
        let _end = token.clone().drop_guard();
        let (_links, links) = watch::channel(Arc::default());
        let summary = Summary {
            transitions: [("first", 2)].into(),
            silences: [("fenced", 1)].into(),
            cluster: Some(crate::brain::ClusterSummary {
                unannounced: [("NoMatchingPolicy", 1)].into(),
                policies: [("all".into(), PolicyOutcome::default())].into(),
            }),
            ..Summary::default()
        };
        let sources = Sources {
            summary: Arc::new(Mutex::new(summary)),
            responder: Responder::start(Default::default(), links, token),
            director: DirectorView::default(),
            heartbeats: peers::View::default(),
            silences: {
                let silences = silences();
                silences.observe(0.22);
                silences
            },
            watch_errors: Arc::new(Mutex::new(
                [((crate::model::Kind::Node, "request"), 1)].into(),
            )),
            write_failures: WriteFailures::default(),
        };
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry(sources)).unwrap();
        insta::assert_snapshot!(text);
    }
}
