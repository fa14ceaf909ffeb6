//! Which keys the rows of an etcd need: the question before a key version may be retired.
//!
//! [`ValueEncryption::of`] tells of one value what encrypts it, without any key. [`KeyUsage`] counts many. Both are the same for a
//! live etcd, a snapshot and a data file; [`EtcdFile::key_usage`](crate::etcd_file::EtcdFile::key_usage) takes the last two.

mod prefixes;
mod usage;
mod value;

pub use prefixes::Prefixes;
pub(crate) use usage::MAX_GROUPS;
pub use usage::{KeyUsage, RowGroup};
pub use value::{Damage, Provider, ValueEncryption};
