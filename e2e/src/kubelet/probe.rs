//! Probes: what to ask, when, and what a series of answers means. Pure; `prober` asks.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Startup,
    Liveness,
    Readiness,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
}

/// One question to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Http {
        host: IpAddr,
        port: u16,
        path: String,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: IpAddr,
        port: u16,
    },
    Exec {
        command: Vec<String>,
    },
    /// Only as a preStop hook.
    Sleep(Duration),
}

/// A probe with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) ask: Ask,
    pub(crate) delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    success: u32,
    failure: u32,
}

/// Why a probe cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("port {0:?} is no port of the container")]
    Port(String),
    #[error("host {0:?} is not an address")]
    Host(String),
    #[error("the probe asks nothing the lab's kubelet plays")]
    Nothing,
}

/// Reads the probe of that purpose, if the container has one.
pub(crate) fn schedule(
    container: &Container,
    purpose: Purpose,
    pod_ip: IpAddr,
) -> Result<Option<Schedule>, ProbeError> {
    let probe: &Option<Probe> = match purpose {
        Purpose::Startup => &container.startup_probe,
        Purpose::Liveness => &container.liveness_probe,
        Purpose::Readiness => &container.readiness_probe,
    };
    let Some(probe) = probe else { return Ok(None) };
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|s| u64::try_from(s).ok()).unwrap_or(default))
    };
    let times = |value: Option<i32>, default: u32| {
        value
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(default)
    };
    let handler = (&probe.http_get, &probe.tcp_socket, &probe.exec);
    Ok(Some(Schedule {
        ask: ask(container, handler, pod_ip)?,
        delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
        timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
        success: times(probe.success_threshold, 1),
        failure: times(probe.failure_threshold, 3),
    }))
}

/// What the preStop hook of a container does, if it has one.
pub(crate) fn pre_stop(container: &Container, pod_ip: IpAddr) -> Result<Option<Ask>, ProbeError> {
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(hook) = hook else { return Ok(None) };
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        return Ok(Some(Ask::Sleep(Duration::from_secs(seconds))));
    }
    ask(
        container,
        (&hook.http_get, &hook.tcp_socket, &hook.exec),
        pod_ip,
    )
    .map(Some)
}

type Handler<'a> = (
    &'a Option<HTTPGetAction>,
    &'a Option<TCPSocketAction>,
    &'a Option<ExecAction>,
);

fn ask(container: &Container, handler: Handler<'_>, pod_ip: IpAddr) -> Result<Ask, ProbeError> {
    match handler {
        (Some(get), _, _) => {
            let headers = get.http_headers.iter().flatten();
            let path = get
                .path
                .clone()
                .filter(|path| !path.is_empty())
                .unwrap_or("/".into());
            Ok(Ask::Http {
                host: host(get.host.as_deref(), pod_ip)?,
                port: port(container, &get.port)?,
                path: if path.starts_with('/') {
                    path
                } else {
                    format!("/{path}")
                },
                headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
            })
        }
        (None, Some(tcp), _) => Ok(Ask::Tcp {
            host: host(tcp.host.as_deref(), pod_ip)?,
            port: port(container, &tcp.port)?,
        }),
        (None, None, Some(exec)) => Ok(Ask::Exec {
            command: exec.command.clone().unwrap_or_default(),
        }),
        (None, None, None) => Err(ProbeError::Nothing),
    }
}

fn host(text: Option<&str>, pod_ip: IpAddr) -> Result<IpAddr, ProbeError> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(pod_ip),
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        Some(text) => text.parse().map_err(|_| ProbeError::Host(text.to_owned())),
    }
}

fn port(container: &Container, port: &IntOrString) -> Result<u16, ProbeError> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(text))
            .map(|port| port.container_port)
            .or_else(|| text.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            ProbeError::Port(match port {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(text) => text.clone(),
            })
        })
}

/// Counts answers in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counter {
    success: u32,
    failure: u32,
    streak: (bool, u32),
}

impl Counter {
    /// None seen yet.
    pub(crate) fn of(schedule: &Schedule) -> Self {
        Self {
            success: schedule.success,
            failure: schedule.failure,
            streak: (false, 0),
        }
    }

    /// Takes in an answer; a verdict once enough of the same kind came in a row.
    pub(crate) fn observe(&mut self, ok: bool) -> Option<bool> {
        let (last, n) = self.streak;
        self.streak = if last == ok {
            (ok, n.saturating_add(1))
        } else {
            (ok, 1)
        };
        let needed = if ok { self.success } else { self.failure };
        (self.streak.1 >= needed).then_some(ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 2));

    fn container(probe: &str) -> Container {
        serde_saphyr::from_str(&format!(
            "{{name: c, ports: [{{name: http, containerPort: 8080}}], readinessProbe: {probe}}}"
        ))
        .unwrap()
    }

    fn read(probe: &str) -> Result<Option<Schedule>, ProbeError> {
        schedule(&container(probe), Purpose::Readiness, IP)
    }

    #[test]
    fn a_named_port_is_that_of_the_container() {
        let schedule = read("{httpGet: {path: readyz, port: http}}")
            .unwrap()
            .unwrap();
        let ask = Ask::Http {
            host: IP,
            port: 8080,
            path: "/readyz".into(),
            headers: vec![],
        };
        assert_eq!(schedule.ask, ask);
        assert_eq!(schedule.period, Duration::from_secs(10));
        let error = read("{tcpSocket: {port: grpc}}").unwrap_err();
        assert_eq!(error, ProbeError::Port("grpc".into()));
    }

    #[test]
    fn a_port_out_of_range_is_refused() {
        assert!(read("{tcpSocket: {port: 70000}}").is_err());
        assert!(read("{tcpSocket: {port: -1}}").is_err());
    }

    #[test]
    fn no_probe_is_no_schedule() {
        assert_eq!(
            schedule(&container("{tcpSocket: {port: 1}}"), Purpose::Liveness, IP),
            Ok(None)
        );
    }

    #[test]
    fn verdicts_come_after_enough_answers_in_a_row() {
        let schedule = read("{tcpSocket: {port: 1}, failureThreshold: 2, successThreshold: 2}");
        let mut counter = Counter::of(&schedule.unwrap().unwrap());
        let verdicts: Vec<_> = [true, true, false, true, false, false, false]
            .map(|ok| counter.observe(ok))
            .into();
        assert_eq!(
            verdicts,
            [None, Some(true), None, None, None, Some(false), Some(false)]
        );
    }

    #[test]
    fn a_pre_stop_sleep_is_read() {
        let container: Container =
            serde_saphyr::from_str("{name: c, lifecycle: {preStop: {sleep: {seconds: 3}}}}")
                .unwrap();
        assert_eq!(
            pre_stop(&container, IP),
            Ok(Some(Ask::Sleep(Duration::from_secs(3))))
        );
    }
}
