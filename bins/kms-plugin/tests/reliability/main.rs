//! What happens to a plugin on OpenBao, and to the clients of its API server, when things break, and how long it takes to heal.
//!
//! Every fault befalls real servers while reads, writes, and calls of the plugin go on. For each the tests demand that the plugin
//! heals within ten seconds after the fault has ended, never gives a wrong answer, never exits, and prints no secret. With
//! `KDC_RELIABILITY_TABLES=FOLDER` each test also writes what it saw, for `docs/reliability.md` (`cargo xtask reliability`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the fixture is part of the tests"
)]

mod backend;
mod cluster;
mod fixture;
mod grace;
mod key;
mod load;
mod machine;
mod outage;
mod service;
mod soak;
mod storm;
mod table;
mod trouble;
