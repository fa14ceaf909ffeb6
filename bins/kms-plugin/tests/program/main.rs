//! The real program, its command line, and the files that deploy it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod bao_settings;
mod command_line;
mod crowds;
mod deploy;
mod fixture;
mod openbao;
mod openshift;
mod serving;
#[cfg(feature = "otel")]
mod telemetry;
