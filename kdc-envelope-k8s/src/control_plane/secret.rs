//! The ports on Secrets: what a controller of hosted control planes uses.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::ports::{
    ChangeStore, ConfigTarget, ConfigTargets, PortError, StoredState, Update, Version,
};
use crate::encryption_config::{EncryptionConfiguration, Layout, LocalKey, Transformer};
use crate::files::NamedRowWriters;
use crate::rotation::history::KeyHistory;
use crate::rotation::{ConfigHash, NodeFile, SETTLE, Timestamp};

const KEYRING: &str = "keyring";
const CHANGE: &str = "change.json";
const PASSES: &str = "passes.json";
const ROWS: &str = "row-writers.json";

const HISTORY: &str = "history";
/// Earlier versions of the configuration are `earlier-<number>`.
const EARLIER: &str = "earlier-";
/// The resourceVersion of the configuration at its last write, if its bytes had never been there before.
const FIRST: &str = "first-at";
/// How many earlier versions are kept. A Secret holds 1 MiB.
const KEPT: usize = 8;

/// How long kubelet may take until a changed Secret is in the volumes of its pods: it looks once a minute, at a cache that may be
/// as old, and pods of another node may have begun a moment later.
const KUBELET: Duration = Duration::from_secs(150);

/// One Secret, which may not exist yet.
#[derive(Clone)]
struct SecretObject {
    api: Api<Secret>,
    namespace: Box<str>,
    name: Box<str>,
}

impl core::fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.place())
    }
}

impl SecretObject {
    fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// What it is called in messages.
    fn place(&self) -> String {
        format!("the Secret {}/{}", self.namespace, self.name)
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(kube::Error) -> PortError {
        let place = self.place().into();
        move |error| PortError::Object {
            action,
            place,
            source: error.into(),
        }
    }

    fn content(&self, key: &str, problem: impl core::fmt::Display) -> PortError {
        PortError::Content {
            place: format!("`{key}` in {}", self.place()).into(),
            problem: problem.to_string().into(),
        }
    }

    /// An empty one if there is none.
    async fn get(&self) -> Result<Secret, PortError> {
        let found = self.api.get_opt(&self.name).await;
        let found = found.map_err(self.failed("read"))?;
        Ok(found.unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(self.name.to_string()),
                namespace: Some(self.namespace.to_string()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        }))
    }

    /// Stores `secret`, which was read at the version that it carries, and gives the new version.
    async fn put(&self, secret: &Secret) -> Result<Version, PortError> {
        let seen = version(secret);
        let options = PostParams::default();
        let stored = match secret.metadata.resource_version {
            Some(_) => self.api.replace(&self.name, &options, secret).await,
            None => self.api.create(&options, secret).await,
        };
        match stored {
            Ok(stored) => Ok(version(&stored)),
            // 409 is a conflict as well as an object that exists already.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(PortError::Stale {
                place: self.place().into(),
                seen,
                found: version(&self.get().await?),
            }),
            Err(error) => Err(self.failed("write")(error)),
        }
    }
}

/// The resourceVersion, or nothing if there is no such object.
fn version(secret: &Secret) -> Version {
    let version = secret.metadata.resource_version.as_deref();
    Version::new(version.unwrap_or("no version"))
}

fn data<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    let data = secret.data.as_ref()?;
    data.get(key).map(|bytes| &*bytes.0)
}

fn set(secret: &mut Secret, key: impl Into<String>, bytes: impl Into<Vec<u8>>) {
    let data = secret.data.get_or_insert_default();
    data.insert(key.into(), ByteString(bytes.into()));
}

/// The state of the changes of one cluster in a Secret of its own, whose resourceVersion is its version.
#[derive(Debug, Clone)]
pub struct SecretStore(SecretObject);

impl SecretStore {
    /// In the Secret `name`, which is made with the first change.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self(SecretObject::new(client, namespace, name))
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        secret: &Secret,
        key: &str,
    ) -> Result<Option<T>, PortError> {
        let value = data(secret, key).map(serde_json::from_slice).transpose();
        value.map_err(|error| self.0.content(key, error))
    }

    fn set_json(
        &self,
        secret: &mut Secret,
        key: &str,
        value: &impl serde::Serialize,
    ) -> Result<(), PortError> {
        let text = serde_json::to_vec(value);
        set(
            secret,
            key,
            text.map_err(|error| self.0.content(key, error))?,
        );
        Ok(())
    }
}

