//! What an attacker or a faulty neighbour can do from outside, tried on the real programs.
//!
//! | module | attacks by |
//! |---|---|
//! | [`socket`] | clients of the plugin's socket and of its `--http-address` |
//! | [`openbao`] | a server in the place of OpenBao |
//! | [`bucket`] | a server in the place of S3 |
//! | [`scan`] | files that claim to be etcd's |
//! | [`system_calls`] | kill -9 at one system call after another |
//! | [`races`] | several runs of `kdc backup` on one bucket |
//!
//! All of it runs briefly with the other tests. `cargo xtask attack --minutes N` sets `KDC_ATTACK_SECONDS` and writes the table
//! of `docs/reliability.md` from what each test leaves in the folder `KDC_ATTACK_TABLES`.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the fixture is part of the tests"
)]

mod bucket;
mod openbao;
mod races;
mod report;
mod run;
mod scan;
mod socket;
mod system_calls;
