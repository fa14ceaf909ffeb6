//! Whether the rows in etcd were written by the provider and key that should write them now.
//!
//! What an EncryptionConfiguration says of new rows says nothing of old ones. [`ExpectedRows`] is who should have written
//! the rows of a resource, and [`ExpectedRows::judge`] holds the rows that were counted against it. The outcome is
//! [evidence](kdc_envelope::evidence) for or against "every row is on the newest key", the condition for taking a key away,
//! for switching encryption off, and for calling a rotation verified.
//!
//! With the features `client` and `etcd`, [`RowExpectations`] asks an API server what there should be and reads the rows; it finds
//! by itself under which prefix the rows of that API server are.

#[cfg(all(feature = "client", feature = "etcd"))]
mod error;
mod expected;
mod judged;
#[cfg(all(feature = "client", feature = "etcd"))]
mod prefix;
#[cfg(all(feature = "client", feature = "etcd"))]
mod read;

#[cfg(all(feature = "client", feature = "etcd"))]
pub use error::RowsError;
pub use expected::{ExpectedRows, key_id_hash};
pub use judged::{GroupRows, ResourceRows};
#[cfg(all(feature = "client", feature = "etcd"))]
pub use read::{Origin, RowExpectations, Rows};
