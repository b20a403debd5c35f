//! Spans of requests, sent to an OpenTelemetry collector (OTLP, protobuf over HTTP).
//!
//! A request never waits for the collector: spans go into a bounded queue, a thread of its own sends them in batches, and
//! what does not fit is dropped. Only spans with the target [`TRACE`] leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use roster_commands::TRACE;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::client;
use crate::config::TelemetrySettings;

/// Spans that wait at most; some 2 MiB.
const QUEUE: usize = 4_096;
/// Spans of one request to the collector at most.
const BATCH: usize = 512;
/// How long spans wait for more of them.
const DELAY: Duration = Duration::from_secs(2);
/// How long the collector may take for one batch.
const EXPORT: Duration = Duration::from_secs(5);
/// How long a stop may take to send what is left.
const FLUSH: Duration = Duration::from_secs(5);
/// Where a collector takes traces, as the specification of OTLP says.
const PATH: &str = "/v1/traces";

/// The export of this process.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts it where a collector is set.
    pub(super) fn start(settings: &TelemetrySettings, cell: &str) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(None);
        };
        let base = endpoint.trim_end_matches('/');
        let base = base.strip_suffix(PATH).unwrap_or(base);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Transport {
                client: client::http(base)?,
                runtime: Handle::current(),
                is_failing: AtomicBool::new(false),
            })
            .with_endpoint(format!("{base}{PATH}"))
            .with_timeout(EXPORT)
            .build()
            .context("setting telemetry.otlp_endpoint")?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY);
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(queue.build())
            .build();
        let own = Sampler::TraceIdRatioBased(settings.sample_ratio);
        let resource = Resource::builder_empty()
            .with_service_name(settings.service_name.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("roster.cell", cell.to_owned()),
            ]);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(own)))
            .with_resource(resource.build());
        Ok(Some(Self(provider.build())))
    }

    /// What takes the spans.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("roster"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACE, LevelFilter::DEBUG))
    }

    /// Sends what is left, for a while.
    pub(crate) async fn stop(self) {
        let flushed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH));
        if !matches!(flushed.await, Ok(Ok(()))) {
            tracing::warn!("the last spans of this server were not all exported");
        }
    }
}

/// The way to the collector: our own client, on the server's runtime.
#[derive(Debug)]
struct Transport {
    client: reqwest::Client,
    runtime: Handle,
    is_failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(EXPORT);
        // The thread of the queue has no reactor of its own.
        let client = self.client.clone();
        let sent = self
            .runtime
            .spawn(async move { client.execute(request).await });
        // The URL may hold a password.
        let sent = sent.await?.map_err(reqwest::Error::without_url);
        let failure = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.tell(failure.as_deref());
        let mut answer = Response::new(Bytes::new());
        // What it says beside the status is of no use to anybody here.
        *answer.status_mut() = sent?.status();
        Ok(answer)
    }
}

impl Transport {
    /// Logs a change, not every batch.
    fn tell(&self, failure: Option<&str>) {
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_failing => {
                tracing::warn!(reason, "spans cannot be exported; they are dropped");
            }
            None if was_failing => tracing::info!("spans are exported again"),
            _ => {}
        }
    }
}
