//! Addresses that are taken away.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use landfall_announcer::link::{PacketSocket, Protocol};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::*;
use crate::segment::{Capture, clock, enter, owned, send_all, thread_names, unlimited, within};

#[test]
fn nothing_is_said_of_an_address_from_the_moment_it_has_been_taken_away() {
    on_a_segment(
        "nothing_is_said_of_an_address_from_the_moment_it_has_been_taken_away",
        async |segment| {
            let mut node = Node::with(unlimited(Settings::default())).await;
            let eth0 = node.link("eth0").await;
            let mut capture = Capture::start(&segment, "node");
            let (namespace, going_on) = (segment.name("client"), Arc::new(()));
            // It ends with the test, however that ends.
            let test = Arc::downgrade(&going_on);
            let asker = std::thread::spawn(move || {
                enter(&namespace);
                while test.strong_count() > 0 {
                    send_all(&vec![arp_request(foreign("client")); 100]);
                }
            });
            let mut while_owned = Vec::new();
            for _ in 0..1_000 {
                let (began, before) = (clock(), answered(&node));
                node.responder.set_owned(owned(eth0, &[V4, V6]));
                within(async {
                    while answered(&node) == before {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                node.responder.set_owned(owned(eth0, &[V6]));
                while_owned.push(began..clock());
            }
            drop(going_on);
            asker.join().unwrap();
            let mut said = capture.sent_by(mac(11));
            said.retain(|(_, frame)| frame[12..14] == [8, 6] && frame[28..32] == [192, 0, 2, 100]);
            assert!(said.len() > 500, "{}", said.len());
            for (time, _) in said {
                let owned = while_owned.iter().any(|times| times.contains(&time));
                let late = while_owned
                    .iter()
                    .filter_map(|times| time.checked_sub(times.end));
                assert!(owned, "{:?} after it was taken away", late.min());
            }
        },
    );
}

/// The thread of this name that was begun in this network namespace: other tests have theirs of the same name. It may not
/// have its name yet, and threads that end meanwhile hide others from whoever lists them.
fn listener(name: &str) -> Option<Pid> {
    let namespace = |task: &Path| std::fs::read_link(task.join("ns/net")).ok();
    let here = namespace(Path::new("/proc/thread-self"));
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut tasks = tasks.filter_map(|task| Some(task.ok()?.path()));
    let id = tasks.find(|task| {
        let comm = std::fs::read_to_string(task.join("comm"));
        namespace(task) == here && comm.is_ok_and(|comm| comm.trim_end() == name)
    })?;
    let id = id.file_name().unwrap().to_str().unwrap();
    Some(Pid::from_raw(id.parse().unwrap()))
}

fn on_one_processor(thread: Pid) {
    let mut one = CpuSet::new();
    one.set(0).unwrap();
    sched_setaffinity(thread, &one).unwrap();
}

/// It lets whoever runs go on when a frame wakes it.
fn patient(thread: Pid) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a value that outlives the call; the kernel only reads it.
    let done = unsafe {
        libc::sched_setscheduler(thread.as_raw(), libc::SCHED_BATCH, &raw const parameters)
    };
    assert_eq!(done, 0);
}

#[test]
fn what_has_been_asked_before_an_address_is_taken_away_is_answered() {
    on_a_segment(
        "what_has_been_asked_before_an_address_is_taken_away_is_answered",
        async |segment| {
            const ASKED: usize = 100;
            const ROUNDS: usize = 100;
            let mut node = Node::with(unlimited(Settings::default())).await;
            let eth0 = node.link("eth0").await;
            let mut answers = 0;
            for _ in 0..ROUNDS {
                node.own(eth0, &[V4, V6]).await;
                node.responder.in_force().await;
                let before = answered(&node);
                let (namespace, responder) = (segment.name("client"), node.responder.clone());
                // They share a processor, and the listener waits there for the asker: what is asked is unread.
                let name = format!("arp-{eth0}");
                let listener = within(async {
                    loop {
                        if let Some(listener) = listener(&name) {
                            break listener;
                        }
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                on_one_processor(listener);
                patient(listener);
                let asker = std::thread::spawn(move || {
                    enter(&namespace);
                    on_one_processor(nix::unistd::gettid());
                    let index = nix::net::if_::if_nametoindex("eth0").unwrap();
                    // Closing it takes milliseconds: it stays open until the address is gone.
                    let socket = PacketSocket::open(index, Protocol::Arp).unwrap();
                    let question = arp_request(foreign("client"));
                    (0..ASKED).for_each(|_| socket.send(&question).unwrap());
                    responder.set_owned(owned(eth0, &[V6]));
                });
                asker.join().unwrap();
                answers += answered(&node) - before;
            }
            // On a busy machine it takes longer to look at them, now and then, than is waited for.
            let asked = (ASKED * ROUNDS) as u64;
            assert!(answers >= asked / 2, "{answers} of {asked}");
        },
    );
}

#[test]
fn a_question_is_unread_until_it_is_read() {
    on_a_segment("a_question_is_unread_until_it_is_read", async |segment| {
        let mut node = Node::start().await;
        let eth0 = node.link("eth0").await;
        let socket = PacketSocket::open(eth0, Protocol::Arp).unwrap();
        assert!(!socket.has_unread());
        let namespace = segment.name("client");
        std::thread::spawn(move || {
            enter(&namespace);
            send_all(&[arp_request(foreign("client"))]);
        })
        .join()
        .unwrap();
        eventually("it has come", || socket.has_unread()).await;
        socket.wait().unwrap();
        assert!(socket.has_unread(), "waiting reads nothing");
        while socket.receive_now(&mut [0; 64]).unwrap().is_some() {}
        assert!(!socket.has_unread());
    });
}

#[test]
fn an_interface_without_addresses_has_no_threads() {
    on_a_segment(
        "an_interface_without_addresses_has_no_threads",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            let threads = || {
                let mut names = thread_names();
                names.retain(|name| name.ends_with(&format!("-{eth0}")));
                names
            };
            node.own(eth0, &[V4]).await;
            let both = [format!("arp-{eth0}"), format!("ndp-{eth0}")];
            // A new thread takes a moment to give itself its name.
            eventually("there are two", || threads() == both).await;
            // Its sockets are opened anew, and those who read the old ones are gone.
            segment.ip("node", &format!("link set eth0 address {}", mac(42)));
            segment
                .answered("client", &format!("arping -c 1 -w 3 -I eth0 {V4}"))
                .await;
            eventually("there are two again", || threads() == both).await;
            node.responder.set_owned(BTreeMap::new());
            eventually("they have ended", || threads().is_empty()).await;
        },
    );
}
