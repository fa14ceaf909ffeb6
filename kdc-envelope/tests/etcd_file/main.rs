//! The reader of etcd files on small files of our own making, good and hostile. What the real etcd writes is compared in the
//! testbed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod bbolt;
mod good;
mod hostile;
mod properties;
