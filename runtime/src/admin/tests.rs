use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::*;

/// Nobody to ask who may read.
fn nobody() -> Client {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    Client::try_from(config).unwrap()
}

fn shown() -> Admin {
    let mut registry = Registry::default();
    let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
    registry.register("landfall_tries", "Tries", counter);
    Admin {
        readiness: Readiness::waiting_for(&["caches"]),
        registry,
        state: Box::new(|| serde_json::json!({"addresses": 3})),
    }
}

/// The addresses of this play: the host itself, a kubelet that asks from elsewhere, and a stranger.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const KUBELET: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// A connection from an address of our own choice.
fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// One request, asked with threads and blocking sockets, as anything else would.
fn ask(from: IpAddr, address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = connect(from, address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
    tokio::task::spawn_blocking(move || ask(HERE, address, &request).unwrap())
        .await
        .unwrap()
}

/// A server of these pages; it ends with the test.
fn served(router: Router) -> SocketAddr {
    let listener = server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |stream, _| server::serve(stream, router.clone());
    let here = |peer: SocketAddr| peer.ip() == HERE;
    tokio::spawn(server::accept(
        listener,
        CancellationToken::new(),
        here,
        serve,
    ));
    address
}

#[tokio::test]
async fn this_host_is_told_whether_the_process_lives_is_ready_and_what_it_counts() {
    let admin = shown();
    let readiness = admin.readiness.clone();
    let listener = server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let admin = Arc::new(admin);
    tokio::spawn(async move { probes(listener, &admin, CancellationToken::new()).await });
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    let waiting = get(address, "/readyz").await;
    assert!(waiting.starts_with("HTTP/1.1 503 ") && waiting.contains("[-]caches: starting"));
    readiness.ready("caches");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains(OPENMETRICS) && metrics.contains("landfall_tries_total 0"));
    let state = get(address, "/debug/state").await;
    assert!(state.contains("\"addresses\":3"));
}

#[tokio::test]
async fn strangers_are_told_ok_or_not_and_nothing_else() {
    let admin = Arc::new(shown());
    let address = served(open(&admin));
    let waiting = get(address, "/readyz").await;
    assert!(waiting.starts_with("HTTP/1.1 503 ") && waiting.ends_with("\r\n\r\nnot ok\n"));
    admin.readiness.ready("caches");
    assert!(get(address, "/readyz").await.ends_with("\r\n\r\nok\n"));
    for path in ["/metrics", "/debug/state", "/"] {
        assert!(
            get(address, path).await.starts_with("HTTP/1.1 404 "),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_brings_a_body_or_wants_something_done_is_sent_away_unread() {
    let address = served(open(&Arc::new(shown())));
    let answer = async |request: &'static str| {
        tokio::task::spawn_blocking(move || ask(HERE, address, request).unwrap())
            .await
            .unwrap()
    };
    let body = "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    assert!(answer(body).await.starts_with("HTTP/1.1 413 "));
    let chunked = "GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(answer(chunked).await.starts_with("HTTP/1.1 413 "));
    let post = "POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert!(answer(post).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let address = served(open(&Arc::new(shown())));
    let request = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(20_000));
    // The rest of it may meet a connection that is closed already.
    let answer = tokio::task::spawn_blocking(move || ask(HERE, address, &request))
        .await
        .unwrap();
    if let Ok(answer) = answer {
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

/// Runs a test again in a process of its own, and says whether this is that process: what a process
/// has in memory is whatever all its tests have, and one of them prints a backtrace (100 MB).
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "LANDFALL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let done = again
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let failed = String::from_utf8_lossy(&done.stderr);
    println!("{said}");
    assert!(done.status.success(), "{failed}");
    assert!(said.contains("1 passed"), "{test} names no test");
    false
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// As many connections, each with the beginning of a request of 380 kB that never ends.
fn unfinished(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let more = "a".repeat(64 * 1024);
    let open = (0..count).map(|_| {
        let mut stream = connect(STRANGER, address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-1: ");
        for _ in 0..6 {
            // What does not fit now would not fit later either: nobody reads it.
            let _ = stream.write(more.as_bytes());
        }
        stream
    });
    open.collect()
}

/// Probes from an address until the flag is up; the longest that one took, and how many failed.
fn probing(from: IpAddr, to: SocketAddr, done: Arc<AtomicBool>) -> JoinHandle<(Duration, usize)> {
    thread::spawn(move || {
        let (mut slowest, mut failed) = (Duration::ZERO, 0);
        while !done.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answer = ask(from, to, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
            let is_ok = answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "));
            failed += usize::from(!is_ok);
            slowest = slowest.max(began.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        (slowest, failed)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_unfinished_requests_cost_little_memory_and_no_probe() {
    let test = "two_thousand_unfinished_requests_cost_little_memory_and_no_probe";
    if !is_alone(&format!("admin::tests::{test}")) {
        return;
    }
    let address = served(open(&Arc::new(shown())));
    // Once before, so that what every process grows by at its first connections is not counted.
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    let before = resident();
    let done = Arc::new(AtomicBool::new(false));
    let probes = [HERE, KUBELET].map(|from| probing(from, address, Arc::clone(&done)));
    let held = tokio::task::spawn_blocking(move || unfinished(address, 2_000))
        .await
        .unwrap();
    let grown = resident().saturating_sub(before);
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    done.store(true, Ordering::Relaxed);
    for probe in probes {
        let (slowest, failed) = probe.join().unwrap();
        println!("grown by {grown} bytes; slowest probe {slowest:?}");
        assert_eq!(failed, 0);
        // What the kubelet waits for `/livez`.
        assert!(slowest < Duration::from_secs(5), "a probe took {slowest:?}");
    }
    assert!(grown < 10 * 1024 * 1024, "grown by {grown} bytes");
    drop(held);
}

#[tokio::test]
async fn metrics_are_served_by_tls_and_to_nobody_without_a_token() {
    let metrics = Metrics {
        address: ([127, 0, 0, 1], 0).into(),
        guard: Guard::Secure(None),
    };
    let (acceptor, router) = guard(&metrics, &Arc::new(shown()), nobody()).unwrap();
    let listener = server::bind(metrics.address).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(scrapes(
        listener,
        acceptor,
        router,
        CancellationToken::new(),
    ));
    let answer = https(address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(!answer.contains("landfall_"), "{answer}");
    // Who speaks plainly is no TLS client, and gets nothing.
    let plain =
        tokio::task::spawn_blocking(move || ask(HERE, address, "GET /metrics HTTP/1.1\r\n\r\n"))
            .await
            .unwrap();
    assert!(!plain.unwrap_or_default().contains("HTTP/1.1"));
}

#[tokio::test(start_paused = true)]
async fn a_metrics_port_that_is_taken_delays_nothing_and_is_served_once_it_is_free() {
    let taken = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let readiness = Readiness::default();
    let told = readiness.clone();
    let bound = tokio::spawn(async move { bound(address, &told).await });
    tokio::task::yield_now().await;
    let (is_ready, report) = readiness.report();
    assert!(
        is_ready && report.contains("[+]metrics ok, but: --metrics-address 127.0.0.1:"),
        "{report}"
    );
    drop(taken);
    assert_eq!(bound.await.unwrap().local_addr().unwrap(), address);
    assert_eq!(readiness.report(), (true, "[+]metrics ok\n".to_owned()));
}

/// One request of a client that takes any certificate.
async fn https(address: SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::from(address.ip());
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Takes any certificate.
#[derive(Debug)]
struct Any(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
