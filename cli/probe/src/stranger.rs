//! A stranger on the segment: an Ethernet and an IP address of its own on a node's interface, behind which no kernel is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium, RawSocket};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::frames;
use crate::questions::Questions;
use crate::report::{Line, Window};

/// Between two lines.
const WINDOW: Duration = Duration::from_millis(250);
/// Between two datagrams: the grain in which a silence is measured.
const DATAGRAM: Duration = Duration::from_millis(20);
/// How long datagrams come from one port. Then another one is taken, as a resolver does: a flow may stay with its pod for as
/// long as it lasts, and what is to be seen is the address.
const FLOW: Duration = Duration::from_secs(1);
/// Flows whose answers are still waited for.
const FLOWS: usize = 4;
/// Between two connections.
const CONNECTION: Duration = Duration::from_millis(100);
/// Between two questions who has the address.
const WHO: Duration = Duration::from_millis(500);
/// A connection without an answer for so long is lost.
const LOST: Duration = Duration::from_secs(3);
/// Frames looked at before something else is done.
const AT_ONCE: usize = 256;
/// Connections at a time.
const SOCKETS: usize = 8;
/// Ports of its own, from here on.
const PORTS: std::ops::Range<u16> = 49_152..65_000;
/// How often it is asked whether its own address is free, and how long an answer is waited for.
const PROBES: [Duration; 3] = [Duration::from_millis(300); 3];

/// Who asks whom.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The stranger's own address.
    pub own: IpAddr,
    pub vip: IpAddr,
    pub port: u16,
    pub interface: String,
    pub until: Instant,
}

/// Asks until its time is up, and says what it sees.
///
/// # Errors
/// When the interface cannot be listened on.
pub fn run(errand: &Errand, mut say: impl FnMut(&Line)) -> anyhow::Result<()> {
    let mac = random_mac()?;
    // The frames come to an Ethernet address that the interface does not have.
    let _promiscuous = promiscuous(&errand.interface)?;
    let wire = Wire::open(&errand.interface)?;
    if let Some(other) = wire.who_has(mac, errand.own)? {
        say(&Line::Taken {
            address: errand.own,
            mac: written(other),
        });
        return Ok(());
    }
    say(&Line::Began {
        address: errand.own,
        vip: errand.vip,
        interface: errand.interface.clone(),
    });
    let mut stranger = Stranger::new(errand, mac, wire)?;
    while Instant::now() < errand.until {
        if let Some(window) = stranger.turn()? {
            say(&Line::Window(window));
        }
        // Two machines in one address serve neither: the one that was there by right stays.
        if let Some(other) = stranger.other {
            say(&Line::Taken {
                address: errand.own,
                mac: written(other),
            });
            return Ok(());
        }
    }
    Ok(())
}

/// One connection.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    since: Instant,
    asked: bool,
}

struct Stranger<'a> {
    errand: &'a Errand,
    mac: EthernetAddress,
    wire: Wire,
    device: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<(SocketHandle, Option<Attempt>)>,
    /// The flow of now is the first.
    flows: VecDeque<SocketHandle>,
    questions: Questions,
    window: Window,
    port: u16,
    /// Somebody else who speaks as the stranger's own address.
    other: Option<EthernetAddress>,
    /// How often it still says where it is.
    announcements: u8,
    next: Next,
}

/// When what is done again.
struct Next {
    datagram: Instant,
    connection: Instant,
    flow: Instant,
    who: Instant,
    line: Instant,
}

