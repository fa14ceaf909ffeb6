//! Encrypted snapshots of etcd in a folder or in S3.
//!
//! A snapshot is sealed under a data key of its own, which a key encryption key wraps: a keyring, or a key elsewhere behind
//! [`SnapshotKeys`]. Sealed data, wrapped data key and metadata lie in a [`SnapshotStore`]; the formats are those of
//! [`kdc_envelope::snapshot`].
//!
//! * [`SnapshotWriter`]: a stream or a file into the store.
//! * [`SnapshotReader`]: out of it again, or only a check that it opens.
//! * [`rewrap`](rewrap()): data keys to the newest version of their key, without touching the data.
//! * [`catalogue`]: what there is, which keys it needs, what retention keeps and deletes.
//!
//! The library runs on the tokio runtime of its caller. It prints nothing, reads no clock (`now` is always a parameter), and ends no program;
//! [`BackupError::kind`] is what callers decide by.
//!
//! ```
//! # use std::io::Cursor;
//! # use std::sync::Arc;
//! # use kdc_envelope::local::{Keyring, LocalKek};
//! # use kdc_envelope::snapshot::Trailer;
//! use kdc_envelope_backup::{FolderStore, SnapshotReader, SnapshotWriter, WriteOptions};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let now = 1_790_000_000;
//! let store = Arc::new(FolderStore::new(folder.path()));
//! let keys = Arc::new(LocalKek::new(Keyring::generate(now)?)?);
//! let mut options = WriteOptions::default();
//! options.trailer = Trailer::Digest; // not etcd's checksum, in this example
//! let writer = SnapshotWriter::new(store.clone(), keys.clone(), "prod", Some("first"), "example", now)?;
//! writer.write(Cursor::new(b"content"), options).await?;
//!
//! let snapshot = SnapshotReader::new(store, keys, "prod")?.open("first").await?;
//! let content = snapshot.write_content_to(std::io::sink(), |_read| ()).await?;
//! assert_eq!(content.len, 7);
//! # Ok(())
//! # }
//! ```
//!
//! Two examples run as they are: `cargo run --example folder`, and `cargo run --example s3`.
//!
//! # Features
//! * `s3` (default): [`S3Store`], by `object_store`.

#![forbid(unsafe_code)]

mod advice;
mod blocking;
pub mod catalogue;
mod error;
mod keys;
mod read;
mod rewrap;
mod rows;
mod store;
mod write;

pub use advice::{Advice, Term};
pub use error::{BackupError, BackupErrorKind, Subject};
pub use keys::SnapshotKeys;
pub use read::{Newest, OpenedSnapshot, SnapshotReader};
pub use rewrap::{RewrapEvent, RewrapReport, rewrap};
#[cfg(feature = "s3")]
pub use store::{Addressing, Checksum, S3Credentials, S3Settings, S3Store};
pub use store::{
    DATA, DataSink, Deleted, Entries, Entry, FolderStore, Found, METADATA, Object, ObjectInfo,
    ObjectListing, Obstacle, Replaced, Seen, SnapshotFiles, SnapshotStore, StoreLock,
    StoredMetadata, Version, WRAPPED_DEK,
};
pub use write::{CountRows, FormatVersion, SnapshotWriter, WriteOptions, WrittenSnapshot};
