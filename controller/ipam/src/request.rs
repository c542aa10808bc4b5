//! What a Service asks for: annotations and `spec.loadBalancerIP`, read into values or refused.
//!
//! An unreadable or contradictory request is refused and never replaced by another address: the
//! refusal names the field, what stands there and what would help.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_crds::annotations::{
    IPS_ALIASES, POOL_ALIASES, RENUMBER, SHARING_CROSS_NAMESPACE_ALIASES, SHARING_KEY_ALIASES,
    SHARING_PERMIT_DIFFERENT_PODS_ALIASES,
};

use landfall_crds::text::quoted;

use crate::{Family, PoolName, Reason, Refusal};

/// At most so many addresses are asked for, however many lists they stand in, and by external
/// addresses besides.
pub const MAX_ADDRESSES: usize = 16;
/// At most so many bytes a list.
const MAX_LIST: usize = 1024;

/// The name of `spec.loadBalancerIP` in messages.
const LOAD_BALANCER_IP: &str = "spec.loadBalancerIP";

/// Which namespaces a Service shares its address with, besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All (`*`).
    Any,
    /// These.
    Named(BTreeSet<String>),
}

impl Namespaces {
    /// Whether the namespace is among them.
    #[must_use]
    pub fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.contains(namespace),
        }
    }
}

/// On what terms a Service shares its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Only Services of the same key share.
    pub key: String,
    /// Namespaces it shares with, besides its own.
    pub namespaces: Namespaces,
    /// Whether other pods may stand behind the same address under `Local`.
    pub different_pods: bool,
}

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The addresses, in the order they are asked for, each once.
    pub addresses: Vec<IpAddr>,
    /// Where each of them is asked for.
    pub fields: BTreeMap<IpAddr, &'static str>,
    /// The only pools it accepts, one for each family at most; none: any.
    pub pools: Vec<PoolName>,
    /// Sharing, when it has a key.
    pub sharing: Option<Sharing>,
    /// It agrees to move off an address that its pool no longer covers.
    pub renumber: bool,
}

impl Request {
    /// Reads a Service's annotations and its `spec.loadBalancerIP`.
    ///
    /// # Errors
    /// A [`Refusal`] of reason `InvalidRequest` that names the field, its text and the remedy.
    pub fn read(
        annotations: &BTreeMap<String, String>,
        load_balancer_ip: Option<&str>,
    ) -> Result<Self, Refusal> {
        let (addresses, fields) = addresses(annotations, load_balancer_ip)?;
        Ok(Self {
            addresses,
            fields,
            pools: pools(annotations)?,
            sharing: sharing(annotations)?,
            renumber: flag(annotations, &[RENUMBER])?,
        })
    }

    /// Whether it accepts addresses of this pool.
    #[must_use]
    pub fn accepts(&self, pool: &PoolName) -> bool {
        self.pools.is_empty() || self.pools.contains(pool)
    }

    /// Whether it names this pool.
    #[must_use]
    pub fn names(&self, pool: &PoolName) -> bool {
        self.pools.contains(pool)
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Reason::InvalidRequest, message)
}

fn addresses(
    annotations: &BTreeMap<String, String>,
    load_balancer_ip: Option<&str>,
) -> Result<(Vec<IpAddr>, BTreeMap<IpAddr, &'static str>), Refusal> {
    let annotated = IPS_ALIASES
        .iter()
        .filter_map(|name| annotations.get(*name).map(|text| (*name, text.as_str())));
    let (mut found, mut fields) = (Vec::new(), BTreeMap::new());
    for (field, text) in annotated.chain(load_balancer_ip.map(|text| (LOAD_BALANCER_IP, text))) {
        if !text.trim().is_empty() {
            list(field, text, &mut found)?;
        }
        for address in &found {
            fields.entry(*address).or_insert(field);
        }
    }
    Ok((found, fields))
}

