//! Asking API servers: each by itself about what it has loaded, and any of them about who its peers are.

mod ask;
mod cause;
mod connect;
mod error;
mod kubeconfig;
mod members;
mod server;
mod server_name;

pub(crate) use cause::cause;
pub use connect::{Overrides, connect, connect_kubeconfig};
pub use error::ClusterError;
pub use kubeconfig::{
    Kubeconfig, KubeconfigError, KubeconfigFault, KubeconfigInMemory, KubeconfigSource,
};
pub use members::{Member, members};
pub use server::{ServerState, ping, probe};
pub(crate) use server_name::Asked;
pub use server_name::ServerName;
