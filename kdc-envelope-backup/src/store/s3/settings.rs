//! What is known of an S3 bucket before any request: what a caller sets, beside the environment and the profiles of AWS.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Where a bucket of S3 is, and how to speak to it. What is not set comes from the environment variables and profiles of AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// What all keys begin with, without a slash at either end; empty for the whole bucket.
    pub prefix: String,
    /// URL of the server, if it is not AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket; `us-east-1` if nothing names one.
    pub region: Option<String>,
    /// Certificates in PEM of the authorities that the server's certificate comes from, if they are not the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether requests may go without TLS.
    pub allow_http: bool,
    /// Where requests name the bucket.
    pub addressing: Addressing,
    /// What goes along with what is stored, for the server to verify: by default CRC-64/NVME with TLS, and nothing without.
    pub checksum: Option<Checksum>,
    /// Credentials, instead of those of the environment and the profiles.
    pub credentials: Option<S3Credentials>,
}

impl S3Settings {
    /// A bucket, and nothing else.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            ..Self::default()
        }
    }
}

/// A key of S3.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Credentials {
    /// Id of the access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Zeroizing<String>,
    /// Of credentials that end.
    pub session_token: Option<Zeroizing<String>>,
}

impl S3Credentials {
    /// A key that does not end by itself.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: Zeroizing::new(secret_access_key.into()),
            session_token: None,
        }
    }
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").finish_non_exhaustive()
    }
}

/// Where a request names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Addressing {
    /// In the path.
    #[default]
    Path,
    /// In the name of the server.
    Virtual,
}

/// The checksum that goes along with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksum {
    /// None at all.
    None,
    /// SHA-256.
    Sha256,
    /// CRC-64/NVME.
    Crc64Nvme,
}
