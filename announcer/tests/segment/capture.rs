//! What passes an interface, as the kernel saw it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use landfall_announcer::link::Mac;
use nix::sys::socket;

use super::{Segment, enter};

/// What passes the interfaces of a namespace, with the kernel's own times.
pub(crate) struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Begins in the namespace of a host.
    pub(crate) fn start(segment: &Segment, name: &str) -> Self {
        let namespace = segment.name(name);
        let open = move || {
            enter(&namespace);
            let flags = socket::SockFlag::SOCK_NONBLOCK | socket::SockFlag::SOCK_CLOEXEC;
            let all = socket::SockProtocol::EthAll;
            let kind = socket::SockType::Raw;
            socket::socket(socket::AddressFamily::Packet, kind, flags, all).unwrap()
        };
        let socket = std::thread::spawn(open).join().unwrap();
        socket::setsockopt(&socket, socket::sockopt::ReceiveTimestampns, &true).unwrap();
        socket::setsockopt(&socket, socket::sockopt::RcvBufForce, &(64 << 20)).unwrap();
        Self { socket }
    }

    /// The frames since the last call that this host has sent, with the time each was seen.
    pub(crate) fn sent_by(&mut self, source: Mac) -> Vec<(Duration, Vec<u8>)> {
        let (mut frames, mut bytes) = (Vec::new(), [0; 2_048]);
        let mut room = nix::cmsg_space!(nix::sys::time::TimeSpec);
        loop {
            let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
            let none = socket::MsgFlags::empty();
            let descriptor = self.socket.as_raw_fd();
            let (length, time) =
                match socket::recvmsg::<()>(descriptor, &mut parts, Some(&mut room), none) {
                    Ok(message) => {
                        let time = message.cmsgs().unwrap().find_map(|control| match control {
                            socket::ControlMessageOwned::ScmTimestampns(time) => Some(time),
                            _ => None,
                        });
                        (message.bytes, Duration::from(time.unwrap()))
                    }
                    Err(nix::errno::Errno::EAGAIN) => return frames,
                    Err(error) => panic!("capturing: {error}"),
                };
            if bytes[6..12] == source.0 {
                frames.push((time, bytes[..length].to_vec()));
            }
        }
    }
}
