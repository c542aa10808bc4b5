//! Answering allocates nothing: counted by an allocator of this test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may end here"
)]

mod segment;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use landfall_announcer::responder::{Rate, Settings};
use landfall_wire::Mac;
use landfall_wire::announce::question;
use landfall_wire::schedule::Pace;
use landfall_wire::{Decision, Interest, buffer, decide};
use segment::{Node, enter, eventually, mac, on_a_segment, send_all};

/// The system's allocator, with a count for each thread and one for all of them.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

static ALL: AtomicU64 = AtomicU64::new(0);

fn count() {
    ALL.fetch_add(1, Ordering::Relaxed);
    // A thread that is ending has none any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is the system allocator's own work; the count is a plain cell that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller of this function has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller of this function has promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller of this function has promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What this thread has allocated so far.
fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::1:64";
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 200]);

/// Whether anybody has the address: a probe, which is answered like every question.
fn probe(address: &str) -> Vec<u8> {
    let mut out = buffer();
    let length = question(address.parse().unwrap()).emit(CLIENT, &mut out);
    out[..length].to_vec()
}

#[test]
fn an_allocation_would_be_noticed() {
    let before = allocations();
    black_box(vec![0_u8; 10]);
    assert!(allocations() > before);
}

#[test]
fn deciding_about_a_frame_allocates_nothing() {
    let owned = [V4, V6].map(|address| address.parse().unwrap());
    let interest = |address| {
        if owned.contains(&address) {
            Interest::Owned
        } else {
            Interest::None
        }
    };
    let frames = [V4, V6, "192.0.2.101", "2001:db8::1:65"].map(probe);
    let mut out = buffer();
    let before = allocations();
    let mut answered = 0;
    for frame in &frames {
        for length in 0..=frame.len() {
            let decision = decide(&frame[..length], mac(11), interest, |_| None, &mut out);
            answered += u32::from(matches!(decision, Decision::Answer(_)));
        }
    }
    assert_eq!((answered, allocations() - before), (2, 0));
}

#[test]
fn frames_are_received_counted_limited_and_answered_without_an_allocation() {
    on_a_segment(
        "frames_are_received_counted_limited_and_answered_without_an_allocation",
        async |segment| {
            let mut node = Node::with(Settings {
                answers: Rate {
                    per_second: 1,
                    burst: 1_000,
                },
                pace: Pace {
                    repeats: 0,
                    ..Pace::default()
                },
                ..Settings::default()
            })
            .await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4, V6]).await;
            let seen = || node.responder.counters().interfaces[0].clone();
            eventually("all announcements have left", || seen().announced == 3).await;
            // Answered, then answered no more; and one with a wrong checksum, which is ignored.
            let mut spoiled = probe(V6);
            spoiled[57] ^= 0xff;
            let frames = [probe(V4), probe(V6), spoiled].map(|frame| vec![frame; 1_500]);
            let handled = || {
                let seen = seen();
                let ignored: u64 = seen.ignored.iter().map(|(_, count)| count).sum();
                seen.answered_arp + seen.answered_ndp + ignored
            };
            let (namespace, (go, wait)) = (segment.name("client"), mpsc::channel());
            let (done, finished) = tokio::sync::oneshot::channel();
            let sender = std::thread::spawn(move || {
                enter(&namespace);
                wait.recv().unwrap();
                for batch in frames {
                    send_all(&batch);
                }
                done.send(()).unwrap();
            });
            let before = ALL.load(Ordering::Relaxed);
            go.send(()).unwrap();
            finished.await.unwrap();
            sender.join().unwrap();
            let allocated = ALL.load(Ordering::Relaxed) - before;
            let (handled, seen) = (handled(), seen());
            assert!(handled > 1_000, "{seen:?}");
            assert!(seen.answered_arp > 100, "{seen:?}");
            // What else this process does, its timers, its links and the other tests, is not by the frame.
            assert!(
                allocated < handled / 100,
                "{allocated} allocations for {handled} frames"
            );
        },
    );
}
