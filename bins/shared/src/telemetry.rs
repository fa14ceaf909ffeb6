//! Exports spans in the OpenTelemetry protocol (OTLP) over HTTP, from a thread of its own: a collector that is slow or away
//! delays nothing, and what does not fit into the queue is dropped.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::Url;
use reqwest::redirect::Policy;
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Of one export, from connecting to the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the program ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The program whose spans are exported.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its name, as collectors show it.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The crates whose spans are exported. Those of HTTP libraries say little, and might say too much.
    pub crates: &'static [&'static str],
}

/// Where a collector takes OTLP over HTTP, such as `http://127.0.0.1:4318`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtelEndpoint(Url);

impl FromStr for OtelEndpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        // Without the text in any message: it may hold a password.
        let url = Url::parse(text).ok();
        url.filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        })
        .map(Self)
        .ok_or("must be a URL such as http://127.0.0.1:4318, without user, password or query")
    }
}

impl OtelEndpoint {
    /// The URL for spans under this one.
    fn traces(&self) -> String {
        format!("{}/v1/traces", self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Display for OtelEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Spans cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// There is no HTTP client.
    #[error("cannot set up the connection to the OpenTelemetry collector")]
    Client(#[source] reqwest::Error),
    /// There is no exporter.
    #[error("cannot set up the export of spans")]
    Exporter(#[from] ExporterBuildError),
}

/// Exports what its [layer](Self::layer) sees, until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    service: Service,
}

impl Exporter {
    /// Sends nothing yet. Must not be called by the runtime that serves.
    ///
    /// # Errors
    /// [`TelemetryError`]
    pub fn new(endpoint: &OtelEndpoint, service: Service) -> Result<Self, TelemetryError> {
        let mut client = reqwest::blocking::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(TIMEOUT);
        if endpoint.0.scheme() == "http" {
            // No server is verified; so an image without certificates of authorities must do.
            client = client.tls_certs_only([]);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client.build().map_err(TelemetryError::Client)?)
            .with_endpoint(endpoint.traces())
            .build()?;
        let resource = Resource::builder()
            .with_service_name(service.name)
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                service.version,
            ))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider, service })
    }

    /// Exports the spans of this program's own crates, whatever is logged.
    #[must_use]
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let crates = self.service.crates.iter();
        let ours = crates.map(|name| (*name, Level::DEBUG));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(self.service.name))
            .with_filter(Targets::new().with_targets(ours))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // The library logs what it could not send; it can be reported nowhere else.
        let _ = self.provider.shutdown_with_timeout(FLUSH_LIMIT);
    }
}
