//! Asking API servers: each by itself about what it has loaded, and any of them about who its peers are.

mod connect;
mod error;
mod members;
mod server;

pub use connect::{Kubeconfig, connect};
pub use error::ClusterError;
pub use members::{Member, members};
pub use server::{ServerState, greet, look_at};
