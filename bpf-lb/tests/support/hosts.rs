//! Hosts on a segment: each is a thread with network and mount namespaces of its own, which the
//! kernel takes back when the thread ends, however the test does.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::{ip, private_settings};
use landfall_bpf_lb::Settings;

type Job = Box<dyn FnOnce() + Send>;

/// A host; closures run on it one after the other.
pub(crate) struct Host {
    jobs: Option<Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Its thread's id, by which interfaces are moved to it.
    id: String,
    pub(crate) settings: Settings,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let (ready, told) = channel();
        let thread = thread::spawn(move || {
            let settings = private_settings();
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ip(&["link", "set", "lo", "up"]);
            ready
                .send((nix::unistd::gettid().to_string(), settings))
                .expect("the test waits");
            for job in queue {
                job();
            }
        });
        let (id, settings) = told.recv().expect("the host is up");
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
            id,
            settings,
        }
    }

    /// Runs `job` on this host and waits for its answer.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, told) = channel();
        let job: Job = Box::new(move || {
            // The test may be over: nobody to tell.
            let _ = answer.send(job());
        });
        self.jobs
            .as_ref()
            .expect("a running host")
            .send(job)
            .expect("a running host");
        told.recv().expect("the job ends without a panic")
    }

    /// Runs `ip` commands on this host, one a line.
    pub(crate) fn ip(&self, commands: &str) {
        let commands = commands.to_owned();
        self.run(move || {
            for command in commands
                .lines()
                .map(str::trim)
                .filter(|command| !command.is_empty())
            {
                ip(&command.split_whitespace().collect::<Vec<_>>());
            }
        });
    }

    /// Sets kernel parameters below `net` on this host.
    pub(crate) fn sysctl(&self, parameters: &[(&'static str, &'static str)]) {
        let parameters = parameters.to_vec();
        self.run(move || {
            for (name, value) in parameters {
                std::fs::write(format!("/proc/thread-self/root/proc/sys/net/{name}"), value)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        });
    }

    /// A cable from `name` here to `peer_name` on `peer`.
    pub(crate) fn cable(&self, name: &str, peer: &Host, peer_name: &str) {
        self.ip(&format!(
            "link add {name} type veth peer name {peer_name} netns /proc/{0}/ns/net",
            peer.id
        ));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panicked job has said so already.
            let _ = thread.join();
        }
    }
}
