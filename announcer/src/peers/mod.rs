//! Heartbeats between announcers: the thread that says this node lives, hears who else does, and holds the permit.
//!
//! It is: packet sockets of its own, one more thread that nothing of the process can keep waiting, and the clock of the
//! pure machine [`landfall_election::peers`]. It is not: any decision (the machine's), the layout of a frame
//! ([`landfall_wire::peers`]'s), nor requests to the API server, which it only asks for.
//!
//! ```text
//!  brain, session ─► Command ─┐                                 ┌─► frames, questions
//!  sockets ─► Listener ───────┼─► driver (thread) ─► machine ───┼─► permit ─► responder
//!  50 ms timer ───────────────┘                                 ├─► Wanted: fences, looks at the session ─► lane
//!                                                               └─► reports ─► agent
//! ```
//!
//! Without keys there are no heartbeats: then the permit is the session's deadline, and the machine is not asked.
//!
//! Invariant: the permit is what the machine last said, within one turn of the thread; nothing here waits for a lock that
//! is held across a system call, for the runtime, or for the API server. Where brain or responder make no progress, no
//! beat is sent: a node that lives only here is dead to its peers.

mod convert;
mod driver;
mod keys;
mod lane;
mod questions;
mod segment;
mod view;
mod voice;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use landfall_election::peers::{Event, Settings};
use landfall_election::{NodeName, Now, SessionId};
use landfall_wire::Mac;
use landfall_wire::peers::{ClusterId, KeyId, KeyRing};
use tokio::sync::mpsc;

pub use keys::{KeyFiles, KeysError, follow as follow_keys};
pub use lane::run as run_lane;
pub use view::{PeersStatus, View};

use crate::brain::{Input, Whereabouts};
use crate::link::IfIndex;
use crate::link::scheduling::{self, Rank};
use crate::responder::Responder;

/// Why beats may be further apart than was asked for.
pub const STRETCHED: &str = "more often this node would send or hear more than 200 frames a second";

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// Something for the machine.
    Learn(Event),
    /// Until when the session allows answers, and the election, which may know better; with it, that the brain is at work.
    Deadline { session: Now, allowed: Now },
    /// The interfaces to speak on, with their Ethernet addresses; the whole of them.
    Segments(BTreeMap<IfIndex, Mac>),
    /// Where else other nodes are to be found; the whole of it.
    Nodes(BTreeMap<NodeName, Whereabouts>),
    /// Keys to believe, and the cluster whose they are.
    Keys(ClusterId, Box<KeyRing>),
    /// The keys that each of the other nodes believes: what is signed with is one of all of them.
    Others(Vec<Vec<KeyId>>),
}

/// What the thread cannot do itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Write that a session is over.
    Fence(NodeName, SessionId),
    /// Read whether the own session still is.
    Confirm(SessionId),
}

/// What the thread has to say: to the lane, and to the agent, which must not be kept from each other.
#[derive(Debug)]
pub struct Said {
    pub wanted: mpsc::UnboundedReceiver<Wanted>,
    /// What the rest of the announcer should know.
    pub reports: mpsc::UnboundedReceiver<Input>,
}

/// A running thread. Clones are handles to the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Peers {
    commands: Sender<Command>,
    bell: Arc<UnixStream>,
}

impl Peers {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's, when it has no more threads or sockets.
    pub fn start(
        me: NodeName,
        settings: Settings,
        responder: Responder,
        view: View,
    ) -> io::Result<(Self, Said)> {
        let (commands, told) = channel();
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let (to_lane, wanted) = mpsc::unbounded_channel();
        let (to_agent, reports) = mpsc::unbounded_channel();
        let driver = driver::Driver::new(me, settings, responder, (to_lane, to_agent), view);
        spawn(driver, told, ear)?;
        let bell = Arc::new(bell);
        Ok((Self { commands, bell }, Said { wanted, reports }))
    }

    /// Tells the thread something. It is taken in within a turn.
    pub fn tell(&self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            // The thread being gone, nobody needs to know.
            let _ = self.commands.send(command);
        }
        // A bell that rings already need not ring twice.
        let _ = (&*self.bell).write(&[0]);
    }
}

fn spawn(driver: driver::Driver, told: Receiver<Command>, ear: UnixStream) -> io::Result<()> {
    let body = move || {
        let priority = scheduling::raise(Rank::Beats);
        driver.run(priority, &told, &ear);
    };
    let thread = std::thread::Builder::new().name("peers".to_owned());
    thread.spawn(body).map(|_| ())
}
