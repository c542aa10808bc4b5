//! A pool, compiled: which addresses it has and whom it admits.
//!
//! The CRD's rules refuse most bad pools at the API server; everything it cannot say is refused
//! here, by field and with a remedy. A refused pool covers nothing, and nobody loses an address by
//! that: records stay as they are.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use landfall_crds::text::quoted;
use landfall_crds::{Block, ExternalIPs, FirstLastIPs, LoadBalancerIPPoolSpec};

use crate::PoolName;
use crate::address::{Family, unusable};
use crate::selection::Selector;
use crate::spans::{Span, Spans};

/// A compiled pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// The addresses it may hand out, both families on one line.
    pub usable: Spans,
    /// Higher first.
    pub priority: i32,
    /// Hands out addresses without being asked by name.
    pub auto_assign: bool,
    /// Makes no new assignments.
    pub disabled: bool,
    /// Is being deleted: it drains.
    pub draining: bool,
    /// Services it admits; `None` is all.
    pub services: Option<Selector>,
    /// Namespaces it admits; `None` is all.
    pub namespaces: Option<Selector>,
    /// Classes of Gateways it is reserved for; empty is none.
    pub gateway_classes: Vec<String>,
    /// Keeps what Services that it admits name as external addresses from everybody else.
    pub respects_external: bool,
    /// At most so many addresses for one namespace.
    pub max_per_namespace: Option<u32>,
    /// At most so many addresses for one Service.
    pub max_per_service: Option<u32>,
}

/// A field of a pool that cannot be used, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PoolError {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it, and the remedy.
    pub problem: String,
}

impl PoolError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl Pool {
    /// Compiles a pool's spec.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn compile(
        name: &str,
        spec: &LoadBalancerIPPoolSpec,
        draining: bool,
    ) -> Result<Self, PoolError> {
        let LoadBalancerIPPoolSpec {
            blocks,
            excludes,
            allow_first_last_ips,
            service_selector,
            namespace_selector,
            gateway_classes,
            priority,
            auto_assign,
            disabled,
            external_ips,
            max_per_namespace,
            max_per_service,
        } = spec;
        if blocks.is_empty() {
            return Err(PoolError::new(
                "spec.blocks",
                "a pool needs at least one block; add one",
            ));
        }
        let mut usable = Spans::default();
        let mut kept = Spans::default();
        for (at, block) in blocks.iter().enumerate() {
            let (span, cidr) = span(&format!("spec.blocks[{at}]"), block)?;
            usable.insert(span);
            if cidr && *allow_first_last_ips == FirstLastIPs::No && span.count() > 2 {
                kept.insert(Span::point(span.start));
                kept.insert(Span::point(span.end));
            }
        }
        for (at, block) in excludes.iter().enumerate() {
            kept.insert(span(&format!("spec.excludes[{at}]"), block)?.0);
        }
        for span in kept.iter() {
            usable.remove(span);
        }
        let compile = |field: &str, selector: &Option<_>| {
            selector
                .as_ref()
                .map(Selector::compile)
                .transpose()
                .map_err(|problem| PoolError::new(field, problem))
        };
        Ok(Self {
            name: PoolName::from(name),
            usable,
            priority: *priority,
            auto_assign: *auto_assign,
            disabled: *disabled,
            draining,
            services: compile("spec.serviceSelector", service_selector)?,
            namespaces: compile("spec.namespaceSelector", namespace_selector)?,
            gateway_classes: gateway_classes.clone(),
            respects_external: *external_ips == ExternalIPs::Respect,
            max_per_namespace: max_per_namespace.and_then(|most| u32::try_from(most).ok()),
            max_per_service: max_per_service.and_then(|most| u32::try_from(most).ok()),
        })
    }

    /// Its spans of one family.
    pub fn spans(&self, family: Family) -> impl Iterator<Item = Span> + '_ {
        self.usable
            .iter()
            .filter(move |span| Family::of(span.start.address()) == family)
    }

    /// How many addresses of a family it has.
    #[must_use]
    pub fn total(&self, family: Family) -> u128 {
        self.spans(family).map(Span::count).sum()
    }

    /// The order of preference: higher priority, then pools with a selector, then by name.
    #[must_use]
    pub fn rank(&self) -> (std::cmp::Reverse<i32>, bool, &PoolName) {
        let selective = self.services.is_some() || self.namespaces.is_some();
        (std::cmp::Reverse(self.priority), !selective, &self.name)
    }
}

/// Reads a block; the flag says that it was a CIDR.
fn span(path: &str, block: &Block) -> Result<(Span, bool), PoolError> {
    match (&block.cidr, &block.start, &block.stop) {
        (Some(cidr), None, None) => Ok((cidr_span(&format!("{path}.cidr"), cidr)?, true)),
        (None, Some(start), stop) => Ok((range(path, start, stop.as_deref())?, false)),
        (None, None, Some(_)) => Err(PoolError::new(
            format!("{path}.stop"),
            "is the end of a range: set start too, or use cidr alone",
        )),
        _ => Err(PoolError::new(
            path,
            "a block has either cidr or start: set exactly one of them",
        )),
    }
}

fn cidr_span(field: &str, text: &str) -> Result<Span, PoolError> {
    let network = text
        .contains('/')
        .then(|| text.parse::<IpNetwork>().ok())
        .flatten()
        .ok_or_else(|| {
            let remedy = if text.contains('-') || text.parse::<IpAddr>().is_ok() {
                "is not a CIDR; write a range, or one address, in start and stop instead of cidr"
            } else {
                "is not a CIDR; write it like 192.0.2.0/24 or 2001:db8::/64"
            };
            PoolError::new(field, format!("{} {remedy}", quoted(text)))
        })?;
    if network.ip() != network.network() {
        let (aligned, prefix) = (network.network(), network.prefix());
        return Err(PoolError::new(
            field,
            format!(
                "{} has host bits set; write {aligned}/{prefix}, or use start and stop",
                quoted(text)
            ),
        ));
    }
    let last = match network {
        IpNetwork::V4(v4) => IpAddr::V4(v4.broadcast()),
        IpNetwork::V6(v6) => IpAddr::V6(v6.broadcast()),
    };
    livable(field, network.network(), last)
}

