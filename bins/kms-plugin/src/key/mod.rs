//! The keys that are served, each with what keeps it usable.

pub(crate) mod bao;
mod local;

use std::pin::Pin;

use kdc_envelope_bao::TransitKek;
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::KeyEndpoint;

use crate::failure::Failure;
use bao::BaoKey;
use kdc_shared::plugin::{KeySettings, KeySource};
use local::{Audience, KeyFile};

/// A key that was opened, not yet served.
pub(crate) struct Key {
    pub(crate) endpoint: KeyEndpoint,
    keeper: Keeper,
}

/// What runs beside the server.
enum Keeper {
    File(KeyFile),
    Bao(BaoKey),
}

/// Runs until it is dropped.
pub(crate) type Keeping = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Key {
    /// Reads files, and sends nothing: OpenBao may be away.
    pub(crate) fn open(settings: KeySettings) -> Result<Self, Failure> {
        let KeySettings {
            name,
            socket,
            cluster,
            source,
        } = settings;
        let (endpoint, keeper) = match source {
            KeySource::File(source) => {
                let file = KeyFile::open(source)?;
                let endpoint = KeyEndpoint::local(name, file.kek(), cluster, socket);
                (endpoint, Keeper::File(file))
            }
            KeySource::Bao(source) => {
                let key = BaoKey::open(&source)?;
                tracing::info!(key = name, outage = source.outage(), "key in OpenBao");
                let endpoint = KeyEndpoint::remote(name, key.cache(), cluster, socket);
                (endpoint, Keeper::Bao(key))
            }
        };
        Ok(Self { endpoint, keeper })
    }

    /// The key in OpenBao, if it is there.
    pub(crate) fn transit(&self) -> Option<&TransitKek> {
        match &self.keeper {
            Keeper::File(_) => None,
            Keeper::Bao(key) => Some(key.kek()),
        }
    }

    /// Splits what is served from what keeps it usable.
    pub(crate) fn into_parts(self, metrics: &Metrics) -> (KeyEndpoint, Keeping) {
        let keeping: Keeping = match self.keeper {
            Keeper::File(file) => {
                let audience = Audience {
                    reloads: metrics.key(&self.endpoint.name).keyring_reloads(),
                    notice: self.endpoint.notice.clone(),
                };
                Box::pin(file.follow(audience))
            }
            Keeper::Bao(key) => Box::pin(key.keep()),
        };
        (self.endpoint, keeping)
    }
}