impl<'a> Stranger<'a> {
    fn new(errand: &'a Errand, mac: EthernetAddress, wire: Wire) -> anyhow::Result<Self> {
        let mut device = Card(listen(&errand.interface)?);
        let mut config = Config::new(mac.into());
        config.random_seed = u64::from_be_bytes(random()?);
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::now());
        // Every address is asked for on the segment: that it is answered there is what is tried.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(errand.own.into(), 0));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let connections = (0..SOCKETS).map(|_| {
            let buffer = || tcp::SocketBuffer::new(vec![0; 1024]);
            (sockets.add(tcp::Socket::new(buffer(), buffer())), None)
        });
        let connections = connections.collect();
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 256], vec![0; 32 * 1024]);
        let flows = (0..FLOWS).map(|_| sockets.add(udp::Socket::new(buffer(), buffer())));
        let flows = flows.collect();
        let now = Instant::now();
        // Ports that an earlier stranger did not use just now.
        let [high, low] = random()?;
        let port = PORTS.start + u16::from_be_bytes([high, low]) % (PORTS.end - PORTS.start);
        Ok(Self {
            errand,
            mac,
            wire,
            device,
            interface,
            sockets,
            connections,
            flows,
            questions: Questions::default(),
            window: Window::new(errand.vip),
            port,
            other: None,
            announcements: 4,
            next: Next {
                datagram: now,
                connection: now,
                flow: now,
                who: now,
                line: now + WINDOW,
            },
        })
    }

    /// Waits for frames or the next thing to do, and does it.
    fn turn(&mut self) -> anyhow::Result<Option<Window>> {
        let wait = self
            .interface
            .poll_delay(smoltcp::time::Instant::now(), &self.sockets);
        let most = smoltcp::time::Duration::from_millis(5);
        phy::wait(
            self.device.0.as_raw_fd(),
            Some(wait.map_or(most, |wait| wait.min(most))),
        )
        .context("waiting for frames")?;
        self.interface.poll(
            smoltcp::time::Instant::now(),
            &mut self.device,
            &mut self.sockets,
        );
        let now = Instant::now();
        self.datagrams(now);
        self.connections(now);
        self.who(now)?;
        if now < self.next.line {
            return Ok(None);
        }
        self.next.line = now + WINDOW;
        let (udp, silence) = self.questions.window(now);
        let mut window = std::mem::replace(&mut self.window, Window::new(self.errand.vip));
        window.udp = udp;
        window.silence_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(window))
    }

    fn datagrams(&mut self, now: Instant) {
        if now >= self.next.flow {
            self.next.flow = now + FLOW;
            self.flows.rotate_right(1);
            let port = self.next_port();
            let socket = self.flow();
            socket.close();
            // A port in its range is free for a socket that is closed.
            let _ = socket.bind(port);
        }
        for handle in &self.flows {
            let socket = self.sockets.get_mut::<udp::Socket<'_>>(*handle);
            while let Ok((bytes, _)) = socket.recv() {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let number = text.split(' ').next().and_then(|word| word.parse().ok());
                if number.is_some_and(|number| self.questions.answered(number)) {
                    note(&mut self.window, &text);
                }
            }
        }
        if now >= self.next.datagram {
            self.next.datagram = now + DATAGRAM;
            let number = self.questions.ask(now);
            let to = (self.errand.vip, self.errand.port);
            // One that finds no room is lost, and counts as that.
            let _ = self.flow().send_slice(format!("{number}\n").as_bytes(), to);
        }
    }

    fn flow(&mut self) -> &mut udp::Socket<'static> {
        self.sockets.get_mut::<udp::Socket<'_>>(self.flows[0])
    }

    fn next_port(&mut self) -> u16 {
        self.port = match self.port + 1 {
            port if port < PORTS.end => port,
            _ => PORTS.start,
        };
        self.port
    }

    fn connections(&mut self, now: Instant) {
        for (handle, attempt) in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            let Some(asked) = attempt else { continue };
            if !asked.asked && socket.can_send() {
                asked.asked = socket.send_slice(b"tcp\n").is_ok();
            }
            let mut heard = [0; 256];
            let length = match socket.can_recv() {
                true => socket.recv_slice(&mut heard).unwrap_or(0),
                false => 0,
            };
            if length > 0 {
                self.window.tcp.answered += 1;
                note(&mut self.window, &String::from_utf8_lossy(&heard[..length]));
                socket.close();
                *attempt = None;
            } else if now.duration_since(asked.since) >= LOST {
                self.window.tcp.lost += 1;
                socket.abort();
                *attempt = None;
            } else if !socket.is_open() {
                self.window.tcp.refused += 1;
                *attempt = None;
            }
        }
        if now < self.next.connection {
            return;
        }
        self.next.connection = now + CONNECTION;
        let port = self.next_port();
        let Some((handle, attempt)) = self.connections.iter_mut().find(|(handle, attempt)| {
            attempt.is_none() && !self.sockets.get::<tcp::Socket<'_>>(*handle).is_open()
        }) else {
            return;
        };
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
        let to = (self.errand.vip, self.errand.port);
        if socket.connect(self.interface.context(), to, port).is_ok() {
            *attempt = Some(Attempt {
                since: now,
                asked: false,
            });
        }
    }

    fn who(&mut self, now: Instant) -> anyhow::Result<()> {
        let (own, vip, mac) = (self.errand.own, self.errand.vip, self.mac);
        let mut is_asked_for = false;
        self.wire.heard(|frame| {
            if let Some(answers) = frames::answer(frame, vip) {
                *self.window.macs.entry(written(answers)).or_default() += 1;
            }
            is_asked_for |= frames::is_probe(frame, own).is_some_and(|asks| asks != mac);
            let other = frames::speaks_as(frame, own).filter(|other| *other != mac);
            self.other = self.other.or(other);
        })?;
        // The stack does not answer who only wants to know whether its address is free.
        if is_asked_for {
            self.wire.send(&frames::announcement(mac, own))?;
        }
        if now >= self.next.who {
            self.next.who = now + WHO;
            self.window.asked_who += 1;
            let question = frames::question(self.mac, Some(self.errand.own), self.errand.vip);
            self.wire.send(&question)?;
            if self.announcements > 0 {
                self.announcements -= 1;
                self.wire
                    .send(&frames::announcement(self.mac, self.errand.own))?;
            }
        }
        Ok(())
    }
}

