//! The objects of one kind, kept up to date by a watch.
//!
//! A store never goes back in time: an API server that lags behind what was seen before is not believed. Objects that cannot be read as
//! their kind are kept apart, so that one of them does not hide all others.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt as _;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::{DeserializeGuard, Request};
use tokio::sync::watch;

use super::objects::{Object, Outcome, Verb, Written};
use super::{CallError, ObjectKey, Objects, backoff};

/// How many objects one answer has at most.
const PAGE: u32 = 500;
/// How long one watch lasts, in seconds. Shorter than the time after which a client takes a silent connection for dead.
const WATCH_SECONDS: u32 = 60;
/// The longest pause before a list is tried again: without a watch, nothing is done for any object.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the first answer may take.
const LIST_DEADLINE: Duration = Duration::from_secs(60);

/// The objects of one kind.
pub struct Store<K>(RwLock<Inner<K>>);

struct Inner<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    /// Objects that are not as their kind, and why.
    unreadable: HashMap<ObjectKey, Box<str>>,
    /// The newest resourceVersion that was seen; none before the first list.
    revision: Option<Box<str>>,
}

impl<K> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(RwLock::new(Inner {
            objects: HashMap::new(),
            unreadable: HashMap::new(),
            revision: None,
        }))
    }
}

impl<K: Object> Store<K> {
    /// One object as it was last seen.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|inner| inner.objects.get(key).cloned())
    }

    /// All objects that can be read, as they were last seen, by namespace and name. What follows from an object that is *not* among them
    /// holds only if the store [is complete](Self::is_complete).
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|inner| {
            let mut all: Vec<_> = inner.objects.iter().collect();
            all.sort_by_key(|(key, _)| *key);
            all.into_iter()
                .map(|(_, object)| Arc::clone(object))
                .collect()
        })
    }

    /// Why the object cannot be read as its kind, if it is there and cannot.
    #[must_use]
    pub fn unreadable(&self, key: &ObjectKey) -> Option<Box<str>> {
        self.read(|inner| inner.unreadable.get(key).cloned())
    }

    /// Whether all objects were seen once, and all of them can be read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.read(|inner| inner.revision.is_some() && inner.unreadable.is_empty())
    }

    /// Whether all objects were seen once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.read(|inner| inner.revision.is_some())
    }

    fn read<T>(&self, read: impl FnOnce(&Inner<K>) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner<K>) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether what a write left behind is seen here.
    pub(super) fn sees(&self, written: &Written) -> bool {
        self.read(|inner| {
            let object = inner.objects.get(&written.key);
            match &written.outcome {
                Outcome::Stored(version) => {
                    let revision = inner.revision.as_deref();
                    let object =
                        object.and_then(|object| object.meta().resource_version.as_deref());
                    [revision, object]
                        .into_iter()
                        .flatten()
                        .any(|seen| !is_older(seen, version))
                }
                Outcome::Deleted(uid) => object.is_none_or(|object| {
                    let meta = object.meta();
                    meta.uid.as_deref() != Some(&**uid) || meta.deletion_timestamp.is_some()
                }),
            }
        })
    }
}

/// Whether one resourceVersion is older than another. They are numbers that grow, also across the objects of a kind; what is no number is
/// older than everything, so that it is waited for.
fn is_older(seen: &str, than: &str) -> bool {
    match (seen.parse::<u64>(), than.parse::<u64>()) {
        (Ok(seen), Ok(than)) => seen < than,
        _ => seen != than,
    }
}

/// Follows the objects of a kind.
pub(super) struct Follower<K> {
    pub(super) objects: Objects,
    pub(super) namespace: Option<Box<str>>,
    pub(super) store: Arc<Store<K>>,
    /// Told of each object that was changed, before and after.
    pub(super) changed: Box<dyn Fn(&K) + Send + Sync>,
    /// Told of each object that cannot be read.
    pub(super) broken: Box<dyn Fn(&ObjectKey) + Send + Sync>,
    /// True as long as the last call worked.
    pub(super) works: watch::Sender<bool>,
}

impl<K: Object> Follower<K> {
    /// Runs for ever.
    pub(super) async fn run(self) {
        let mut failures = 0u32;
        loop {
            let mut progress = false;
            let ended = self.follow(&mut progress).await;
            failures = if progress { 0 } else { failures };
            if let Err(error) = ended {
                failures = failures.saturating_add(1);
                self.works.send_replace(false);
                let kind = error.kind();
                tracing::warn!(kind = kind.as_str(), "{error}");
                tokio::time::sleep(backoff::wait(kind, failures).min(LONGEST_PAUSE)).await;
            }
        }
    }

