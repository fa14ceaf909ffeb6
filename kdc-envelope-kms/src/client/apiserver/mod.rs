//! kube-apiserver's side of KMS v2 without a kube-apiserver.
//!
//! The rules and the timing are those of `kmsv2PluginProbe` in `k8s.io/apiserver/pkg/server/options/encryptionconfig` and of
//! `pkg/storage/value/encrypt/envelope/kmsv2`, the same in Kubernetes 1.29 to 1.37. They live in [`Provider`], which neither
//! calls nor waits; [`ApiServer`] does that for it.
//!
//! Left out: the cache of derived row keys per etcd path, which no plugin can notice.

mod cache;
mod provider;
mod server;

pub use provider::{
    AfterStatus, CheckError, DecryptNeed, NoState, Plan, Problem, Provider, ReadPlan, Rotation,
    WriteError,
};
pub use server::{ApiServer, Opened, ReadError, monotonic_clock};

#[cfg(test)]
mod tests;
