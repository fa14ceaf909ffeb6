//! The real program, its command line, and the files that deploy it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod command_line;
mod deploy;
mod serving;
mod support;
