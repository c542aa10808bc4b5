//! Who claims our addresses: of each, one who is told of. Pure; as many as there are addresses.
//!
//! Invariant: whoever claims an address under ever new Ethernet addresses is told of as one, and changes its name once a
//! minute at most. What is told becomes Events and conditions, and their pace is not a stranger's to choose.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use landfall_wire::Mac;

/// Between two reports of one address.
const AGAIN: Duration = Duration::from_secs(1);
/// Whoever has not been seen for so long gives way to whoever is.
const GONE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Claimant {
    mac: Mac,
    seen: Instant,
    told: Instant,
}

/// The claimants of owned addresses.
#[derive(Debug, Default)]
pub(super) struct Claimants(HashMap<IpAddr, Claimant>);

impl Claimants {
    /// Notes a claim; whom to tell of, if it is time again.
    pub(super) fn told(&mut self, address: IpAddr, mac: Mac, now: Instant) -> Option<Mac> {
        let recent = |since: Instant, pause| now.duration_since(since) < pause;
        if let Some(known) = self.0.get_mut(&address)
            && (known.mac == mac || recent(known.seen, GONE))
        {
            if known.mac == mac {
                known.seen = now;
            }
            if recent(known.told, AGAIN) {
                return None;
            }
            known.told = now;
            return Some(known.mac);
        }
        self.0.retain(|_, known| recent(known.seen, GONE));
        let (seen, told) = (now, now);
        self.0.insert(address, Claimant { mac, seen, told });
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn mac(number: u64) -> Mac {
        let [.., a, b, c] = number.to_be_bytes();
        Mac([2, 0, 0, a, b, c])
    }

    #[test]
    fn a_claimant_is_told_of_once_a_second() {
        let (start, mut claimants) = (Instant::now(), Claimants::default());
        let told = (0..1_000).filter(|step| {
            let now = start + Duration::from_millis(10 * step);
            claimants.told(ADDRESS, mac(1), now).is_some()
        });
        assert_eq!(told.count(), 10);
    }

    #[test]
    fn ever_new_claimants_are_one_for_a_minute() {
        let (start, mut claimants) = (Instant::now(), Claimants::default());
        let mut names: Vec<Mac> = (0..1_800)
            .filter_map(|step| {
                let now = start + Duration::from_millis(100 * step);
                claimants.told(ADDRESS, mac(step), now)
            })
            .collect();
        assert_eq!(names.len(), 180);
        names.dedup();
        assert_eq!(names.len(), 3, "in three minutes");
    }

    #[test]
    fn another_address_is_another_matter_and_what_is_past_is_forgotten() {
        let (start, mut claimants) = (Instant::now(), Claimants::default());
        let other = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
        assert_eq!(claimants.told(ADDRESS, mac(1), start), Some(mac(1)));
        assert_eq!(claimants.told(other, mac(2), start), Some(mac(2)));
        assert_eq!(claimants.told(ADDRESS, mac(3), start + GONE), Some(mac(3)));
        assert_eq!(claimants.0.len(), 1);
    }
}
