//! The Transit secrets engine as a key encryption key.

mod batch;
mod calls;
mod kek;
mod key;
mod plain_row;
mod snapshot_deks;
mod versions;
mod watch;

pub use kek::{AAD_ANNOTATION, TransitKek, TransitOptions};
pub(crate) use key::check_mount;
pub use key::{InvalidKeyName, TransitKey, TransitKeyName};
pub use plain_row::PlainRow;
pub use snapshot_deks::TransitSnapshotDeks;
