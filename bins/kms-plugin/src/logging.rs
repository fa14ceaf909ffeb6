//! Where log lines go and how they look.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::cli::LogFormat;

static STRUCTURED: AtomicBool = AtomicBool::new(false);

/// Logs to stderr from here on; `other` sees everything too.
pub(crate) fn start(
    format: LogFormat,
    level: Targets,
    other: Option<impl Layer<Registry> + Send + Sync>,
) {
    let layer = fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            layer.with_ansi(colours).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only if somebody else in this process logs already, and then logs go there.
    if tracing_subscriber::registry()
        .with(other)
        .with(layer.with_filter(level))
        .try_init()
        .is_ok()
    {
        STRUCTURED.store(format == LogFormat::Json, Ordering::Relaxed);
    }
}

/// Whether lines on stderr are read by a machine.
pub(crate) fn is_structured() -> bool {
    STRUCTURED.load(Ordering::Relaxed)
}
