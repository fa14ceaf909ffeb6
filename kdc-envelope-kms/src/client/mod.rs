//! The other side of the socket: what kube-apiserver does with a KMS v2 plugin.
//!
//! | to | take |
//! |---|---|
//! | make single calls as kube-apiserver makes them | [`KmsClient`] |
//! | seal and open rows as kube-apiserver does, with its timing and its rules | [`apiserver::ApiServer`] |
//!
//! Every part works with any plugin. Its socket is a [`SocketAddress`](crate::server::SocketAddress), spelled as in
//! kube-apiserver's configuration.

pub mod apiserver;
mod calls;
mod connection;

pub use calls::{CallError, EncryptAnswer, KmsClient, Method, StatusAnswer};
