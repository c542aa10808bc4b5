//! Whatever a user writes is quoted escaped and cut: no message is a forged line.

use landfall_crds::annotations::{IPS, POOL, RENUMBER, SHARING_CROSS_NAMESPACE, SHARING_KEY};
use landfall_ipam::request::{MAX_ADDRESSES, Request};
use proptest::prelude::*;

use crate::situation::Situation;

fn is_clean(message: &str) -> bool {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    message.len() <= 4096 && !message.chars().any(bad)
}

proptest! {
    #[test]
    fn no_message_has_a_control_character_or_a_mark_of_direction_or_no_end(
        texts in prop::collection::vec(prop_oneof![".*", "[\\x00-\\x1f\\u{202e}a-z,]{0,3000}"], 5),
        six in any::<bool>(),
    ) {
        let names = [IPS, POOL, SHARING_KEY, SHARING_CROSS_NAMESPACE, RENUMBER];
        let mut world = Situation::default();
        world.cidrs("p", &["192.0.2.0/30"]);
        // All of them, and each alone: the first that is unreadable hides the others.
        for which in 0..=names.len() {
            let pairs = names.iter().zip(&texts).enumerate();
            let pairs = pairs.filter(|(at, _)| which == names.len() || *at == which);
            let annotations: Vec<(&str, &str)> = pairs.map(|(_, (name, text))| (*name, text.as_str())).collect();
            world.service("web", &annotations, |service| {
                if six {
                    service.families = vec![landfall_ipam::Family::V6];
                }
            });
            let says = world.says("web");
            prop_assert!(is_clean(&says), "{says:?}");
        }
    }
}

#[test]
fn a_request_for_very_many_addresses_is_refused_in_a_short_sentence() {
    let many = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!("10.0.0.{n}")).collect();
        let annotations = [(IPS.to_owned(), all.join(","))];
        Request::read(&annotations.into(), None)
    };
    assert!(many(MAX_ADDRESSES).is_ok());
    let refusal = many(MAX_ADDRESSES + 1).unwrap_err();
    assert_eq!(
        refusal.message,
        "landfall.dev/ips: asks for 17 addresses; ask for at most 16"
    );
    let refusal = many(200).unwrap_err();
    assert!(
        refusal.message.ends_with("bytes; use at most 1024"),
        "{}",
        refusal.message
    );
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/24"]);
    world.service("web", &[], |service| {
        service.external = (1..=40u8).map(|n| [192, 0, 2, n].into()).collect();
    });
    assert!(
        world.says("web").contains("name at most 16 of them"),
        "{}",
        world.says("web")
    );
    assert_eq!(
        world.index.entries().count(),
        1,
        "it has the one that it gets unasked"
    );
}

#[test]
fn all_that_cannot_be_read_of_a_list_is_named_at_once_and_a_trailing_comma_is_said() {
    let says = |text: &str| {
        let annotations = [(IPS.to_owned(), text.to_owned())];
        Request::read(&annotations.into(), None)
            .unwrap_err()
            .message
    };
    assert_eq!(
        says("192.0.2.1,x,192.0.2.0/24"),
        "landfall.dev/ips: \"x\", \"192.0.2.0/24\" are not IP addresses; write addresses separated by \
         commas, such as \"192.0.2.10,2001:db8::10\""
    );
    assert_eq!(
        says("192.0.2.1,"),
        "landfall.dev/ips: \"192.0.2.1,\" ends with a comma; remove it, or write one more address"
    );
}
