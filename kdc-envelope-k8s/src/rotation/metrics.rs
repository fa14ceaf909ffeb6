//! What an API server says about itself in its metrics: which configuration it uses, and which KMS key ids.
//!
//! Each process shows only itself, so each must be asked directly and never through a load balancer. Since Kubernetes 1.34
//! the hash of the configuration is shown; before, only when the last reload was. All of these metrics are alpha
//! (`pkg/server/options/encryptionconfig/metrics` and `pkg/storage/value/encrypt/envelope/metrics` of `k8s.io/apiserver`).

mod exposition;

use std::collections::BTreeMap;

pub use exposition::MetricsError;
use exposition::{Sample, samples};

use super::{ConfigHash, KmsKeyId, LoadedConfig, NodeFile, Timestamp};

const CONFIG: &str = "apiserver_encryption_config_controller_last_config_info";
const RELOADED: &str =
    "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds";
const STARTED: &str = "process_start_time_seconds";
/// The first minor version of Kubernetes 1 whose servers show [`CONFIG`].
const SHOWS_HASH: u32 = 34;
const KEY_ID: &str = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds";

/// What one scrape of one API server says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServerMetrics {
    /// Whether the server shows the hash of its configuration, and which. An older one does not.
    pub config: Option<ConfigHash>,
    /// The last reload that went well.
    pub reloaded: Option<Timestamp>,
    /// The last reload that failed, so that the earlier configuration stays in use.
    pub reload_failed: Option<Timestamp>,
    /// The start of the process.
    pub started: Option<Timestamp>,
    /// The same as it is shown, to a hundredth of a second, so that hardly two processes have one.
    pub started_exactly: Option<Box<str>>,
    /// What each KMS v2 provider told last as its key id.
    pub key_ids: BTreeMap<Box<str>, ToldKeyId>,
    /// The hash of the server's own id, if a metric that carries it is shown. The id is the name of its Lease.
    pub server_id_hash: Option<Box<str>>,
}

/// The key id that a KMS v2 provider told a server last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToldKeyId {
    /// Its hash, as the metrics have it.
    pub id: Box<str>,
    /// When it was told last.
    pub told: Timestamp,
    /// When this process was told another one last; `None` if it never was.
    pub other: Option<Timestamp>,
}

/// The metrics do not say which configuration is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotShown {
    /// Nothing of what is needed is in the metrics.
    #[error(
        "its metrics show neither the configuration nor the start of the process; scrape kube-apiserver itself"
    )]
    NoMetrics,
    /// An older server that may yet load the file.
    #[error("it has not reloaded since its file was written; wait for the reload, or restart it")]
    NotReloaded,
    /// An older server whose reload failed.
    #[error("its last reload failed; see its log")]
    ReloadFailed,
}

impl ServerMetrics {
    /// Reads the text of `/metrics`. What is not known is skipped.
    ///
    /// # Errors
    /// [`MetricsError`] if what is known cannot be understood.
    pub fn parse(text: &str) -> Result<Self, MetricsError> {
        let mut metrics = Self::default();
        for sample in samples(text, &[CONFIG, RELOADED, STARTED, KEY_ID])? {
            metrics.take(&sample)?;
        }
        Ok(metrics)
    }

    fn take(&mut self, sample: &Sample<'_>) -> Result<(), MetricsError> {
        if let Some(id) = sample.label("apiserver_id_hash") {
            self.server_id_hash = Some(id.into());
        }
        match (sample.name, sample.label("status")) {
            (CONFIG, _) if sample.value == 1.0 => {
                let hash = sample.label("hash").and_then(config_hash);
                let hash = hash.ok_or_else(|| sample.error("no SHA-256 of a configuration"))?;
                if self.config.replace(hash).is_some_and(|other| other != hash) {
                    return Err(sample.error("a second configuration; ask one process only"));
                }
            }
            (RELOADED, Some("success")) => self.reloaded = self.reloaded.max(Some(sample.time()?)),
            (RELOADED, Some("failure")) => {
                self.reload_failed = self.reload_failed.max(Some(sample.time()?));
            }
            (STARTED, _) => {
                self.started = Some(sample.time()?);
                self.started_exactly = Some(sample.value.to_string().into());
            }
            (KEY_ID, _) => self.take_key_id(sample)?,
            _ => {}
        }
        Ok(())
    }

    /// Series of earlier key ids stay; the one that was told last counts.
    fn take_key_id(&mut self, sample: &Sample<'_>) -> Result<(), MetricsError> {
        let labels = (sample.label("provider_name"), sample.label("key_id_hash"));
        let (Some(provider), Some(id)) = labels else {
            return Err(sample.error("no provider or no key id"));
        };
        let told = sample.time()?;
        let of_other = |known: &ToldKeyId| (*known.id != *id).then_some(known.told);
        let newest = match self.key_ids.remove(provider) {
            Some(known) if known.told >= told => ToldKeyId {
                other: known.other.max((*known.id != *id).then_some(told)),
                ..known
            },
            known => ToldKeyId {
                id: id.into(),
                told,
                other: known.and_then(|known| of_other(&known).max(known.other)),
            },
        };
        self.key_ids.insert(provider.into(), newest);
        Ok(())
    }

    /// What the server uses. `file` is its file, and `now` the time of the scrape, both by the node's clock. `minor` is that
    /// of its version: since 1.34 a server that has a configuration shows its hash, so one that shows none has none.
    ///
    /// A server that shows no hash has loaded its file if the process started after it was written, or if it was reloaded
    /// since then and enough time has gone by that this was no reload of an earlier file.
    ///
    /// # Errors
    /// [`NotShown`]: the metrics do not say it.
    pub fn loaded(
        &self,
        file: &NodeFile,
        minor: u32,
        now: Timestamp,
    ) -> Result<LoadedConfig, NotShown> {
        let since = self.started.max(self.reloaded);
        if let Some(hash) = self.config {
            return Ok(LoadedConfig { hash, since });
        }
        let started = self.started.ok_or(NotShown::NoMetrics)?;
        if minor >= SHOWS_HASH {
            let hash = ConfigHash::NO_FILE;
            return Ok(LoadedConfig { hash, since });
        }
        // Seconds are too coarse to tell which of two events in one was first.
        let is_after = |at: Timestamp| file.written.is_some_and(|written| at > written);
        let has_started = is_after(started);
        let is_settled = now >= file.settled_at;
        let has_reloaded = is_settled && self.reloaded.is_some_and(is_after);
        if self.reload_failed > self.reloaded.max(self.started) {
            return Err(NotShown::ReloadFailed);
        }
        if !has_started && !has_reloaded {
            return Err(NotShown::NotReloaded);
        }
        Ok(LoadedConfig {
            hash: file.hash,
            since,
        })
    }

    /// The key ids, each with the time at which this process was told another one last. A process that never was told another
    /// one never wrote under another one, so that time is 0 then.
    #[must_use]
    pub fn kms_key_ids(&self) -> BTreeMap<Box<str>, KmsKeyId> {
        let key_ids = self.key_ids.iter();
        let known = key_ids.map(|(provider, told)| {
            let known = KmsKeyId {
                id: told.id.clone(),
                since: told.other.unwrap_or(Timestamp::from_secs(0)),
            };
            (provider.clone(), known)
        });
        known.collect()
    }
}

fn config_hash(text: &str) -> Option<ConfigHash> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let [high, low] = pair.map(digit);
        u8::try_from(high? * 16 + low?).ok()
    };
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok().map(ConfigHash::new)
}
