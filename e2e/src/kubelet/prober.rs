//! Asks containers what `probe` schedules, and says only what changes.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval_at, timeout},
};

use super::{
    probe::{Ask, Counter, Schedule},
    runtime::Runtime,
};

/// A status line fits in here many times.
const RESPONSE_LIMIT: usize = 4096;

/// Asks for ever and reports each change of verdict; a verdict of failure is reported once.
pub(crate) async fn run(
    runtime: Runtime,
    id: String,
    schedule: Schedule,
    report: impl Fn(bool, String) + Send,
) {
    let mut counter = Counter::of(&schedule);
    let mut last = None;
    let begin = tokio::time::Instant::now() + schedule.delay;
    let mut ticks = interval_at(begin, schedule.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (ok, message) = match timeout(schedule.timeout, ask(&runtime, &id, &schedule.ask)).await
        {
            Ok(Ok(())) => (true, String::new()),
            Ok(Err(error)) => (false, format!("{error:#}")),
            Err(_) => (false, format!("no answer within {:?}", schedule.timeout)),
        };
        if let Some(verdict) = counter.observe(ok)
            && last != Some(verdict)
        {
            last = Some(verdict);
            report(verdict, message);
        }
    }
}

/// Asks once.
pub(crate) async fn ask(runtime: &Runtime, id: &str, ask: &Ask) -> Result<()> {
    match ask {
        Ask::Http {
            host,
            port,
            path,
            headers,
        } => http(*host, *port, path, headers).await,
        Ask::Tcp { host, port } => TcpStream::connect((*host, *port))
            .await
            .context("connect")
            .map(drop),
        Ask::Exec { command } => match runtime.exec(id, command).await? {
            (true, _) => Ok(()),
            (false, said) => bail!("{command:?} failed: {said}"),
        },
        Ask::Sleep(duration) => {
            tokio::time::sleep(*duration).await;
            Ok(())
        }
    }
}

async fn http(host: IpAddr, port: u16, path: &str, headers: &[(String, String)]) -> Result<()> {
    let mut stream = TcpStream::connect((host, port)).await.context("connect")?;
    stream
        .write_all(request(host, port, path, headers).as_bytes())
        .await?;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < RESPONSE_LIMIT {
        match stream.read(&mut chunk).await? {
            0 => break,
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
    match status_code(&answer) {
        Some(code) if (200..400).contains(&code) => Ok(()),
        Some(code) => bail!("HTTP probe failed with status code {code}"),
        None => bail!("the answer is not HTTP"),
    }
}

fn request(host: IpAddr, port: u16, path: &str, headers: &[(String, String)]) -> String {
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        let host = match host {
            IpAddr::V4(host) => host.to_string(),
            IpAddr::V6(host) => format!("[{host}]"),
        };
        text += &format!("Host: {host}:{port}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "User-Agent: kube-probe/lab\r\nAccept: */*\r\nConnection: close\r\n\r\n"
}

fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer
        .split(|byte| *byte == b'\r' || *byte == b'\n')
        .next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

/// Runs a preStop hook for no longer than the grace; how it ends does not matter to what follows.
pub(crate) async fn hook(runtime: &Runtime, id: &str, hook: &Ask, grace: Duration) {
    let _ = timeout(grace, ask(runtime, id, hook)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_code_is_that_of_the_first_line() {
        assert_eq!(status_code(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        assert_eq!(status_code(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n", b"\xff\xfe"] {
            assert_eq!(status_code(bad), None);
        }
    }

    #[test]
    fn a_request_names_its_host_once() {
        let ip = "fd00::2".parse().unwrap();
        assert!(request(ip, 80, "/x", &[]).contains("\r\nHost: [fd00::2]:80\r\n"));
        let own = request(ip, 80, "/x", &[("host".into(), "a.b".into())]);
        assert_eq!(own.to_lowercase().matches("host:").count(), 1);
    }

    #[tokio::test]
    async fn a_server_that_says_no_fails_the_probe() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            for answer in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 500 No\r\n\r\n"] {
                let (mut stream, _) = server.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert!(http(address.ip(), address.port(), "/", &[]).await.is_ok());
        assert!(http(address.ip(), address.port(), "/", &[]).await.is_err());
        answering.await.unwrap();
    }
}
