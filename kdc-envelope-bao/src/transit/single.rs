//! One encryption or decryption alone, for trials and explanations. What serves goes in batches, through [`batch_calls`](super::batch_calls).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::SecretBytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::batch_calls::{Encrypted, decode};
use super::key::TransitKeyName;
use crate::client::{Method, Operation, Request, Response};
use crate::error::BaoError;

/// A call for one key, which has its path and body.
pub(crate) struct Single {
    operation: Operation,
    path: Arc<str>,
    body: Zeroizing<Vec<u8>>,
}

#[derive(Serialize)]
struct ToEncrypt<'a> {
    plaintext: &'a str,
    associated_data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u32>,
}

#[derive(Serialize)]
struct ToDecrypt<'a> {
    ciphertext: &'a str,
    associated_data: String,
}

impl Single {
    /// Encrypts under `version`, or under the newest.
    pub(crate) fn encryption(
        key: &TransitKeyName,
        plaintext: &[u8],
        aad: &[u8],
        version: Option<u32>,
    ) -> Self {
        let text = Zeroizing::new(STANDARD.encode(plaintext));
        let body = ToEncrypt {
            plaintext: &text,
            associated_data: STANDARD.encode(aad),
            key_version: version,
        };
        Self::new(Operation::Encrypt, key, &body)
    }

    /// Decrypts.
    pub(crate) fn decryption(key: &TransitKeyName, ciphertext: &str, aad: &[u8]) -> Self {
        let body = ToDecrypt {
            ciphertext,
            associated_data: STANDARD.encode(aad),
        };
        Self::new(Operation::Decrypt, key, &body)
    }

    fn new(operation: Operation, key: &TransitKeyName, body: &impl Serialize) -> Self {
        Self {
            operation,
            path: key.path(operation.as_str()),
            // What is serialized here cannot fail: it is a struct of texts and a number.
            body: Zeroizing::new(serde_json::to_vec(body).unwrap_or_default()),
        }
    }

    /// What to send.
    pub(crate) fn request(&self) -> Request<'_> {
        Request::new(self.operation, Method::Post, &self.path).body(self.body.clone())
    }

    /// What an encryption gave.
    pub(crate) fn encrypted(answer: &Response) -> Result<Encrypted, BaoError> {
        #[derive(Deserialize)]
        struct Sealed {
            ciphertext: String,
            #[serde(default)]
            key_version: u32,
        }
        let sealed: Sealed = answer.data()?;
        Ok(Encrypted {
            ciphertext: sealed.ciphertext,
            version: sealed.key_version,
        })
    }

    /// What a decryption gave.
    pub(crate) fn decrypted(answer: &Response) -> Result<SecretBytes, BaoError> {
        #[derive(Deserialize)]
        struct Plain<'a> {
            #[serde(borrow)]
            plaintext: &'a str,
        }
        let plain: Plain<'_> = answer.data()?;
        decode(Some(plain.plaintext), answer)
    }
}
