//! What passes an interface, as the kernel saw it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use landfall_wire::Mac;
use nix::sys::socket;

use super::{PATIENCE, Segment, enter};

/// The time now, as a capture has it.
pub(crate) fn clock() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap()
}

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
            let socket = socket::socket(socket::AddressFamily::Packet, kind, flags, all).unwrap();
            socket::setsockopt(&socket, socket::sockopt::ReceiveTimestampns, &true).unwrap();
            socket::setsockopt(&socket, socket::sockopt::RcvBufForce, &(64 << 20)).unwrap();
            let mut capture = Self { socket };
            capture.until_stamped();
            capture
        };
        std::thread::spawn(open).join().unwrap()
    }

    /// Waits until the kernel stamps frames when they pass: it begins a moment after the first socket wants it, and until
    /// then they are stamped when they are read.
    fn until_stamped(&mut self) {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            probe.send_to(&[0], "127.0.0.1:9").unwrap();
            let passed = clock();
            std::thread::sleep(Duration::from_millis(1));
            if self
                .sent_by(Mac::ZERO)
                .iter()
                .any(|(time, _)| *time <= passed)
            {
                return;
            }
            assert!(Instant::now() < deadline, "frames are not stamped");
        }
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
