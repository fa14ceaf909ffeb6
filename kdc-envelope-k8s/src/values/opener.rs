//! Opening values of etcd with a configuration, in the order and by the prefixes of kube-apiserver.
//!
//! The first provider and key write; for reading, every one whose whole prefix fits is tried in order, and one that fails
//! does not stop later ones (`prefixTransformers` in `k8s.io/apiserver/pkg/storage/value`). Nothing is tried on a value that
//! carries another prefix.
//!
//! What a KMS plugin wrapped must be unwrapped by the plugin or its key. The search then pauses: [`Opening`] says what to
//! unwrap, and goes on when given the outcome. So there is no I/O here, and callers may keep unwrapped seeds for the
//! many rows that share one.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope::kmsv2::{self, DekSource};
use kdc_envelope::providers::kmsv1::{self, BodyCipher};
use kdc_envelope::providers::{self, identity};
use kdc_envelope::{Aad, KekError, KeyEncryptionKey, SecretBytes};

use crate::encryption_config::{
    EncryptionConfiguration, GroupResource, KmsApi, KmsProvider, Place, Provider,
};

/// The providers to try, in order.
#[derive(Debug, Clone)]
pub struct ValueOpener<'c> {
    candidates: Vec<Candidate<'c>>,
    knows_resource: bool,
}

/// One key, or a provider that has none.
#[derive(Debug, Clone, Copy)]
struct Candidate<'c> {
    place: Place,
    key: Key<'c>,
}

#[derive(Debug, Clone, Copy)]
enum Key<'c> {
    Aesgcm(&'c providers::aesgcm::Key),
    Aescbc(&'c providers::aescbc::Key),
    Secretbox(&'c providers::secretbox::Key),
    Identity,
    Kms(&'c KmsProvider),
}

/// An opened value.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedValue {
    /// What kube-apiserver stored.
    pub plaintext: SecretBytes,
    /// The provider that opened it; `None` for a plain value of a resource that the configuration does not name.
    pub place: Option<Place>,
    /// Whether kube-apiserver would store the object differently now, as far as the configuration tells: another provider or
    /// key comes first. `None` if the resource, and so the first provider, is not known. Rows of KMS v2 may also be stale
    /// because their key id is not the plugin's current one.
    pub stale: Option<bool>,
}

/// How far the search came.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opening<'s> {
    /// To the end.
    Opened(OpenedValue),
    /// To a row whose seed or key must be unwrapped by a KMS v2 plugin.
    KmsV2(PendingKmsV2<'s>),
    /// To a row whose DEK must be unwrapped by a KMS v1 plugin.
    KmsV1(PendingKmsV1<'s>),
}

/// A KMS v2 row, waiting for its [`DekSource`].
#[derive(Debug)]
pub struct PendingKmsV2<'s> {
    search: Search<'s>,
    candidate: Candidate<'s>,
    provider: &'s KmsProvider,
    value: kmsv2::Value<'s>,
}

/// A KMS v1 row, waiting for its DEK.
#[derive(Debug)]
pub struct PendingKmsV1<'s> {
    search: Search<'s>,
    candidate: Candidate<'s>,
    provider: &'s KmsProvider,
    value: kmsv1::Value<'s>,
}

/// A seed or key that a KMS plugin wrapped.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct WrappedByPlugin<'w> {
    /// Whose plugin it was.
    pub provider: &'w KmsProvider,
    /// The row, of KMS v2; `None` of KMS v1, whose plugins know neither key ids nor annotations.
    pub object: Option<&'w kmsv2::EncryptedObject<'w>>,
    /// What was wrapped, as it is in the row.
    pub bytes: &'w [u8],
}

/// No provider opens the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenValueError {
    /// It is not encrypted, and no `identity` reads it.
    #[error("the value is not encrypted, and the configuration has no `identity` to read it")]
    NoMatch,
    /// It is encrypted, and none has its prefix.
    #[error(
        "no provider and key of the configuration has the value's prefix: it was written by {writer}, and there is {candidates}"
    )]
    ForeignWriter {
        /// The value's own provider and key, as far as it says; nothing of the key itself.
        writer: Box<str>,
        /// Those of the configuration.
        candidates: Box<str>,
    },
    /// The only one that has its prefix refuses it, or the first of several.
    #[error("{place} does not open the value{}", also(*.others))]
    Refused {
        /// The first provider that refused.
        place: Place,
        /// How many more refused.
        others: usize,
        /// Why the first one did.
        source: OpenFailure,
    },
}

