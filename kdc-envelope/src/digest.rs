//! SHA-256 over gigabytes; short inputs use `sha2` directly.

use core::fmt;

/// A running SHA-256, by the fastest implementation of this build.
#[derive(Clone)]
pub(crate) struct BulkSha256(
    #[cfg(feature = "aws-lc")] aws_lc_rs::digest::Context,
    #[cfg(not(feature = "aws-lc"))] sha2::Sha256,
);

#[cfg(feature = "aws-lc")]
impl BulkSha256 {
    pub(crate) fn new() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        let digest = self.0.finish();
        <[u8; 32]>::try_from(digest.as_ref()).expect("SHA-256 has 32 bytes")
    }
}

#[cfg(not(feature = "aws-lc"))]
impl BulkSha256 {
    pub(crate) fn new() -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        use sha2::Digest as _;
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        use sha2::Digest as _;
        self.0.finalize().into()
    }
}

impl fmt::Debug for BulkSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BulkSha256(..)")
    }
}
