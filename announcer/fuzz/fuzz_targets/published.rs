//! Any text as the annotation of a session: what is understood can be written and is read the same again.
#![no_main]

use std::collections::BTreeMap;

use landfall_announcer_fuzz::published::{ANNOTATION, Published, read, write};
use libfuzzer_sys::fuzz_target;

fn annotated(text: String) -> Published {
    read(&BTreeMap::from([(ANNOTATION.to_owned(), text)]))
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let published = annotated(text.to_owned());
    assert_eq!(annotated(write(&published)), published);
});
