//! Passes of the rewrite engine over the rows of real control planes.
//!
//! Tests that need stale rows and no restart share a control plane: they put objects into etcd as plaintext, which is stale
//! there. What no real server does on demand is done between the client and the server, by [`fixture::Hook`].
//!
//! | what happens during a pass | test |
//! |---|---|
//! | nothing | `rotation` |
//! | others write, delete and make objects anew; tokens expire | `meanwhile` |
//! | objects or rows that the server refuses, or that etcd finds too large; missing rights | `refusals` |
//! | the server is busy, slow or gone; the pass is dropped | `troubles` |
//! | several API servers, large objects | `scale` |
//! | it is a job that is dropped, or shares a budget with others | `job` |
//! | one API server of many is asked | `connect` |
//! | kube-controller-manager does it | `hand_over`, on each version of Kubernetes that is asked for |

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "the fixture is part of the tests"
)]

mod connect;
mod fixture;
mod hand_over;
mod job;
mod meanwhile;
mod refusals;
mod rotation;
mod scale;
mod troubles;
