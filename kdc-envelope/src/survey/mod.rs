//! Which keys the rows of an etcd need: the question before a key version may be retired.
//!
//! [`Sealed::of`] tells of one value what encrypts it, without any key. [`RowSurvey`] counts many. Both are the same for a
//! live etcd, a snapshot and a data file; [`EtcdFile::survey`](crate::etcd_file::EtcdFile::survey) takes the last two.

mod place;
mod rows;
mod sealed;

pub use place::Prefixes;
pub use rows::{RowGroup, RowSurvey};
pub use sealed::{Damage, Provider, Sealed};
pub(crate) use sealed::{transit_version, version_in_key_id};
