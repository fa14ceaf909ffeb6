//! Every rule of encryption for hosted control planes, by the pure planner.
#![cfg(feature = "hosted")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod disabling;
mod enabling;
mod keys;
mod prerequisites;
mod scene;