#[async_trait]
impl ChangeStore for SecretStore {
    async fn load(&self) -> Result<StoredState, PortError> {
        let secret = self.0.get().await?;
        let keyring = history(&self.0, &secret, KEYRING)?;
        let named: Option<NamedRowWriters> = self.json(&secret, ROWS)?;
        let row_writers = named.map(|named| named.resolve(&keyring)).transpose();
        Ok(StoredState {
            row_writers: row_writers.map_err(|error| self.0.content(ROWS, error))?,
            keyring,
            change: self.json(&secret, CHANGE)?,
            passes: self.json(&secret, PASSES)?.unwrap_or_default(),
            version: version(&secret),
        })
    }

    async fn save(&self, seen: &Version, update: &Update<'_>) -> Result<Version, PortError> {
        let mut secret = self.0.get().await?;
        let found = version(&secret);
        if found != *seen {
            return Err(PortError::Stale {
                place: self.0.place().into(),
                seen: seen.clone(),
                found,
            });
        }
        if let Some(row_writers) = update.row_writers {
            self.set_json(&mut secret, ROWS, &NamedRowWriters::of(row_writers))?;
        }
        if let Some(keyring) = update.keyring {
            set(&mut secret, KEYRING, keyring.to_text().as_bytes());
        }
        if let Some(passes) = update.passes {
            self.set_json(&mut secret, PASSES, passes)?;
        }
        if let Some(change) = update.change {
            self.set_json(&mut secret, CHANGE, change)?;
        }
        self.0.put(&secret).await
    }
}

/// The key history under `key`; an empty one if there is none.
fn history(object: &SecretObject, secret: &Secret, key: &str) -> Result<KeyHistory, PortError> {
    let Some(bytes) = data(secret, key) else {
        return Ok(KeyHistory::default());
    };
    let text = String::from_utf8_lossy(bytes);
    KeyHistory::parse(&text).map_err(|error| object.content(key, error))
}

/// One configuration for several API servers: a Secret that their pods mount as a volume. Keys and earlier versions are in a
/// second Secret, which no pod mounts.
///
/// When a pod sees a change of the volume cannot be told from outside, so a file counts as settled only when kubelet has had time
/// to bring it and the API server to load it. Its metrics prove it earlier if no earlier version had the same bytes.
#[derive(Debug, Clone)]
pub struct SecretTargets {
    servers: Vec<Box<str>>,
    config: SecretObject,
    /// The key of the configuration in the Secret.
    key: Box<str>,
    history: SecretObject,
}

impl SecretTargets {
    /// The configuration of `servers` is the data `key` of the Secret `name`; their keys go into the Secret `history`. Neither
    /// need exist.
    #[must_use]
    pub fn new(
        client: &Client,
        namespace: &str,
        (name, key): (&str, &str),
        history: &str,
        servers: impl IntoIterator<Item = Box<str>>,
    ) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            config: SecretObject::new(client, namespace, name),
            key: key.into(),
            history: SecretObject::new(client, namespace, history),
        }
    }

    fn check(&self, server: &str) -> Result<(), PortError> {
        match self.servers.iter().any(|known| **known == *server) {
            true => Ok(()),
            false => Err(PortError::UnknownServer(server.into())),
        }
    }

    fn file(&self, secret: &Secret, history: &Secret) -> Result<NodeFile, Box<str>> {
        let Some(bytes) = data(secret, &self.key) else {
            let (hash, layout) = (ConfigHash::NO_FILE, Arc::new(Layout::default()));
            return Ok(NodeFile {
                written: None,
                ..NodeFile::written_at(hash, layout, Timestamp::from_secs(0))
            });
        };
        let config = EncryptionConfiguration::parse(bytes);
        let config = config.map_err(|error| self.config.content(&self.key, error).to_string())?;
        let seen = secret.metadata.resource_version.as_deref();
        Ok(NodeFile {
            is_first: seen.is_some() && data(history, FIRST) == seen.map(str::as_bytes),
            hash: ConfigHash::of(bytes),
            layout: Arc::new(Layout::of(&config)),
            written: None,
            settled_at: changed(secret).after(KUBELET.saturating_add(SETTLE)),
        })
    }
}

#[async_trait]
impl ConfigTargets for SecretTargets {
    async fn observe(&self) -> Result<Vec<ConfigTarget>, PortError> {
        let (config, history_secret) = (self.config.get().await?, self.history.get().await?);
        let keys = history(&self.history, &history_secret, HISTORY)?;
        let versions = numbered(&history_secret).into_iter();
        let earlier = versions.filter_map(|(_, bytes)| {
            let config = EncryptionConfiguration::parse(bytes).ok()?;
            Some((ConfigHash::of(bytes), Arc::new(Layout::of(&config))))
        });
        let target = ConfigTarget {
            server: Box::default(),
            place: self.config.place().into(),
            file: self.file(&config, &history_secret),
            keys: keys.local_keys().cloned().collect(),
            earlier: earlier.collect(),
        };
        let servers = self.servers.iter();
        let targets = servers.map(|server| ConfigTarget {
            server: server.clone(),
            ..target.clone()
        });
        Ok(targets.collect())
    }

