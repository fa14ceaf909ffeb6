//! Values as they are in etcd: opening them with a configuration, and the objects inside.

pub mod object;
mod opener;

pub use opener::{
    OpenFailure, OpenValueError, OpenedValue, Opening, PendingKmsV1, PendingKmsV2, ValueOpener,
    WrappedByPlugin,
};
