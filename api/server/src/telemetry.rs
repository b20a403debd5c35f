//! Log lines, metrics and traces. None ever carries a personal value: what is told are ids, counts and stable words.

mod traces;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, LogSettings, TelemetrySettings};
pub(crate) use traces::Traces;

/// How often histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of what is measured in seconds.
const SECONDS: [f64; 15] = [
    0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Sends log lines to standard error, and spans to a collector where one is set.
pub(crate) fn start_logs(
    settings: &LogSettings,
    telemetry: &TelemetrySettings,
    cell: &str,
) -> anyhow::Result<Option<Traces>> {
    let filter = EnvFilter::try_new(&settings.level).context("setting log.level")?;
    let Some(traces) = Traces::start(telemetry, cell)? else {
        // One filter for everything costs a request less than one for each layer.
        let lines = tracing_subscriber::registry().with(filter);
        let started = lines.with(line_layer(settings.format)).try_init();
        started.map_err(|error| anyhow::anyhow!("logs: {error}"))?;
        return Ok(None);
    };
    tracing_subscriber::registry()
        .with(line_layer(settings.format).with_filter(filter))
        .with(traces.layer())
        .try_init()
        .map_err(|error| anyhow::anyhow!("logs: {error}"))?;
    Ok(Some(traces))
}

fn line_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
    }
}

/// Records metrics for `/metrics`.
pub(crate) fn start_metrics(
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics")?;
    let upkeep = handle.clone();
    tracker.spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
