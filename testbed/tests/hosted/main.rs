//! Hosted control planes in the testbed: what a person would do by hand, on real servers.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "the fixture is part of the tests"
)]

mod fixture;
mod load;
mod managers;
mod pods;
mod stages;