fn range(path: &str, start: &str, stop: Option<&str>) -> Result<Span, PoolError> {
    let read = |field: &str, text: &str| {
        text.parse::<IpAddr>().map_err(|_| {
            let remedy = "is not an IP address; write it like 192.0.2.10 or 2001:db8::10";
            PoolError::new(
                format!("{path}.{field}"),
                format!("{} {remedy}", quoted(text)),
            )
        })
    };
    let first = read("start", start)?;
    let last = stop.map_or(Ok(first), |stop| read("stop", stop))?;
    let field = format!("{path}.stop");
    if Family::of(first) != Family::of(last) {
        let (one, two) = (Family::of(first), Family::of(last));
        return Err(PoolError::new(
            field,
            format!("{last} is {two} but start {first} is {one}; use one block for each family"),
        ));
    }
    if last < first {
        return Err(PoolError::new(
            field,
            format!("{last} lies before start {first}; swap the two"),
        ));
    }
    livable(&format!("{path}.start"), first, last)
}

/// Ranges no Service can live on, by their first and last address.
const UNLIVABLE: [(&str, &str); 7] = [
    ("0.0.0.0", "0.255.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("255.255.255.255", "255.255.255.255"),
    ("::", "::1"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("::ffff:0:0", "::ffff:ffff:ffff"),
];

/// The span, unless a part of it can be no Service's address.
fn livable(field: &str, start: IpAddr, end: IpAddr) -> Result<Span, PoolError> {
    let span = Span::new(start.into(), end.into())
        .ok_or_else(|| PoolError::new(field, "the range is empty"))?;
    let ranges = UNLIVABLE
        .iter()
        .filter_map(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
        .filter(|(first, _): &(IpAddr, IpAddr)| Family::of(*first) == Family::of(start));
    for (first, last) in ranges {
        if Span::new(first.into(), last.into()).is_none_or(|bad| bad.intersection(span).is_none()) {
            continue;
        }
        let example = first.max(start);
        let kind = unusable(example).unwrap_or("a reserved address");
        return Err(PoolError::new(
            field,
            format!("the range holds {example}, {kind}; no Service can live there: leave it out"),
        ));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Point;

    fn cidr(text: &str) -> Block {
        Block {
            cidr: Some(text.into()),
            ..Block::default()
        }
    }

    fn range(start: &str, stop: Option<&str>) -> Block {
        Block {
            start: Some(start.into()),
            stop: stop.map(Into::into),
            ..Block::default()
        }
    }

    fn compile(spec: LoadBalancerIPPoolSpec) -> Result<Pool, PoolError> {
        Pool::compile("p", &spec, false)
    }

    fn refused(block: Block) -> String {
        compile(LoadBalancerIPPoolSpec::of(vec![
            cidr("198.51.100.0/30"),
            block,
        ]))
        .unwrap_err()
        .to_string()
    }

    #[test]
    fn every_refusal_names_block_field_and_remedy() {
        insta::assert_snapshot!(
            [
                refused(cidr("192.0.2.200/28")),
                refused(cidr("192.0.2.1")),
                refused(cidr("pool")),
                refused(cidr("127.0.0.0/30")),
                refused(cidr("0.0.0.0/0")),
                refused(cidr("::/0")),
                refused(cidr("::ffff:192.0.2.0/120")),
                refused(cidr("ff02::/112")),
                refused(range("10.0.0.1", Some("fd00::1"))),
                refused(range("10.0.0.9", Some("10.0.0.1"))),
                refused(range("10.0.0.300", None)),
                refused(range("10.0.0.3", Some("x"))),
                refused(range("::ffff:192.0.2.1", None)),
                refused(Block::default()),
                refused(Block {
                    stop: Some("10.0.0.1".into()),
                    ..Block::default()
                }),
                refused(Block {
                    cidr: Some("10.0.0.0/30".into()),
                    ..range("10.0.0.1", None)
                }),
            ]
            .join("\n")
        );
    }

    #[test]
    fn excludes_and_first_and_last_addresses_are_kept() {
        let mut spec = LoadBalancerIPPoolSpec::of(vec![
            cidr("192.0.2.0/29"),
            cidr("192.0.2.64/31"),
            range("192.0.2.100", Some("192.0.2.102")),
        ]);
        spec.excludes = vec![range("192.0.2.3", None)];
        spec.allow_first_last_ips = FirstLastIPs::No;
        let pool = compile(spec).unwrap();
        let all: Vec<String> = pool
            .usable
            .iter()
            .flat_map(|span| span.start.0..=span.end.0)
            .map(|point| Point(point).address().to_string())
            .collect();
        let want: Vec<String> = [1, 2, 4, 5, 6, 64, 65, 100, 101, 102]
            .map(|last| format!("192.0.2.{last}"))
            .into();
        assert_eq!(all, want);
    }

    #[test]
    fn families_mix_in_a_pool_and_are_counted_apart() {
        let spec = LoadBalancerIPPoolSpec::of(vec![cidr("192.0.2.0/24"), cidr("2001:db8::/64")]);
        let pool = compile(spec).unwrap();
        assert_eq!(pool.total(Family::V4), 256);
        assert_eq!(pool.total(Family::V6), 1 << 64);
    }
}
