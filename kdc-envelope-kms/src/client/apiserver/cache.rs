//! The unwrapped DEK sources that kube-apiserver keeps.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use kdc_envelope::kmsv2::{DekSource, DekSourceType, EncryptedObject};
use sha2::{Digest, Sha256};

/// How long an entry lives after it was put in (`cacheTTL` upstream).
pub(super) const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// SHA-256 over all that identifies a wrapped key, each part with its length before it.
pub(super) type CacheKey = [u8; 32];

/// Not bounded by number, as upstream: there is one entry per seed in etcd.
#[derive(Debug, Default)]
pub(super) struct DekSourceCache(HashMap<CacheKey, Entry>);

#[derive(Debug)]
struct Entry {
    source: Arc<DekSource>,
    expires_at: Duration,
}

impl DekSourceCache {
    /// The source under `key`. Upstream serves expired entries until an insertion removes them, and so does this.
    pub(super) fn find(&self, key: &CacheKey) -> Option<Arc<DekSource>> {
        self.0.get(key).map(|entry| Arc::clone(&entry.source))
    }

    /// Puts `source` in for [`TTL`] and removes what has expired.
    pub(super) fn insert(&mut self, key: CacheKey, source: Arc<DekSource>, now: Duration) {
        self.0.retain(|_, entry| now < entry.expires_at);
        let expires_at = now + TTL;
        self.0.insert(key, Entry { source, expires_at });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The key of the entry for a row.
pub(super) fn key_of_row(object: &EncryptedObject<'_>) -> CacheKey {
    key_of(
        object.dek_source_type,
        object.encrypted_dek_source,
        object.key_id,
        object.annotations.iter().copied(),
    )
}

/// The key of the entry for a wrapped key; `annotations` ordered by key.
pub(super) fn key_of<'a>(
    dek_source_type: DekSourceType,
    encrypted_dek_source: &[u8],
    key_id: &str,
    annotations: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> CacheKey {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_be_bytes());
        hash.update(bytes);
    };
    part(dek_source_type.as_str().as_bytes());
    part(encrypted_dek_source);
    part(key_id.as_bytes());
    for (key, value) in annotations {
        part(key.as_bytes());
        part(value);
    }
    hash.finalize().into()
}
