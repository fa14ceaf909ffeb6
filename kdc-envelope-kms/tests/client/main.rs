//! The client against plugins that serve in this process: our own, and a double with one fault of choice.
#![cfg(feature = "client")]
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    unreachable_pub,
    reason = "helpers of tests"
)]

mod apiserver;
mod calls;
mod check;
mod double;
mod load;
mod own_plugin;