/// Why one provider does not open a value that has its prefix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFailure {
    /// The cipher or the layout.
    #[error(transparent)]
    Value(#[from] providers::OpenError),
    /// The frame of a KMS v2 row.
    #[error(transparent)]
    Row(#[from] kmsv2::ParseError),
    /// The content of a KMS v2 row.
    #[error(transparent)]
    RowContent(#[from] kmsv2::OpenError),
    /// The object in a KMS v2 row names a key that cannot be asked for.
    #[error(transparent)]
    Object(#[from] kmsv2::InvalidObject),
    /// The key encryption key did not unwrap.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// No key encryption key was given for this provider.
    #[error("no key encryption key was given for the KMS provider `{0}`")]
    NoKek(Box<str>),
    /// What else the caller met when it asked a plugin.
    #[error("the plugin did not unwrap the key of the row")]
    Plugin(#[source] Box<dyn core::error::Error + Send + Sync>),
}

fn also(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", nor does one other with its prefix".to_owned(),
        others => format!(", nor do {others} others with its prefix"),
    }
}

impl<'c> ValueOpener<'c> {
    /// Opens values of `resource` as kube-apiserver does; plain ones too if the configuration does not name it.
    #[must_use]
    pub fn for_resource(config: &'c EncryptionConfiguration, resource: &GroupResource) -> Self {
        let found = config.providers_of(resource);
        Self {
            candidates: found.providers.into_iter().flat_map(candidates).collect(),
            knows_resource: true,
        }
    }

    /// Opens values of any resource: all providers in the order of the file. Staleness is then not known.
    #[must_use]
    pub fn for_any_resource(config: &'c EncryptionConfiguration) -> Self {
        Self {
            candidates: config.providers().flat_map(candidates).collect(),
            knows_resource: false,
        }
    }

    /// Starts the search for a provider that opens the value at `etcd_key`.
    ///
    /// # Errors
    /// [`OpenValueError`] if none does.
    pub fn open<'s>(
        &'s self,
        value: &'s [u8],
        etcd_key: &'s [u8],
    ) -> Result<Opening<'s>, OpenValueError> {
        let search = Search {
            opener: self,
            value,
            etcd_key,
            next: 0,
            refusals: Vec::new(),
        };
        search.advance()
    }

    /// Searches to the end, asking `keks` by provider name to unwrap under `aad` what KMS v2 plugins wrapped.
    ///
    /// # Errors
    /// [`OpenValueError`] if no provider opens the value. KMS v1 providers never do here: no key encryption key has their
    /// format.
    pub async fn open_with(
        &self,
        value: &[u8],
        etcd_key: &[u8],
        keks: &BTreeMap<Box<str>, Arc<dyn KeyEncryptionKey>>,
        aad: Aad<'_>,
    ) -> Result<OpenedValue, OpenValueError> {
        let unwrap = async |wrapped: WrappedByPlugin<'_>| {
            let name = &wrapped.provider.name;
            match (keks.get(name), wrapped.object) {
                (Some(kek), Some(object)) => Ok(kek.unwrap(&object.wrapped_key()?, aad).await?),
                _ => Err(OpenFailure::NoKek(name.clone())),
            }
        };
        self.open_by(value, etcd_key, unwrap).await
    }

    /// Searches to the end, and calls `unwrap` for each key that a KMS plugin wrapped. It may be called several times, as one
    /// provider that refuses does not end the search.
    ///
    /// # Errors
    /// [`OpenValueError`] if no provider opens the value.
    pub async fn open_by(
        &self,
        value: &[u8],
        etcd_key: &[u8],
        mut unwrap: impl AsyncFnMut(WrappedByPlugin<'_>) -> Result<SecretBytes, OpenFailure>,
    ) -> Result<OpenedValue, OpenValueError> {
        let mut opening = self.open(value, etcd_key)?;
        loop {
            opening = match opening {
                Opening::Opened(opened) => return Ok(opened),
                Opening::KmsV1(pending) => {
                    let (provider, bytes) = (pending.provider(), pending.wrapped_dek());
                    let object = None;
                    match unwrap(WrappedByPlugin {
                        provider,
                        object,
                        bytes,
                    })
                    .await
                    {
                        Ok(dek) => pending.open(&dek)?,
                        Err(refusal) => pending.refuse(refusal)?,
                    }
                }
                Opening::KmsV2(pending) => {
                    let (provider, object) = (pending.provider(), pending.object());
                    let (bytes, kind) = (object.encrypted_dek_source, object.dek_source_type);
                    let object = Some(object);
                    let secret = unwrap(WrappedByPlugin {
                        provider,
                        object,
                        bytes,
                    })
                    .await;
                    match secret.and_then(|secret| Ok(DekSource::new(kind, secret)?)) {
                        Ok(source) => pending.open(&source)?,
                        Err(refusal) => pending.refuse(refusal)?,
                    }
                }
            };
        }
    }
}

/// A provider with several keys counts as several, in the order of its list: upstream nests them, to the same effect.
fn candidates<'c>((place, provider): (Place, &'c Provider)) -> Vec<Candidate<'c>> {
    let candidate = |key| Candidate { place, key };
    match provider {
        Provider::Aesgcm(keys) => keys.iter().map(|key| candidate(Key::Aesgcm(key))).collect(),
        Provider::Aescbc(keys) => keys.iter().map(|key| candidate(Key::Aescbc(key))).collect(),
        Provider::Secretbox(keys) => keys
            .iter()
            .map(|key| candidate(Key::Secretbox(key)))
            .collect(),
        Provider::Identity => vec![candidate(Key::Identity)],
        Provider::Kms(kms) => vec![candidate(Key::Kms(kms))],
    }
}