/// Reads one list of addresses into those found before.
fn list(field: &str, text: &str, found: &mut Vec<IpAddr>) -> Result<(), Refusal> {
    let length = text.len();
    if length > MAX_LIST {
        return Err(invalid(format!(
            "{field}: the list has {length} bytes; use at most {MAX_LIST}"
        )));
    }
    let items = text.split(',').map(str::trim);
    let unreadable: Vec<&str> = items
        .clone()
        .filter(|item| item.parse::<IpAddr>().is_err())
        .collect();
    if unreadable == [""] && text.trim_end().ends_with(',') {
        return Err(invalid(format!(
            "{field}: {} ends with a comma; remove it, or write one more address",
            quoted(text)
        )));
    }
    if !unreadable.is_empty() {
        let are = match unreadable.len() {
            1 => "is not an IP address",
            _ => "are not IP addresses",
        };
        let words: Vec<String> = unreadable
            .iter()
            .map(|item| quoted(item).to_string())
            .collect();
        return Err(invalid(format!(
            "{field}: {} {are}; write addresses separated by commas, such as \"192.0.2.10,2001:db8::10\"",
            words.join(", ")
        )));
    }
    for address in items.filter_map(|item| item.parse::<IpAddr>().ok()) {
        if let Some(kind) = crate::address::unusable(address) {
            return Err(invalid(format!(
                "{field}: {address} is {kind}, which no Service can have; ask for an address of a pool"
            )));
        }
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.len() > MAX_ADDRESSES {
        return Err(invalid(format!(
            "{field}: asks for {} addresses; ask for at most {MAX_ADDRESSES}",
            found.len()
        )));
    }
    Ok(())
}

/// The pools a Service names: a list, because a pool may have one family only.
fn pools(annotations: &BTreeMap<String, String>) -> Result<Vec<PoolName>, Refusal> {
    let Some((field, text)) = single(annotations, &POOL_ALIASES)? else {
        return Ok(Vec::new());
    };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if names.contains(&"") {
        return Err(invalid(format!(
            "{field}: {} has a comma without a pool beside it; remove the comma, or name one more pool",
            quoted(text)
        )));
    }
    let once: BTreeSet<&str> = names.iter().copied().collect();
    if once.len() < names.len() {
        return Err(invalid(format!(
            "{field}: {} names a pool twice; name each once",
            quoted(text)
        )));
    }
    if names.len() > Family::ALL.len() {
        return Err(invalid(format!(
            "{field}: names {} pools; name at most one for each family",
            names.len()
        )));
    }
    Ok(names.into_iter().map(PoolName::from).collect())
}

/// The one value several spellings of an annotation agree on.
fn single<'a>(
    annotations: &'a BTreeMap<String, String>,
    names: &[&'static str],
) -> Result<Option<(&'static str, &'a str)>, Refusal> {
    let mut found: Option<(&'static str, &str)> = None;
    for &name in names {
        let Some(text) = annotations.get(name).map(|text| text.trim()) else {
            continue;
        };
        match found {
            _ if text.is_empty() => {}
            None => found = Some((name, text)),
            Some((_, before)) if before == text => {}
            Some((first, before)) => {
                return Err(invalid(format!(
                    "{first}: {} and {name}: {} contradict each other; keep one",
                    quoted(before),
                    quoted(text)
                )));
            }
        }
    }
    Ok(found)
}

fn flag(annotations: &BTreeMap<String, String>, names: &[&'static str]) -> Result<bool, Refusal> {
    match single(annotations, names)? {
        None | Some((_, "false")) => Ok(false),
        Some((_, "true")) => Ok(true),
        Some((name, text)) => Err(invalid(format!(
            "{name}: {} is neither \"true\" nor \"false\"; write one of them, or leave it out",
            quoted(text)
        ))),
    }
}

fn sharing(annotations: &BTreeMap<String, String>) -> Result<Option<Sharing>, Refusal> {
    let namespaces = single(annotations, &SHARING_CROSS_NAMESPACE_ALIASES)?;
    let different_pods = flag(annotations, &SHARING_PERMIT_DIFFERENT_PODS_ALIASES)?;
    let Some((name, key)) = single(annotations, &SHARING_KEY_ALIASES)? else {
        return Ok(None);
    };
    let length = key.chars().count();
    if length > landfall_crds::MAX_SHARING_KEY {
        return Err(invalid(format!(
            "{name}: the key has {length} characters; use at most {}",
            landfall_crds::MAX_SHARING_KEY
        )));
    }
    let namespaces = match namespaces {
        Some((_, "*")) => Namespaces::Any,
        Some((_, list)) => Namespaces::Named(
            list.split(',')
                .map(|name| name.trim().to_owned())
                .filter(|n| !n.is_empty())
                .collect(),
        ),
        // MetalLB shares across namespaces without further permission.
        None if name.starts_with("metallb.") => Namespaces::Any,
        None => Namespaces::Named(BTreeSet::new()),
    };
    Ok(Some(Sharing {
        key: key.to_owned(),
        namespaces,
        different_pods,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], ip: Option<&str>) -> Result<Request, Refusal> {
        let annotations = pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        Request::read(&annotations, ip)
    }

    #[test]
    fn nothing_asked_is_an_empty_request() {
        assert_eq!(read(&[], None), Ok(Request::default()));
        assert_eq!(
            read(&[("landfall.dev/ips", " ")], Some("")),
            Ok(Request::default())
        );
    }

    #[test]
    fn all_spellings_of_addresses_are_one_list() {
        let request = read(
            &[
                ("landfall.dev/ips", "192.0.2.1, 2001:db8::1"),
                ("metallb.universe.tf/loadBalancerIPs", "192.0.2.2"),
                ("lbipam.cilium.io/ips", "192.0.2.1"),
            ],
            Some("192.0.2.3"),
        );
        let texts: Vec<_> = request
            .unwrap()
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]
        );
    }

    #[test]
    fn an_unreadable_address_is_refused_by_name() {
        for text in [
            "192.0.2.300",
            "192.0.2.1,",
            "192.0.2.1-192.0.2.3",
            "192.0.2.0/24",
            "any",
        ] {
            let refusal = read(&[("landfall.dev/ips", text)], None).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidRequest);
            assert!(
                refusal.message.starts_with("landfall.dev/ips: "),
                "{}",
                refusal.message
            );
        }
        let refusal = read(&[], Some("nowhere")).unwrap_err();
        assert!(
            refusal
                .message
                .starts_with("spec.loadBalancerIP: \"nowhere\"")
        );
    }

    #[test]
    fn an_address_no_service_can_have_is_refused() {
        for text in [
            "127.0.0.1",
            "224.0.0.9",
            "0.0.0.0",
            "::",
            "::1",
            "ff02::1",
            "::ffff:192.0.2.1",
        ] {
            let refusal = read(&[("landfall.dev/ips", text)], None).unwrap_err();
            assert!(
                refusal.message.contains("which no Service can have"),
                "{}",
                refusal.message
            );
        }
    }

    #[test]
    fn spellings_that_contradict_each_other_are_refused() {
        let refusal = read(
            &[("landfall.dev/pool", "a"), ("metallb.io/address-pool", "b")],
            None,
        )
        .unwrap_err();
        assert_eq!(
            refusal.message,
            "landfall.dev/pool: \"a\" and metallb.io/address-pool: \"b\" contradict each other; keep one"
        );
        let agreed = read(
            &[("landfall.dev/pool", "a"), ("metallb.io/address-pool", "a")],
            None,
        );
        assert_eq!(agreed.unwrap().pools, [PoolName::from("a")]);
    }

    #[test]
    fn two_pools_are_named_with_a_comma_and_three_or_one_twice_are_refused() {
        let pools = |text: &str| read(&[("landfall.dev/pool", text)], None);
        let two = pools("four, six").unwrap().pools;
        assert_eq!(two, [PoolName::from("four"), PoolName::from("six")]);
        for (text, says) in [
            ("four,", "has a comma without a pool beside it"),
            (",four", "has a comma without a pool beside it"),
            ("four,four", "names a pool twice"),
            ("four,six,more", "names 3 pools"),
        ] {
            let refusal = pools(text).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidRequest);
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
    }

    #[test]
    fn a_metallb_key_shares_across_namespaces_and_ours_asks_for_permission() {
        let metallb = read(&[("metallb.io/allow-shared-ip", "k")], None)
            .unwrap()
            .sharing
            .unwrap();
        assert!(metallb.namespaces.admits("anywhere"));
        let ours = read(&[("landfall.dev/sharing-key", "k")], None)
            .unwrap()
            .sharing
            .unwrap();
        assert!(!ours.namespaces.admits("anywhere"));
        let named = read(
            &[
                ("landfall.dev/sharing-key", "k"),
                ("landfall.dev/sharing-cross-namespace", "a, b"),
            ],
            None,
        );
        let named = named.unwrap().sharing.unwrap();
        assert!(named.namespaces.admits("b") && !named.namespaces.admits("c"));
    }

    #[test]
    fn a_flag_is_true_or_false_and_nothing_else() {
        assert!(read(&[(RENUMBER, "true")], None).unwrap().renumber);
        assert!(!read(&[(RENUMBER, "false")], None).unwrap().renumber);
        let refusal = read(&[(RENUMBER, "yes")], None).unwrap_err();
        assert_eq!(
            refusal.message,
            "landfall.dev/renumber: \"yes\" is neither \"true\" nor \"false\"; \
             write one of them, or leave it out"
        );
    }
}
