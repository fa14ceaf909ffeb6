//! The server over real sockets, with raw clients.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "helpers of tests"
)]

mod fixture;
mod service;
mod several;
mod socket;
