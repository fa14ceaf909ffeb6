//! The other side of the socket: what kube-apiserver does with a KMS v2 plugin.
//!
//! | to | take |
//! |---|---|
//! | make single calls as kube-apiserver makes them | [`KmsClient`] |
//! | seal and open rows as kube-apiserver does, with its timing and its rules | [`apiserver::ApiServer`] |
//! | see whether any plugin keeps the contract | [`check`] |
//! | see how fast it is | [`load`] |
//!
//! Every part works with any plugin. Its socket is a [`SocketAddress`](crate::server::SocketAddress), spelled as in
//! kube-apiserver's configuration.

pub mod apiserver;
mod calls;
pub mod check;
mod connection;
pub mod load;

pub use calls::{CallError, EncryptAnswer, KmsClient, Method, StatusAnswer};
