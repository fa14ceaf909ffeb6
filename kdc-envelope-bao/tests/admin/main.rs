//! Setting up real OpenBao servers of every supported version.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

mod concurrency;
mod fixture;
mod idempotency;
mod keys;
mod kubernetes;
mod mounts;
mod namespaces;
mod policies;
mod rotation;
