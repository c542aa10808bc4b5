//! Writing metrics in a collector: state is read off the running parts at every scrape, so that it
//! cannot drift.

use std::fmt::Error;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry;

/// Writes metrics, one call a name.
#[derive(Debug)]
pub struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> From<DescriptorEncoder<'a>> for Writer<'a> {
    fn from(encoder: DescriptorEncoder<'a>) -> Self {
        Self { encoder }
    }
}

impl Writer<'_> {
    /// One value that goes up and down.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> Result<(), Error> {
        let encoder = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// Records the log had no room for: what is not in it may have happened all the same.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn lost_log_records(&mut self, name: &str) -> Result<(), Error> {
        self.counter(
            name,
            "Records left out of the log because nobody read it fast enough",
            telemetry::lost_records(),
        )
    }

    /// Values that go up and down, each under its labels.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn gauges<L: EncodeLabelSet, N: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, N)>,
    ) -> Result<(), Error> {
        let mut encoder = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// One value that only grows; `_total` is added to the name.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> Result<(), Error> {
        let encoder = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// A distribution.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram,
    ) -> Result<(), Error> {
        let encoder = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        histogram.encode(encoder)
    }

    /// Values that only grow, each under its labels; `_total` is added to the name.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn counters<L: EncodeLabelSet, N: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, N)>,
    ) -> Result<(), Error> {
        let mut encoder = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A yes or no as the value of a gauge.
#[must_use]
pub const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// A number of things as the value of a gauge.
#[must_use]
pub fn count(value: usize) -> f64 {
    u32::try_from(value).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Parts;

    impl Collector for Parts {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
            let mut out = Writer::from(encoder);
            out.gauge("ready", "Whether it is", flag(true))?;
            out.gauges("pending", "By reason", [([("reason", "Full")], 2_i64)])?;
            out.counter("seen", "Ever", 3_u64)?;
            out.counters("errors", "By class", [([("class", "conflict")], 4_u64)])
        }
    }

    #[test]
    fn every_metric_has_its_help_its_type_and_its_values() {
        let mut registry = Registry::with_prefix("landfall");
        registry.register_collector(Box::new(Parts));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(
            text,
            "# HELP landfall_ready Whether it is\n# TYPE landfall_ready gauge\nlandfall_ready 1.0\n\
             # HELP landfall_pending By reason\n# TYPE landfall_pending gauge\n\
             landfall_pending{reason=\"Full\"} 2\n\
             # HELP landfall_seen Ever\n# TYPE landfall_seen counter\nlandfall_seen_total 3\n\
             # HELP landfall_errors By class\n# TYPE landfall_errors counter\n\
             landfall_errors_total{class=\"conflict\"} 4\n# EOF\n"
        );
    }
}
