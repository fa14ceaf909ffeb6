//! The frame of controllers on a real kube-apiserver.
//!
//! | what | test |
//! |---|---|
//! | one writer at a time: a leader that is stopped, cut off, deposed, or ends | `leader` |
//! | no run before its own writes are seen, the next attempt after each kind of error, a watch across a restart | `run` |
//! | nothing is written without need, and nothing of others is lost | `status`, `events` |
//! | calls without an answer, without the right, or refused | `calls` |
//! | the custom resources as an API server takes them | `definitions` |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the fixture is part of the tests"
)]

mod calls;
mod definitions;
mod events;
mod fixture;
mod leader;
mod run;
mod status;