/// A search that is under way.
#[derive(Debug)]
struct Search<'s> {
    opener: &'s ValueOpener<'s>,
    value: &'s [u8],
    etcd_key: &'s [u8],
    next: usize,
    refusals: Vec<(Place, OpenFailure)>,
}

impl<'s> Search<'s> {
    fn advance(mut self) -> Result<Opening<'s>, OpenValueError> {
        while let Some(candidate) = self.opener.candidates.get(self.next).copied() {
            self.next += 1;
            let outcome = match candidate.key {
                Key::Aesgcm(key) => key.open(self.value, self.etcd_key),
                Key::Aescbc(key) => key.open(self.value),
                Key::Secretbox(key) => key.open(self.value),
                Key::Identity => plain(self.value),
                Key::Kms(provider) => match self.kms(provider) {
                    Ok(Row::V2(value)) => {
                        return Ok(Opening::KmsV2(PendingKmsV2 {
                            search: self,
                            candidate,
                            provider,
                            value,
                        }));
                    }
                    Ok(Row::V1(value)) => {
                        return Ok(Opening::KmsV1(PendingKmsV1 {
                            search: self,
                            candidate,
                            provider,
                            value,
                        }));
                    }
                    Ok(Row::Foreign) => continue,
                    Err(refusal) => {
                        self.refusals.push((candidate.place, refusal));
                        continue;
                    }
                },
            };
            match outcome {
                Ok(plaintext) => return Ok(self.opened(plaintext, candidate, false)),
                // The identity provider does not count as a match, as upstream.
                Err(providers::OpenError::ForeignPrefix | providers::OpenError::Encrypted) => {}
                Err(refusal) => self.refusals.push((candidate.place, refusal.into())),
            }
        }
        self.end()
    }

    /// The row, if it is one of this provider.
    fn kms(&self, provider: &'s KmsProvider) -> Result<Row<'s>, OpenFailure> {
        match provider.api {
            KmsApi::V1 { .. } => match kmsv1::Value::parse(&provider.name, self.value) {
                Ok(value) => Ok(Row::V1(value)),
                Err(providers::OpenError::ForeignPrefix) => Ok(Row::Foreign),
                Err(refusal) => Err(refusal.into()),
            },
            KmsApi::V2 if self.has_v2_prefix(&provider.name) => {
                Ok(Row::V2(kmsv2::Value::parse(self.value)?))
            }
            KmsApi::V2 => Ok(Row::Foreign),
        }
    }

    fn has_v2_prefix(&self, name: &str) -> bool {
        let rest = self.value.strip_prefix(kmsv2::PREFIX);
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.starts_with(b":"))
    }

    fn opened(
        &self,
        plaintext: SecretBytes,
        candidate: Candidate<'s>,
        outdated: bool,
    ) -> Opening<'s> {
        Opening::Opened(OpenedValue {
            plaintext,
            place: Some(candidate.place),
            stale: self
                .opener
                .knows_resource
                .then_some(outdated || self.next != 1),
        })
    }

    fn end(mut self) -> Result<Opening<'s>, OpenValueError> {
        if self.refusals.is_empty() {
            let is_unnamed = self.opener.knows_resource && self.opener.candidates.is_empty();
            return match plain(self.value) {
                Ok(plaintext) if is_unnamed => Ok(Opening::Opened(OpenedValue {
                    plaintext,
                    place: None,
                    stale: Some(false),
                })),
                _ => Err(match names::writer(self.value) {
                    None => OpenValueError::NoMatch,
                    Some(writer) => OpenValueError::ForeignWriter {
                        writer,
                        candidates: names::candidates(&self.opener.candidates),
                    },
                }),
            };
        }
        let others = self.refusals.len() - 1;
        let (place, source) = self.refusals.swap_remove(0);
        Err(OpenValueError::Refused {
            place,
            others,
            source,
        })
    }

    fn refuse(
        mut self,
        candidate: Candidate<'s>,
        refusal: OpenFailure,
    ) -> Result<Opening<'s>, OpenValueError> {
        self.refusals.push((candidate.place, refusal));
        self.advance()
    }
}

