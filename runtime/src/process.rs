//! What every program says of itself in its metrics: what it was built from, and what it costs.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::metrics::Writer;
use crate::telemetry::REVISION;

// Of what serves metrics, the command line has the code on every system.
#[cfg(target_os = "linux")]
mod costs;

/// Registers it in a registry without a prefix; `version` is the program's own.
pub fn register(registry: &mut Registry, version: &'static str) {
    registry.register_collector(Box::new(This { version }));
}

#[derive(Debug)]
struct This {
    version: &'static str,
}

impl Collector for This {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Writer::from(encoder);
        build_info(&mut out, self.version, REVISION)?;
        #[cfg(target_os = "linux")]
        costs::of_this_process(&mut out)?;
        Ok(())
    }
}

fn build_info(out: &mut Writer<'_>, version: &str, revision: &str) -> Result<(), Error> {
    let help = "What this program was built from; always 1";
    let labels = [("version", version), ("revision", revision)];
    out.gauges("landfall_build_info", help, [(labels, 1_i64)])
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_program_says_what_it_was_built_from() {
        let mut registry = Registry::default();
        register(&mut registry, "1.2.3");
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("landfall_build_info{version=\"1.2.3\",revision=\""),
            "{text}"
        );
    }
}
