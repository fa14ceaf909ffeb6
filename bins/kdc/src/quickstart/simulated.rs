//! kdc in the place of kube-apiserver, and a map in the place of etcd.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_k8s::values::object;
use kdc_envelope_kms::client::KmsClient;
use kdc_envelope_kms::client::apiserver::{ApiServer, monotonic_clock};
use tokio::runtime::Handle;

use super::narration::PROVIDER;
use super::plugin::Plugin;
use super::samples::{NAMESPACE, Sample};
use super::{ControlPlane, Row};
use crate::clock;
use crate::failure::{Exit, Failure, chain};

/// Longer than kube-apiserver waits between two looks at a healthy plugin.
const POLL: Duration = Duration::from_secs(61);

pub(super) struct Simulation {
    api: ApiServer,
    rows: BTreeMap<String, Vec<u8>>,
    skipped_seconds: Arc<AtomicU64>,
    runtime: Handle,
}

impl Simulation {
    pub(super) fn start(plugin: &Plugin) -> Result<Self, Failure> {
        let name = ProviderName::new(PROVIDER).map_err(|error| Failure::of(Exit::Io, &error))?;
        let skipped_seconds = Arc::new(AtomicU64::new(0));
        let (clock, skipped) = (monotonic_clock(), Arc::clone(&skipped_seconds));
        let now = move || clock() + Duration::from_secs(skipped.load(Ordering::Relaxed));
        let plane = Self {
            api: ApiServer::new(KmsClient::new(&plugin.socket), name, now),
            rows: BTreeMap::new(),
            skipped_seconds,
            runtime: plugin.runtime.handle().clone(),
        };
        plane.check()?;
        Ok(plane)
    }

    fn check(&self) -> Result<(), Failure> {
        self.runtime
            .block_on(self.api.check_now())
            .map_err(|error| Failure::at(Exit::Unavailable, "the plugin", &error))
    }

    fn store(&mut self, key: &str, object: &[u8]) -> Result<Row, Failure> {
        let value = self
            .api
            .seal(key.as_bytes(), object)
            .map_err(|error| Failure::at(Exit::Io, key, &error))?;
        self.rows.insert(key.to_owned(), value.clone());
        Ok(Row {
            key: key.to_owned(),
            value,
        })
    }

    /// The stored object, and whether kube-apiserver would write it anew.
    fn load(&self, key: &str) -> Result<(Vec<u8>, bool), Failure> {
        let value = self.rows.get(key).map(Vec::as_slice).unwrap_or_default();
        let opened = self
            .runtime
            .block_on(self.api.open(key.as_bytes(), value))
            .map_err(|error| Failure::new(Exit::Data, format_args!("{key}: {}", chain(&error))))?;
        Ok((opened.plaintext.expose().to_vec(), opened.is_stale))
    }
}

impl ControlPlane for Simulation {
    fn name(&self) -> String {
        "kdc, doing as kube-apiserver does".to_owned()
    }

    fn create(&mut self, sample: &Sample) -> Result<Row, Failure> {
        let object = object::encode_secret(NAMESPACE, &sample.name, &sample.data(), clock::now());
        self.store(&sample.etcd_key(), &object)
    }

    fn replace(&mut self, sample: &Sample) -> Result<Row, Failure> {
        let key = sample.etcd_key();
        let (object, is_stale) = self.load(&key)?;
        if is_stale {
            return self.store(&key, &object);
        }
        self.row(sample)
    }

    fn row(&self, sample: &Sample) -> Result<Row, Failure> {
        let key = sample.etcd_key();
        match self.rows.get(&key).cloned() {
            Some(value) => Ok(Row { key, value }),
            None => Err(Failure::new(
                Exit::NoInput,
                format_args!("there is no row {key}"),
            )),
        }
    }

    fn reads_back(&mut self, sample: &Sample) -> Result<bool, Failure> {
        let (stored, _) = self.load(&sample.etcd_key())?;
        let object = object::decode(&stored).map_err(|error| Failure::of(Exit::Data, &error))?;
        Ok(sample.is_in(&object))
    }

    fn until_key_id(&mut self, key_id: &str) -> Result<(), Failure> {
        self.skipped_seconds
            .fetch_add(POLL.as_secs(), Ordering::Relaxed);
        self.check()?;
        match self.api.key_id() {
            Some(noticed) if noticed == key_id => Ok(()),
            other => Err(Failure::new(
                Exit::Negative,
                format_args!("the key id is still {}", other.unwrap_or_default()),
            )),
        }
    }
}
