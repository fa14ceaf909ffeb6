#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aead;
pub mod cache;
mod clock;
pub mod deadline;
pub mod derive;
mod digest;
pub mod envelope;
mod error_chain;
pub mod etcd_file;
pub mod evidence;
pub mod kek;
pub mod kmsv2;
pub mod local;
mod protobuf;
pub mod providers;
pub mod random;
mod reader;
mod secret;
pub mod snapshot;
pub mod survey;

pub use clock::Clock;
pub use error_chain::ErrorChain;
pub use kek::{
    Aad, Annotations, KekError, KekErrorKind, KekStatus, KeyEncryptionKey, KeyId, WrappedKey,
};
pub use secret::{Key256, SecretBytes};
