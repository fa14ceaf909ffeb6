//! Upstream's own transformers and this project on the same inputs: rows of each that the other opens, changed rows and
//! made-up messages and files that both must take or refuse alike.
//!
//! The inputs are random but the same in every run.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod configuration;
mod generated;
mod local;
mod messages;
mod rows;
mod start;

use kdc_testbed::Oracle;

fn oracle() -> Oracle {
    Oracle::start().unwrap()
}
