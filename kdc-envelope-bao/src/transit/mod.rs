//! The Transit secrets engine as a key encryption key.

mod batch;
mod batch_calls;
mod calls;
mod clock;
mod grace;
mod kek;
mod key;
mod options;
mod plain_row;
mod proof;
mod single;
mod snapshot_deks;
mod versions;
mod watch;

pub use kek::{AAD_ANNOTATION, TransitKek};
pub use key::{InvalidKeyName, TransitKey, TransitKeyName};
pub(crate) use key::{MAX_NAME_LEN, MAX_PATH_LEN, check_mount, is_segment, shortened};
pub use options::TransitOptions;
pub use plain_row::PlainRow;
pub(crate) use single::Single;
pub use snapshot_deks::TransitSnapshotDeks;
