//! Snapshots of etcd, sealed before they leave the machine.
//!
//! | module or type | holds |
//! |---|---|
//! | [`seal`], [`open`] | version 2: a stream in chunks, on several cores, in bounded memory |
//! | [`SealedRange`] | any range of a sealed object without the rest |
//! | [`v1`] | version 1: one AES-GCM message, as older buckets hold it |
//! | [`metadata`] | `metadata.json` of both |
//! | [`Identity`], [`Expected`] | which snapshot of which cluster it is, and which one the caller expects |
//!
//! A snapshot is sealed under a DEK of its own, which a KEK wraps; the wrapped DEK lies beside it, so that moving it to another KEK
//! version touches a few hundred bytes and never the snapshot. Reading and writing go through [`std::io`]; files, buckets and keys are the caller's. The
//! formats are in `docs/formats.md`.

mod chunk;
mod codec;
mod content;
mod error;
mod header;
mod identity;
pub mod metadata;
mod open;
mod output;
mod pipeline;
mod range;
mod seal;
pub mod v1;

pub use codec::Codec;
pub use content::{ContentSummary, TRAILER_LEN, Trailer, TrailerError};
pub use error::{OpenError, SealError};
pub use header::{Header, MAGIC};
pub use identity::{Identity, InvalidIdentity, MAX_NAME_LEN, MAX_SOURCE_LEN, check_name};
pub use open::{Expected, OpenOptions, Unlocked, open};
pub use range::SealedRange;
pub use seal::{SealOptions, Sealed, seal};
