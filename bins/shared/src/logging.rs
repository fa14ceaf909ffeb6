//! Where log lines go and how they look.

use std::io::{self, IsTerminal as _};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

static STRUCTURED: AtomicBool = AtomicBool::new(false);

/// The parser of what is logged: a level, or levels by module.
///
/// # Errors
/// The words for what it is not.
pub fn log_level(given: &str) -> Result<Targets, String> {
    // The parser takes a bare word that is no level for the name of a module, and nothing for a level.
    let is_level_or_pair = |part: &str| {
        let part = part.trim();
        !part.is_empty() && (part.contains('=') || part.parse::<LevelFilter>().is_ok())
    };
    given
        .split(',')
        .all(is_level_or_pair)
        .then(|| given.parse().ok())
        .flatten()
        .ok_or_else(|| {
            format!("`{given}` is not off, error, warn, info, debug, trace or a list such as info,h2=debug")
        })
}

/// Logs a panic as everything else is logged: it is a line of the log, and in its form.
fn log_panics() {
    let printer = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        let reason = info.payload_as_str().unwrap_or_default();
        tracing::error!(
            place,
            reason = reason.replace(char::is_control, " "),
            "panicked; this is a fault of the program"
        );
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
            printer(info);
        }
    }));
}

/// Logs to stderr from here on; `other` sees everything too.
pub fn start(format: LogFormat, level: Targets, other: Option<impl Layer<Registry> + Send + Sync>) {
    let layer = fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            layer.with_ansi(colours).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only if this process has another logger already, which then takes the lines.
    if tracing_subscriber::registry()
        .with(other)
        .with(layer.with_filter(level))
        .try_init()
        .is_ok()
    {
        STRUCTURED.store(format == LogFormat::Json, Ordering::Relaxed);
        log_panics();
    }
}

/// Whether lines on stderr are read by a machine.
pub fn is_structured() -> bool {
    STRUCTURED.load(Ordering::Relaxed)
}
