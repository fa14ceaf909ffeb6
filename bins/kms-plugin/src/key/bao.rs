//! A key in OpenBao, behind a cache.

use std::sync::Arc;
use std::time::Instant;

use kdc_envelope::KeyEncryptionKey;
use kdc_envelope::cache::CachedKek;
use kdc_envelope_bao::{CredentialError, TransitKek};

use kdc_shared::plugin::BaoSource;

/// A key in OpenBao that knows nothing until it is [kept](Self::keep).
pub(crate) struct BaoKey {
    kek: TransitKek,
    cache: Arc<CachedKek>,
}

impl BaoKey {
    /// Reads certificates, and sends nothing.
    pub(crate) fn open(source: &BaoSource) -> Result<Self, CredentialError> {
        let session = source.connection.session()?;
        let transit = &source.transit;
        let kek = TransitKek::new(session, transit.key_name(), transit.options());
        let inner: Arc<dyn KeyEncryptionKey> = Arc::new(kek.clone());
        let start = Instant::now();
        let cache = CachedKek::new(inner, source.cache, move || start.elapsed());
        Ok(Self {
            kek,
            cache: Arc::new(cache),
        })
    }

    pub(crate) const fn kek(&self) -> &TransitKek {
        &self.kek
    }

    pub(crate) fn cache(&self) -> Arc<CachedKek> {
        Arc::clone(&self.cache)
    }

    /// Logs in, renews, and follows the key and its credentials for ever; whatever fails is tried again.
    pub(crate) async fn keep(self) {
        tokio::join!(self.kek.session().maintain(), self.kek.watch());
    }
}
