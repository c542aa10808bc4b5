//! A host that is a thread: its namespace has no name, and the kernel takes it back when the thread ends, however its
//! process does.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use super::{isolate, set};
use crate::process::run;

type Job = Box<dyn FnOnce() + Send>;

/// Closures run on it one after the other.
#[derive(Debug)]
pub struct Host {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's id, by which interfaces are moved to it.
    id: String,
}

impl Host {
    /// Starts it with an open loopback.
    pub fn new() -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (ready, told) = channel();
        let thread = std::thread::spawn(move || {
            let made = isolate().and_then(|()| ip("link set lo up"));
            // Who made it waits for this; a host that did not come up has an empty queue.
            let _ = ready.send(made.map(|()| nix::unistd::gettid().to_string()));
            for job in queue {
                job();
            }
        });
        let id = told.recv().context("a host's thread ended at once")??;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            id,
        })
    }

    /// Runs a job on this host and waits for its answer; a job that panics is an error, and has said why itself.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, told) = channel();
        let job: Job = Box::new(move || {
            // The asker may be gone: nobody to tell.
            let _ = answer.send(job());
        });
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .ok_or_else(|| anyhow!("this host's thread has ended"))?;
        told.recv().context("a job on a host panicked")
    }

    /// Runs `ip` commands on this host, one a line.
    pub fn ip(&self, commands: &str) -> Result<()> {
        let lines: Vec<String> = commands
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        self.run(move || lines.iter().try_for_each(|line| ip(line)))?
    }

    /// Sets a kernel parameter below `net` on this host: `ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.run(move || set(&name, &value))?
    }

    /// A cable from a new interface here to a new one on another host.
    pub fn cable(&self, interface: &str, peer: &Self, peer_interface: &str) -> Result<()> {
        self.ip(&format!(
            "link add {interface} type veth peer name {peer_interface} netns /proc/{}/ns/net",
            peer.id
        ))
    }
}

/// Runs `ip` in the namespace of this thread.
fn ip(words: &str) -> Result<()> {
    run(Command::new("ip").args(words.split_whitespace())).map(drop)
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
