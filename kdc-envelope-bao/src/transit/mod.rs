//! The Transit secrets engine as a key encryption key.

mod batch;
mod calls;
mod clock;
mod kek;
mod key;
mod plain_row;
mod single;
mod snapshot_deks;
mod versions;
mod watch;

pub use kek::{AAD_ANNOTATION, TransitKek, TransitOptions};
pub use key::{InvalidKeyName, TransitKey, TransitKeyName};
pub(crate) use key::{MAX_NAME_LEN, MAX_PATH_LEN, check_mount, is_segment, shortened};
pub use plain_row::PlainRow;
pub(crate) use single::Single;
pub use snapshot_deks::TransitSnapshotDeks;