/// Notes who answered, and whom it saw asking.
fn note(window: &mut Window, answer: &str) {
    let mut words = answer.trim_end().split(' ').skip(1);
    if let (Some(pod), Some(client)) = (words.next(), words.next()) {
        *window.pods.entry(pod.to_owned()).or_default() += 1;
        *window.clients.entry(client.to_owned()).or_default() += 1;
    }
}

fn listen(interface: &str) -> anyhow::Result<RawSocket> {
    RawSocket::new(interface, Medium::Ethernet).with_context(|| format!("listening on {interface}"))
}

/// The interface as the stack sees it. Checksums are written and not looked at: between machines on one host nobody
/// computes them, and a packet socket is handed what is there.
struct Card(RawSocket);

impl Device for Card {
    type RxToken<'a> = <RawSocket as Device>::RxToken<'a>;
    type TxToken<'a> = <RawSocket as Device>::TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }

    fn receive(
        &mut self,
        now: smoltcp::time::Instant,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.0.receive(now)
    }

    fn transmit(&mut self, now: smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        self.0.transmit(now)
    }
}

/// Frames as they are, beside the stack: who has an address is counted answer by answer, and not as a stack's cache has it.
struct Wire(File);

impl Wire {
    fn open(interface: &str) -> anyhow::Result<Self> {
        let socket = listen(interface)?;
        // The same socket, kept by a descriptor of our own.
        // SAFETY: `dup` is given a descriptor that is open, and what it returns is nobody's but ours.
        let fd = unsafe { libc::dup(socket.as_raw_fd()) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("keeping a socket");
        }
        // SAFETY: as above: open, and owned by nobody else.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        (&self.0).write_all(frame).context("sending a frame")
    }

    /// Frames that have come: at most so many that there is time for others.
    fn heard(&self, mut look: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut buffer = [0; 2048];
        for _ in 0..AT_ONCE {
            match (&self.0).read(&mut buffer) {
                Ok(length) => look(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("reading frames"),
            }
        }
        Ok(())
    }

    /// Who has an address that ought to be free.
    fn who_has(
        &self,
        mac: EthernetAddress,
        target: IpAddr,
    ) -> anyhow::Result<Option<EthernetAddress>> {
        let mut found = None;
        for pause in PROBES {
            self.send(&frames::question(mac, None, target))?;
            let end = Instant::now() + pause;
            while Instant::now() < end && found.is_none() {
                let left = smoltcp::time::Duration::from_millis(20);
                phy::wait(self.0.as_raw_fd(), Some(left)).context("waiting for frames")?;
                self.heard(|frame| {
                    let taken = frames::speaks_as(frame, target);
                    let taken = taken.or_else(|| frames::is_probe(frame, target));
                    found = found.or(taken.filter(|other| *other != mac));
                })?;
            }
        }
        Ok(found)
    }
}

/// Has an interface take in what is for others too, as long as the socket lives.
fn promiscuous(interface: &str) -> anyhow::Result<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(interface)
        .with_context(|| format!("there is no interface {interface}"))?;
    // Protocol 0: it is to hear nothing itself.
    // SAFETY: no memory is handed over; what is returned is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error())
            .context("opening a packet socket, which asks for the capability NET_RAW");
    }
    // SAFETY: just opened, and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index)?,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::packet_mreq>())?;
    // SAFETY: the option's value is a whole packet_mreq of that length, which lives until the call returns.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            std::ptr::from_ref(&request).cast(),
            length,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("having {interface} take in what is for others"));
    }
    Ok(socket)
}

/// An address that no maker of cards gives away.
fn random_mac() -> anyhow::Result<EthernetAddress> {
    let mut bytes: [u8; 6] = random()?;
    bytes[0] = 0x02;
    Ok(EthernetAddress(bytes))
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut source = File::open("/dev/urandom").context("opening /dev/urandom")?;
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// As Kubernetes objects and `ip link` have it.
fn written(mac: EthernetAddress) -> String {
    mac.to_string().replace('-', ":")
}
