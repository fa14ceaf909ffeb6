//! Who should have written the rows of a resource.

use std::collections::BTreeMap;

use kdc_envelope::key_usage::{Provider, RowGroup};

use crate::encryption_config::{GroupResource, Layout, LocalProvider, Transformer};
use crate::rotation::{ApiServer, ConfigHash};

/// The writer of a resource's rows, and the key id that its newest rows have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectedRows {
    /// The resource.
    pub resource: GroupResource,
    /// The provider that writes it, with its key.
    pub writer: Transformer,
    /// The [hash](key_id_hash) of the key id of a KMS plugin that all API servers agree on; `None` if they do not agree, do
    /// not say, or no KMS plugin writes.
    pub key_id_hash: Option<Box<str>>,
}

impl ExpectedRows {
    /// Of each of these resources, no wildcards, by the configuration that is in force and by what the API servers know of
    /// their KMS plugins.
    #[must_use]
    pub fn of(
        layout: &Layout,
        servers: &[ApiServer],
        resources: impl IntoIterator<Item = GroupResource>,
    ) -> Vec<Self> {
        let hashes = key_id_hashes(servers);
        let expected = resources.into_iter().map(|resource| {
            let writer = layout.chain_of(&resource).writer().clone();
            let kms = writer.kms_v2();
            let key_id_hash = kms.and_then(|kms| hashes.get(&*kms.name).cloned().flatten());
            Self {
                resource,
                writer,
                key_id_hash,
            }
        });
        expected.collect()
    }

    /// Whether rows that were written like this are of the writer and of its newest key.
    #[must_use]
    pub fn is_current(&self, group: &RowGroup) -> bool {
        let has_newest_key = match (&self.writer, &group.key_id) {
            (Transformer::Kms(_), Some(id)) => {
                self.key_id_hash.as_deref() == Some(&*key_id_hash(id))
            }
            (Transformer::Kms(_), None) => false,
            _ => true,
        };
        self.is_writer(group) && has_newest_key && !group.damaged
    }

    fn is_writer(&self, group: &RowGroup) -> bool {
        let name = group.name.as_deref().unwrap_or_default();
        match &self.writer {
            Transformer::Identity => group.provider == Provider::Identity,
            Transformer::Local(key) => {
                group.provider == provider_of(key.provider()) && name == key.name().as_str()
            }
            Transformer::Kms(kms) => group.provider == Provider::KmsV2 && *kms.name == *name,
        }
    }

    /// The name of the KMS plugin that writes, if its newest key id is not known: then its rows are neither new nor old.
    pub(super) fn undecided_plugin(&self) -> Option<&str> {
        let kms = self.writer.kms_v2()?;
        self.key_id_hash.is_none().then_some(&*kms.name)
    }

    /// Whether rows that were written like this are of the writer, and only its newest key is not known.
    pub(super) fn is_undecided(&self, group: &RowGroup) -> bool {
        self.undecided_plugin().is_some() && self.is_writer(group) && !group.damaged
    }
}

/// A key id as the metrics of kube-apiserver give it: `sha256:` and the SHA-256 in hexadecimal digits.
#[must_use]
pub fn key_id_hash(key_id: &str) -> Box<str> {
    ConfigHash::of(key_id).to_string().into()
}

/// By KMS provider the hash of its key id; none if the API servers do not agree.
fn key_id_hashes(servers: &[ApiServer]) -> BTreeMap<Box<str>, Option<Box<str>>> {
    let mut hashes: BTreeMap<Box<str>, Option<Box<str>>> = BTreeMap::new();
    for (provider, known) in servers.iter().flat_map(|server| &server.kms) {
        let hash = Some(known.id.clone());
        let agreed = hashes
            .entry(provider.clone())
            .or_insert_with(|| hash.clone());
        if *agreed != hash {
            *agreed = None;
        }
    }
    hashes
}

const fn provider_of(provider: LocalProvider) -> Provider {
    match provider {
        LocalProvider::Aesgcm => Provider::Aesgcm,
        LocalProvider::Aescbc => Provider::Aescbc,
        LocalProvider::Secretbox => Provider::Secretbox,
    }
}
