//! The addresses of a run: where they lie, which Services hold them, and which of them are asked about. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Where they lie: the half of the range for benchmarks that no question is asked in the name of.
pub(super) const POOL: &str = "198.19.0.0/18";
const FIRST: u32 = 0xc613_0001;
/// More than these are shared by the same number of Services, so that what is measured is not kube-proxy.
const SERVICES: usize = 1_000;

/// So many.
pub(super) fn addresses(count: u16) -> Vec<Ipv4Addr> {
    (0..u32::from(count))
        .map(|number| Ipv4Addr::from(FIRST + number))
        .collect()
}

/// At most so many of them, evenly spread, and others each round.
pub(super) fn sample(all: &[Ipv4Addr], most: usize, round: usize) -> Vec<Ipv4Addr> {
    let step = all.len().div_ceil(most.max(1)).max(1);
    let from = round % step;
    all.iter().skip(from).step_by(step).copied().collect()
}

/// How many addresses a Service has.
pub(super) fn of_a_service(addresses: usize) -> usize {
    addresses.div_ceil(SERVICES).max(1)
}

/// Pool, policy and Services.
pub(super) fn manifest(addresses: &[Ipv4Addr], mode: &str) -> String {
    let mut text = format!(
        "apiVersion: landfall.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {{name: failover}}
spec:
  blocks: [{{cidr: {POOL}}}]
---
apiVersion: landfall.dev/v1alpha1
kind: L2AnnouncementPolicy
metadata: {{name: failover}}
spec:
  interfaces: [eth0]
  loadBalancing: {mode}
  nodeSelector: {{matchLabels: {{failover/owns: \"yes\"}}}}
"
    );
    let services = addresses.chunks(of_a_service(addresses.len()));
    for (number, addresses) in services.enumerate() {
        let addresses: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata:
  name: web-{number}
  namespace: failover
  annotations: {{landfall.dev/ips: \"{}\"}}
spec:
  type: LoadBalancer
  selector: {{app: backend}}
  ports:
    - {{name: http, port: 80, targetPort: http}}
    - {{name: echo, port: 7, targetPort: echo}}
",
            addresses.join(",")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ten_thousand_addresses_are_held_by_a_thousand_services_and_fewer_by_one_each() {
        let of = |count| {
            let text = manifest(&addresses(count), "Kernel");
            (text.matches("kind: Service").count(), text)
        };
        assert_eq!(of(10).0, 10);
        assert_eq!(of(1_000).0, 1_000);
        let (services, text) = of(10_000);
        assert_eq!(services, 1_000);
        assert!(text.contains("\"198.19.0.1,198.19.0.2,"));
        assert!(text.contains(",198.19.39.16\"") && !text.contains("198.19.39.17"));
    }

    #[test]
    fn a_sample_is_spread_evenly_and_rounds_reach_every_address() {
        let all = addresses(1_000);
        let one = sample(&all, 20, 0);
        assert_eq!((one.len(), one[0], one[1]), (20, all[0], all[50]));
        let rounds = (0..50).flat_map(|round| sample(&all, 20, round));
        assert_eq!(rounds.collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(sample(&all[..7], 20, 3), &all[..7]);
    }

    #[test]
    fn a_sample_is_never_larger_than_asked_for() {
        for count in [1, 19, 20, 21, 39, 41, 333] {
            let sampled = sample(&addresses(count), 20, 0).len();
            assert!((1..=20).contains(&sampled), "{sampled} of {count}");
        }
    }
}
