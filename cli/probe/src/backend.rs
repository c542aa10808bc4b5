//! A backend: on TCP and on UDP it says which Pod it is and who asked.
//!
//! It does not heed SIGTERM: a Pod that ends serves for as long as its grace period lasts, as one that drains should.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

/// A question is not longer.
const MOST: usize = 64;
/// Who says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves for ever.
///
/// # Errors
/// When the port cannot be had.
pub fn serve(port: u16, pod: &str) -> anyhow::Result<()> {
    // Both families by one socket; a host without IPv6 has the other.
    let (tcp, udp) = open(Ipv6Addr::UNSPECIFIED.into(), port)
        .or_else(|_| open(Ipv4Addr::UNSPECIFIED.into(), port))
        .with_context(|| format!("listening on port {port}"))?;
    let name = pod.to_owned();
    thread::spawn(move || datagrams(&udp, &name));
    loop {
        match tcp.accept() {
            Ok((stream, from)) => {
                let name = pod.to_owned();
                // A connection that breaks is its client's to notice.
                thread::spawn(move || converse(&stream, from, &name));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn open(address: IpAddr, port: u16) -> io::Result<(TcpListener, UdpSocket)> {
    Ok((
        TcpListener::bind((address, port))?,
        UdpSocket::bind((address, port))?,
    ))
}

/// It hangs up first: the stranger has few sockets and none to spare for connections that wait to be forgotten.
fn converse(stream: &TcpStream, from: SocketAddr, pod: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(stream.take(MOST as u64)).read_line(&mut question)?;
    let answer = answer(question.trim_end(), pod, from);
    (&mut &*stream).write_all(answer.as_bytes())
}

fn datagrams(socket: &UdpSocket, pod: &str) {
    let mut buffer = [0; MOST];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let question = String::from_utf8_lossy(&buffer[..length]);
        // One that cannot be answered is lost, as datagrams are.
        let _ = socket.send_to(answer(question.trim_end(), pod, from).as_bytes(), from);
    }
}

/// The question again, the Pod, and who asked.
fn answer(question: &str, pod: &str, from: SocketAddr) -> String {
    format!("{question} {pod} {}\n", from.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_is_called_by_its_own_address_on_a_socket_of_both_families() {
        let from = "[::ffff:192.0.2.9]:4000".parse().unwrap();
        assert_eq!(answer("7", "pod-a", from), "7 pod-a 192.0.2.9\n");
    }
}
