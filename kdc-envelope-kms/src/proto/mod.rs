//! The messages and the service of the KMS v2 API, generated from
//! `proto/kms_v2.proto` by `cargo xtask codegen`.

use std::fmt;

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::exhaustive_structs,
    clippy::must_use_candidate,
    clippy::missing_errors_doc,
    clippy::or_fun_call,
    clippy::use_self,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod v2;

pub use v2::*;

impl fmt::Debug for EncryptRequest {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DecryptResponse {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptResponse").finish_non_exhaustive()
    }
}
