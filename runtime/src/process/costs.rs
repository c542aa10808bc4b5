//! What Linux counts of a process.
//!
//! The names `process_…` are those of every Prometheus client, so that dashboards find them.

use std::fmt::Error;

use procfs::process::{LimitValue, Process};
use procfs::{CurrentSI as _, WithCurrentSystemInfo as _};

use crate::metrics::Writer;

pub(super) fn of_this_process(out: &mut Writer<'_>) -> Result<(), Error> {
    // Where /proc is not to be read there is nothing to say, and the rest is worth having all the same.
    match costs() {
        Ok(costs) => write(out, &costs),
        Err(_) => Ok(()),
    }
}

#[derive(Debug)]
struct Costs {
    /// Seconds of processor time, user and system.
    cpu: f64,
    /// Bytes in memory.
    resident: u64,
    /// Bytes of addresses.
    virtual_: u64,
    open_files: u64,
    /// `None` where there is no limit.
    most_files: Option<u64>,
    threads: i64,
    /// Seconds since the epoch.
    started: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks and seconds of one process"
)]
fn costs() -> procfs::ProcResult<Costs> {
    let this = Process::myself()?;
    let stat = this.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let boot = procfs::KernelStats::current()?.btime;
    let limits = this.limits()?;
    Ok(Costs {
        cpu: (stat.utime + stat.stime) as f64 / ticks,
        resident: stat.rss_bytes().get(),
        virtual_: stat.vsize,
        open_files: this.fd_count()? as u64,
        most_files: match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => Some(most),
            LimitValue::Unlimited => None,
        },
        threads: stat.num_threads,
        started: boot as f64 + stat.starttime as f64 / ticks,
    })
}

fn write(out: &mut Writer<'_>, costs: &Costs) -> Result<(), Error> {
    let help = "Processor time, user and system, in seconds";
    out.counter("process_cpu_seconds", help, costs.cpu)?;
    let help = "Memory in use, in bytes";
    out.gauge("process_resident_memory_bytes", help, costs.resident)?;
    let help = "Addresses in use, in bytes";
    out.gauge("process_virtual_memory_bytes", help, costs.virtual_)?;
    let help = "Open files";
    out.gauge("process_open_fds", help, costs.open_files)?;
    if let Some(most) = costs.most_files {
        let help = "How many files may be open";
        out.gauge("process_max_fds", help, most)?;
    }
    out.gauge("process_threads", "Threads", costs.threads)?;
    let help = "When it was started, in seconds since the epoch";
    out.gauge("process_start_time_seconds", help, costs.started)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::super::build_info;
    use super::*;

    #[derive(Debug)]
    struct Played;

    impl Collector for Played {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
            let costs = Costs {
                cpu: 1.5,
                resident: 4_096,
                virtual_: 8_192,
                open_files: 9,
                most_files: Some(1_024),
                threads: 3,
                started: 1_750_000_000.25,
            };
            let mut out = Writer::from(encoder);
            build_info(&mut out, "1.2.3", "abcdef0")?;
            write(&mut out, &costs)
        }
    }

    #[test]
    fn a_process_is_described_as_by_every_other_client() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Played));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_is_said_is_of_this_process() {
        let costs = costs().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(costs.started > 0.0 && costs.started <= now.as_secs_f64() + 1.0);
        assert!(costs.resident > 100_000 && costs.virtual_ >= costs.resident);
        assert!(costs.open_files >= 3 && costs.threads >= 1);
    }
}