enum Row<'s> {
    V2(kmsv2::Value<'s>),
    V1(kmsv1::Value<'s>),
    Foreign,
}

fn plain(value: &[u8]) -> Result<SecretBytes, providers::OpenError> {
    identity::open(value).map(|object| SecretBytes::new(object.to_vec()))
}

impl<'s> PendingKmsV2<'s> {
    /// Whose plugin wrapped it.
    #[must_use]
    pub const fn provider(&self) -> &'s KmsProvider {
        self.provider
    }

    /// What was wrapped, and under which key id.
    #[must_use]
    pub const fn object(&self) -> &kmsv2::EncryptedObject<'s> {
        &self.value.object
    }

    /// Goes on with what the plugin unwrapped.
    ///
    /// # Errors
    /// [`OpenValueError`] if neither this provider nor a later one opens the value.
    pub fn open(self, source: &DekSource) -> Result<Opening<'s>, OpenValueError> {
        match source.open(&self.value.object, self.search.etcd_key) {
            Ok(plaintext) => Ok(self.search.opened(plaintext, self.candidate, false)),
            Err(refusal) => self.refuse(refusal.into()),
        }
    }

    /// Goes on without.
    ///
    /// # Errors
    /// [`OpenValueError`] if no later provider opens the value.
    pub fn refuse(self, refusal: OpenFailure) -> Result<Opening<'s>, OpenValueError> {
        self.search.refuse(self.candidate, refusal)
    }
}

impl<'s> PendingKmsV1<'s> {
    /// Whose plugin wrapped it.
    #[must_use]
    pub const fn provider(&self) -> &'s KmsProvider {
        self.provider
    }

    /// The DEK as the plugin wrapped it.
    #[must_use]
    pub const fn wrapped_dek(&self) -> &'s [u8] {
        self.value.wrapped_dek
    }

    /// Goes on with the DEK that the plugin unwrapped.
    ///
    /// # Errors
    /// [`OpenValueError`] if neither this provider nor a later one opens the value.
    pub fn open(self, dek: &SecretBytes) -> Result<Opening<'s>, OpenValueError> {
        match self.value.open(dek, self.search.etcd_key) {
            Ok(opened) => {
                let outdated = opened.cipher != BodyCipher::AesGcm;
                Ok(self
                    .search
                    .opened(opened.plaintext, self.candidate, outdated))
            }
            Err(refusal) => self.refuse(refusal.into()),
        }
    }

    /// Goes on without.
    ///
    /// # Errors
    /// [`OpenValueError`] if no later provider opens the value.
    pub fn refuse(self, refusal: OpenFailure) -> Result<Opening<'s>, OpenValueError> {
        self.search.refuse(self.candidate, refusal)
    }
}
