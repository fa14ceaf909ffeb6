//! Keys of projects and the access of clusters to them: what kdc-manager does.
//!
//! A [`KmsKey`](crate::crd::KmsKey) becomes a key in OpenBao Transit, which rotates on its schedule; a
//! [`KdcCluster`](crate::crd::KdcCluster) gets a policy and a role for the plugins beside its API servers. Both are observed, planned and
//! applied again and again, at each change and at each interval; what differs from what is wanted is set right, and told.
//!
//! | module | what it is |
//! |---|---|
//! | [`service`] | the port to OpenBao, which the program implements |
//! | [`tenant`] | whose key it is, and what it is called |
//! | [`plan`] | the next step for a key: creation, profile, rotation, deletion. Pure |
//! | [`access`] | policy and role of a cluster. Pure |
//! | [`claim`] | one rotator for each key |
//! | [`users`] | which clusters use a key |
//! | [`controllers`] | the reconcilers, on the frame of [`controller`](crate::controller) |
//!
//! # What it holds to
//!
//! * No answer is not an answer: nothing is created, rotated or deleted because something could not be read.
//! * A key that was there and is gone is never made again under its name.
//! * `min_decryption_version` is never touched.
//! * Two rotations of one key never overlap, over all replicas and processes; one whose end is not known is not repeated.

pub mod access;
pub mod claim;
pub mod controllers;
pub mod plan;
pub mod service;
pub mod tenant;
pub mod users;

pub use access::AccessSettings;
pub use controllers::{KeysControllers, KeysSettings};
pub use plan::{PlaceError, Snapshots};
pub use service::{Change, KeyLook, KeyService, Role, ServiceError, ServiceErrorKind, StoredKey};
pub use tenant::{KeyNames, KeyPlace, Tenancy};
