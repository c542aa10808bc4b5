//! Whether the controller and the announcers run, and if not, why. Pure.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::Workload;
use super::judge::Findings;
use crate::picture::{ANNOUNCER, CONTROLLER, NAMESPACE, Picture, Published, Session};

pub(super) fn workloads(picture: &Picture, findings: &mut Findings) -> Vec<Workload> {
    let mut found = Vec::new();
    let image = |template: &k8s_openapi::api::core::v1::PodTemplateSpec| {
        let containers = template.spec.as_ref().map(|spec| &spec.containers);
        let image = containers.and_then(|all| all.first()?.image.clone());
        image.unwrap_or_default()
    };
    if let Some(controller) = picture.controller() {
        let spec = controller.spec.clone().unwrap_or_default();
        let status = controller.status.clone().unwrap_or_default();
        found.push(Workload {
            name: CONTROLLER.to_owned(),
            // Those of the template that is in force: in the middle of a roll-out it is not over.
            ready: status
                .ready_replicas
                .unwrap_or_default()
                .min(status.updated_replicas.unwrap_or_default()),
            wanted: spec.replicas.unwrap_or(1),
            image: image(&spec.template),
        });
    } else if picture.deployments.is_seen() {
        findings.wrong.push(format!(
            "there is no Deployment {CONTROLLER} in {NAMESPACE}: `landfall install` makes it"
        ));
    }
    if let Some(announcer) = picture.announcer() {
        let spec = announcer.spec.clone().unwrap_or_default();
        let status = announcer.status.clone().unwrap_or_default();
        found.push(Workload {
            name: ANNOUNCER.to_owned(),
            ready: status
                .number_ready
                .min(status.updated_number_scheduled.unwrap_or_default()),
            wanted: status.desired_number_scheduled,
            image: image(&spec.template),
        });
    } else if picture.daemon_sets.is_seen() {
        findings.wrong.push(format!(
            "there is no DaemonSet {ANNOUNCER} in {NAMESPACE}: `landfall install` makes it"
        ));
    }
    for workload in &found {
        if workload.ready < workload.wanted {
            let why = waiting(picture.pods.all(), &workload.name);
            let why = why.map_or_else(
                || format!("kubectl -n {NAMESPACE} get pods says more"),
                |why| format!("a container waits: {why}"),
            );
            findings.wrong.push(format!(
                "{}: {} of {} ready; {why}",
                workload.name, workload.ready, workload.wanted
            ));
        }
    }
    let tags: Vec<&str> = found.iter().filter_map(|one| tag(&one.image)).collect();
    if let [one, other] = tags.as_slice()
        && one != other
    {
        findings.notes.push(format!(
            "controller {one} and announcers {other} are of different versions; `landfall upgrade` brings both to one"
        ));
    }
    found
}

/// The tag of an image; none where it has a digest alone.
pub(crate) fn tag(image: &str) -> Option<&str> {
    let name = image.rsplit('/').next()?;
    let name = name.split('@').next()?;
    name.split_once(':').map(|(_, tag)| tag)
}

/// Why a container of the workload does not run, in the kubelet's own words.
fn waiting(pods: &[Pod], workload: &str) -> Option<String> {
    const LABEL: &str = "app.kubernetes.io/name";
    let mut of = pods.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(LABEL))
            .map(String::as_str)
            == Some(workload)
    });
    of.find_map(|pod| {
        let status = pod.status.as_ref()?;
        let mut containers = status.container_statuses.iter().flatten();
        let state = containers.find_map(|container| container.state.as_ref()?.waiting.clone());
        if let Some(waiting) = state {
            let reason = waiting.reason.unwrap_or_default();
            let image = matches!(
                reason.as_str(),
                "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName"
            );
            let remedy = if image {
                "; name your registry: landfall upgrade --registry REGISTRY"
            } else {
                ""
            };
            let message = waiting.message.map(|message| format!(" ({message})"));
            return Some(format!("{reason}{}{remedy}", message.unwrap_or_default()));
        }
        let conditions = status.conditions.iter().flatten();
        let mut unscheduled =
            conditions.filter(|c| c.type_ == "PodScheduled" && c.status == "False");
        unscheduled.find_map(|condition| condition.message.clone())
    })
}

pub(super) fn leader(picture: &Picture, now: Timestamp, findings: &mut Findings) -> Option<String> {
    let mut leases = picture.leases.all().iter();
    let lease = leases.find(|lease| lease.metadata.name.as_deref() == Some(CONTROLLER));
    let spec = lease
        .and_then(|lease| lease.spec.clone())
        .unwrap_or_default();
    let holder = spec.holder_identity.filter(|who| !who.is_empty());
    let session = Session {
        held: holder.is_some(),
        expires: spec
            .renew_time
            .map(|at| at.0.as_second() + i64::from(spec.lease_duration_seconds.unwrap_or(15))),
        published: Published::default(),
    };
    if session.lives(now.as_second()) {
        // The name of the Pod, and when it started.
        return holder.map(|who| {
            let pod = who.rsplit_once('_').map(|(pod, _)| pod.to_owned());
            pod.unwrap_or(who)
        });
    }
    if picture.leases.is_seen() && picture.controller().is_some() {
        findings.wrong.push(format!(
            "no replica of the controller leads: nobody gets an address; kubectl -n {NAMESPACE} logs deploy/{CONTROLLER} says why"
        ));
    }
    None
}
