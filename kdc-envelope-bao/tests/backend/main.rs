//! The backend against real OpenBao servers of every supported version.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

mod deadline;
mod fixture;
mod hostile;
mod inspect;
mod login;
mod outage;
mod rotation;
mod rows;
mod transit;