    async fn write(
        &self,
        server: &str,
        layout: &Layout,
        over: ConfigHash,
    ) -> Result<(), PortError> {
        self.check(server)?;
        let text = layout
            .render()
            .map_err(|error| self.config.content(&self.key, error))?;
        let mut secret = self.config.get().await?;
        let seen = data(&secret, &self.key).map(<[u8]>::to_vec);
        let is_meant = |bytes: &[u8]| {
            EncryptionConfiguration::parse(bytes).is_ok_and(|config| Layout::of(&config) == *layout)
        };
        if seen.as_deref().is_some_and(is_meant) {
            return Ok(());
        }
        let found = seen.as_deref().map_or(ConfigHash::NO_FILE, ConfigHash::of);
        if found != over {
            return Err(PortError::Stale {
                place: self.config.place().into(),
                seen: Version::new(over.to_string()),
                found: Version::new(found.to_string()),
            });
        }
        let text = self.keep(seen.as_deref(), text).await?;
        set(&mut secret, &*self.key, text.as_bytes());
        let stored = self.config.put(&secret).await?;
        self.note_first(&stored).await
    }

    async fn store_key(
        &self,
        server: &str,
        key: &LocalKey,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.check(server)?;
        let mut secret = self.history.get().await?;
        let mut keys = history(&self.history, &secret, HISTORY)?;
        if keys.keep(&Transformer::Local(key.clone()), true, now) {
            set(&mut secret, HISTORY, keys.to_text().as_bytes());
            self.history.put(&secret).await?;
        }
        Ok(())
    }
}

impl SecretTargets {
    /// Notes that the version `stored` of the configuration has bytes that were never there before.
    async fn note_first(&self, stored: &Version) -> Result<(), PortError> {
        let mut secret = self.history.get().await?;
        set(&mut secret, FIRST, stored.to_string());
        self.history.put(&secret).await.map(drop)
    }

    /// Keeps copies of the present version and of the next one beside the keys, with the most recent ones. Gives the next one with
    /// a comment if its bytes were there before: a server that says their hash has then loaded them since.
    async fn keep(
        &self,
        seen: Option<&[u8]>,
        mut text: Zeroizing<String>,
    ) -> Result<Zeroizing<String>, PortError> {
        let mut secret = self.history.get().await?;
        let known = numbered(&secret);
        let mut next = known
            .last_key_value()
            .map_or(1, |(newest, _)| newest.saturating_add(1));
        if known.values().any(|known| *known == text.as_bytes()) {
            text = Zeroizing::new(format!("{}# version {next}\n", *text));
        }
        let mut new = Vec::new();
        for version in seen.into_iter().chain([text.as_bytes()]) {
            if !known.values().any(|known| *known == version) {
                new.push((next, version));
                next = next.saturating_add(1);
            }
        }
        let surplus = (known.len() + new.len()).saturating_sub(KEPT);
        let old: Vec<u64> = known.keys().take(surplus).copied().collect();
        let new: Vec<(u64, Vec<u8>)> = new
            .into_iter()
            .map(|(number, bytes)| (number, bytes.to_vec()))
            .collect();
        if let Some(data) = &mut secret.data {
            data.retain(|key, _| !number(key).is_some_and(|number| old.contains(&number)));
        }
        for (number, bytes) in new {
            set(&mut secret, format!("{EARLIER}{number}"), bytes);
        }
        self.history.put(&secret).await?;
        Ok(text)
    }
}

/// The earlier versions by their number.
fn numbered(secret: &Secret) -> BTreeMap<u64, &[u8]> {
    let data = secret.data.iter().flatten();
    data.filter_map(|(key, bytes)| Some((number(key)?, &*bytes.0)))
        .collect()
}

fn number(key: &str) -> Option<u64> {
    key.strip_prefix(EARLIER)?.parse().ok()
}

/// When the object was last changed, by the clock of the API server that stored it.
fn changed(secret: &Secret) -> Timestamp {
    let managed = secret.metadata.managed_fields.iter().flatten();
    let changes = managed.filter_map(|entry| entry.time.as_ref());
    let times = changes.chain(&secret.metadata.creation_timestamp);
    let seconds = times.map(|time| u64::try_from(time.0.as_second()).unwrap_or_default());
    Timestamp::from_secs(seconds.max().unwrap_or_default())
}