    /// Lists, and watches until the API server has forgotten where we were.
    async fn follow(&self, progress: &mut bool) -> Result<(), CallError> {
        let (listed, version) = self.list_all().await?;
        self.check_order(&version)?;
        self.replace(listed, &version);
        *progress = true;
        self.works.send_replace(true);
        let mut at: String = version.into();
        loop {
            match self.watch(&mut at).await {
                Ok(()) => {
                    self.works.send_replace(true);
                }
                Err(CallError::Refused { code: 410, .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn url(&self) -> String {
        K::url_path(&(), self.namespace.as_deref())
    }

    fn failed(&self, verb: Verb, error: kube::Error) -> CallError {
        let place = self.namespace.as_deref().unwrap_or_default();
        CallError::of(verb, &K::kind(&()), &ObjectKey::new(place, ""), error)
    }

    async fn list_all(&self) -> Result<(Vec<DeserializeGuard<K>>, Box<str>), CallError> {
        let mut all = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let request = Request::new(self.url()).list(&parameters);
            let request = request
                .map_err(|error| self.failed(Verb::List, kube::Error::BuildRequest(error)))?;
            let client = self.objects.client();
            let listing = client.request::<ObjectList<DeserializeGuard<K>>>(request);
            let page = tokio::time::timeout(LIST_DEADLINE, listing).await;
            let page = page.map_err(|_| CallError::Deadline {
                verb: Verb::List,
                kind: K::kind(&()).into(),
                key: ObjectKey::new(self.namespace.as_deref().unwrap_or_default(), ""),
                limit: LIST_DEADLINE,
            })?;
            let page = page.map_err(|error| self.failed(Verb::List, error))?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => {
                    let version = page.metadata.resource_version.unwrap_or_default();
                    return Ok((all, version.into()));
                }
            }
        }
    }

    /// Refuses what is older than what was seen already.
    fn check_order(&self, version: &str) -> Result<(), CallError> {
        let seen = self.store.read(|inner| inner.revision.clone());
        match seen {
            Some(seen) if is_older(version, &seen) => Err(CallError::Unreachable {
                verb: Verb::List,
                kind: K::kind(&()).into(),
                key: ObjectKey::new(self.namespace.as_deref().unwrap_or_default(), ""),
                message: format!(
                    "the API server is behind: it is at revision {version}, and {seen} was seen; if its etcd was restored, restart this \
                     program"
                )
                .into(),
            }),
            _ => Ok(()),
        }
    }

    /// Takes a whole list over, and tells what it changed.
    fn replace(&self, listed: Vec<DeserializeGuard<K>>, version: &str) {
        let mut objects = HashMap::new();
        let mut unreadable = HashMap::new();
        for guard in listed {
            let key = ObjectKey::of(&guard);
            match guard.0 {
                Ok(object) => {
                    objects.insert(key, Arc::new(slim(object)));
                }
                Err(invalid) => {
                    unreadable.insert(key, invalid.error.into());
                }
            }
        }
        let broken: Vec<ObjectKey> = unreadable.keys().cloned().collect();
        let now: Vec<Arc<K>> = objects.values().cloned().collect();
        let before = self.store.change(|inner| {
            inner.unreadable = unreadable;
            inner.revision = Some(version.into());
            core::mem::replace(&mut inner.objects, objects)
        });
        for object in before.into_values().chain(now) {
            (self.changed)(&object);
        }
        for key in &broken {
            (self.broken)(key);
        }
    }

    /// One watch, to its end.
    async fn watch(&self, at: &mut String) -> Result<(), CallError> {
        let parameters = WatchParams::default().timeout(WATCH_SECONDS);
        let request = Request::new(self.url()).watch(&parameters, at);
        let failed = |error| self.failed(Verb::List, error);
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        let started = self.objects.client().request_events(request).await;
        let mut events = std::pin::pin!(started.map_err(failed)?);
        while let Some(event) = events.next().await {
            match event.map_err(failed)? {
                WatchEvent::Added(guard) | WatchEvent::Modified(guard) => self.put(guard, at),
                WatchEvent::Deleted(guard) => self.remove(&guard, at),
                WatchEvent::Bookmark(bookmark) => {
                    self.move_to(&bookmark.metadata.resource_version, at);
                }
                WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
            }
        }
        Ok(())
    }

    fn put(&self, guard: DeserializeGuard<K>, at: &mut String) {
        let key = ObjectKey::of(&guard);
        self.move_to(&version_of(&guard), at);
        match guard.0 {
            Ok(object) => {
                let object = Arc::new(slim(object));
                let before = self.store.change(|inner| {
                    inner.unreadable.remove(&key);
                    inner.objects.insert(key, Arc::clone(&object))
                });
                if let Some(before) = before {
                    (self.changed)(&before);
                }
                (self.changed)(&object);
            }
            Err(invalid) => {
                self.store.change(|inner| {
                    inner.objects.remove(&key);
                    inner.unreadable.insert(key.clone(), invalid.error.into());
                });
                (self.broken)(&key);
            }
        }
    }

    fn remove(&self, guard: &DeserializeGuard<K>, at: &mut String) {
        let key = ObjectKey::of(guard);
        self.move_to(&version_of(guard), at);
        let before = self.store.change(|inner| {
            inner.unreadable.remove(&key);
            inner.objects.remove(&key)
        });
        match before {
            Some(before) => (self.changed)(&before),
            None => (self.broken)(&key),
        }
    }

    fn move_to(&self, version: &str, at: &mut String) {
        version.clone_into(at);
        self.store
            .change(|inner| inner.revision = Some(version.into()));
    }
}

fn version_of<K: Object>(guard: &DeserializeGuard<K>) -> String {
    use kube::Resource as _;
    guard.meta().resource_version.clone().unwrap_or_default()
}

/// Without who owns which field, which is half of an object and of no use here.
fn slim<K: Object>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// What the loop needs of a store, whatever its kind.
pub(super) trait AnyStore: Send + Sync {
    fn kind(&self) -> Box<str>;
    fn is_ready(&self) -> bool;
    fn has_seen(&self, written: &Written) -> bool;
    fn why_unreadable(&self, key: &ObjectKey) -> Option<Box<str>>;
}

impl<K: Object> AnyStore for Store<K> {
    fn kind(&self) -> Box<str> {
        K::kind(&()).into()
    }

    fn is_ready(&self) -> bool {
        self.is_synced()
    }

    fn has_seen(&self, written: &Written) -> bool {
        self.sees(written)
    }

    fn why_unreadable(&self, key: &ObjectKey) -> Option<Box<str>> {
        self.unreadable(key)
    }
}
