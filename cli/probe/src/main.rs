//! `landfall-probe`: what runs in the Pods of `landfall connectivity test`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use landfall_probe::report::Line;
use landfall_probe::stranger::{Errand, run};
use landfall_probe::{backend, interface, victim};

/// What runs in the Pods of `landfall connectivity test`
#[derive(Debug, Parser)]
#[command(name = "landfall-probe", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A backend: says over TCP and UDP which Pod it is and who asked
    Serve {
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// The Pod's name
        #[arg(long, env = "POD_NAME")]
        pod: String,
    },
    /// A stranger on the segment: asks for addresses, and says in lines of JSON what it sees
    Ask {
        /// The stranger's own address, and the one it asks
        #[arg(long, required = true, value_parser = pair, value_name = "OWN=ADDRESS")]
        pair: Vec<(IpAddr, IpAddr)>,
        #[arg(long, default_value_t = 80)]
        port: u16,
        /// Interfaces that may be used
        #[arg(long, required = true, value_delimiter = ',')]
        interfaces: Vec<String>,
        /// Seconds until it ends by itself
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Kills the processes of a Pod of this host that run a program, as a crash would end them
    Kill {
        /// The program's name
        program: String,
        /// The Pod's uid
        #[arg(long, value_name = "UID")]
        pod: String,
    },
    /// Prints the metrics of the announcer of this host
    Metrics {
        #[arg(long, default_value_t = 7780)]
        port: u16,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Serve { port, pod } => backend::serve(port, &pod),
        Command::Ask {
            pair,
            port,
            interfaces,
            seconds,
        } => {
            let until = Instant::now() + Duration::from_secs(seconds);
            let errands: anyhow::Result<Vec<Errand>> = pair
                .into_iter()
                .map(|(own, vip)| {
                    Ok(Errand {
                        own,
                        vip,
                        port,
                        interface: interface::towards(vip, &interfaces)?,
                        until,
                    })
                })
                .collect();
            ask(errands?)
        }
        Command::Kill { program, pod } => {
            let pids = victim::kill(Path::new("/proc"), &program, &pod)?;
            println!("killed {program}: {pids:?}");
            Ok(())
        }
        Command::Metrics { port } => metrics(port),
    }
}

fn pair(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let parsed = text.split_once('=').and_then(|(own, vip)| {
        let (own, vip): (IpAddr, IpAddr) = (own.parse().ok()?, vip.parse().ok()?);
        (own.is_ipv4() == vip.is_ipv4()).then_some((own, vip))
    });
    parsed.ok_or_else(|| "write it like 192.0.2.9=192.0.2.1".to_owned())
}

/// Every errand on a thread of its own, until all are done or the first cannot go on.
fn ask(errands: Vec<Errand>) -> anyhow::Result<()> {
    let (sender, ended) = std::sync::mpsc::channel();
    for errand in errands {
        let sender = sender.clone();
        thread::spawn(move || {
            let result = run(&errand, say);
            // Nobody listens any more: another one ended it all.
            let _ = sender.send(result.with_context(|| format!("asking for {}", errand.vip)));
        });
    }
    drop(sender);
    ended.into_iter().collect()
}

fn say(line: &Line) {
    let Ok(text) = serde_json::to_string(line) else {
        return;
    };
    // Nobody reads any more: the Pod is about to go.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// By hand: one question to this host itself is no reason for an HTTP client.
fn metrics(port: u16) -> anyhow::Result<()> {
    let mut stream =
        TcpStream::connect(("127.0.0.1", port)).context("asking the announcer of this host")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
