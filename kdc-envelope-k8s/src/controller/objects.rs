//! Calls to the API server, as a controller makes them: each with a deadline, none repeated, and writes only by the holder of the
//! Lease.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request as HttpRequest;
use kube::api::{
    DeleteParams, GetParams, ListParams, ObjectList, ObjectMeta, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::core::Request;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{CallError, Leadership, ObjectKey};

/// How long a call may take, unless [`Objects::with_deadline`] says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A kind of object that can be read.
pub trait Object:
    Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads all objects.
    List,
    /// Makes an object.
    Create,
    /// Changes some fields.
    Patch,
    /// Changes some fields by server-side apply.
    Apply,
    /// Changes some fields of the status.
    PatchStatus,
    /// Deletes an object.
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Apply => "apply",
            Self::PatchStatus => "patch the status of",
            Self::Delete => "delete",
        })
    }
}

/// A write that an API server confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) kind: Box<str>,
    pub(super) key: ObjectKey,
    pub(super) outcome: Outcome,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has this resourceVersion.
    Stored(Box<str>),
    /// The object of this uid is deleted, or about to be.
    Deleted(Box<str>),
}

/// The objects of one cluster. Clones share what they count.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    manager: Arc<str>,
    leadership: Option<Leadership>,
    deadline: Duration,
    written: Arc<Mutex<Vec<Written>>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("manager", &self.manager)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Through `client`, which must repeat nothing by itself, as those of [`connect`](crate::cluster::connect). `manager` is who owns
    /// the fields that are written, at most 128 characters.
    ///
    /// Without [`with_leadership`](Self::with_leadership), writes are always allowed.
    #[must_use]
    pub fn new(client: Client, manager: &str) -> Self {
        Self {
            client,
            manager: manager.into(),
            leadership: None,
            deadline: DEADLINE,
            written: Arc::default(),
        }
    }

    /// The same, and writes happen only while this process holds the Lease.
    #[must_use]
    pub fn with_leadership(mut self, leadership: Leadership) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// The same, with another limit for each call.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same, with a record of writes of its own.
    pub(super) fn recording(&self) -> Self {
        Self {
            written: Arc::default(),
            ..self.clone()
        }
    }

    /// The writes since the last call.
    pub(super) fn take_written(&self) -> Vec<Written> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        core::mem::take(&mut *written)
    }

    /// The client below, for what is no object.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Who owns the fields that are written.
    #[must_use]
    pub fn manager(&self) -> &str {
        &self.manager
    }

    /// Whether this process may write, if that depends on a Lease.
    pub(super) const fn leadership(&self) -> Option<&Leadership> {
        self.leadership.as_ref()
    }

    /// Reads one object, in its newest state; `None` if it is not there.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn get<K: Object>(&self, key: &ObjectKey) -> Result<Option<K>, CallError> {
        let request = request::<K>(key).get(&key.name, &GetParams::default());
        match self.call(Verb::Get, key, request).await {
            Ok(found) => Ok(Some(found)),
            Err(CallError::Refused { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a kind, in their newest state; in one namespace, if one is given.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn list<K: Object>(
        &self,
        namespace: Option<&str>,
        parameters: &ListParams,
    ) -> Result<Vec<K>, CallError> {
        let place = ObjectKey::new(namespace.unwrap_or_default(), "");
        let request = Request::new(K::url_path(&(), namespace)).list(parameters);
        let listed: ObjectList<K> = self.send::<K, _>(Verb::List, &place, request).await?;
        Ok(listed.items)
    }

    /// Makes an object; a [conflict](super::ErrorKind::Conflict) if there is one of this name.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn create<K: Object + Serialize>(&self, object: &K) -> Result<K, CallError> {
        let key = ObjectKey::of(object);
        let parameters = PostParams {
            dry_run: false,
            field_manager: Some(self.manager.to_string()),
        };
        let body = json_of::<K>(object).and_then(|value| serde_json::to_vec(&value));
        let body = body.map_err(|source| CallError::Format {
            verb: Verb::Create,
            kind: K::kind(&()).into(),
            key: key.clone(),
            source,
        })?;
        let request = request::<K>(&key).create(&parameters, body);
        self.write(Verb::Create, &key, request).await
    }

    /// Changes fields by a JSON merge patch. With `metadata.resourceVersion` in `patch` it is a
    /// [conflict](super::ErrorKind::Conflict) if the object changed since.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn patch<K: Object>(&self, key: &ObjectKey, patch: &Value) -> Result<K, CallError> {
        let request = request::<K>(key).patch(&key.name, &self.merge(), &Patch::Merge(patch));
        self.write(Verb::Patch, key, request).await
    }

    /// Changes fields of the status by a JSON merge patch, as [`patch`](Self::patch).
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn patch_status<K: Object>(
        &self,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<K, CallError> {
        let patch = Patch::Merge(patch);
        let request = request::<K>(key);
        let request = request.patch_subresource("status", &key.name, &self.merge(), &patch);
        self.write(Verb::PatchStatus, key, request).await
    }

    /// Makes an object, or changes it, by server-side apply. `fields` are those that this manager owns from now on; `apiVersion`,
    /// `kind` and the name are filled in. With `force` they are taken from others that own them.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn apply<K: Object>(
        &self,
        key: &ObjectKey,
        fields: &Value,
        force: bool,
    ) -> Result<K, CallError> {
        self.apply_as(&self.manager, key, fields, force).await
    }

    /// As [`apply`](Self::apply), by another manager.
    pub(super) async fn apply_as<K: Object>(
        &self,
        manager: &str,
        key: &ObjectKey,
        fields: &Value,
        force: bool,
    ) -> Result<K, CallError> {
        let mut body = fields.clone();
        let head = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": key.name},
        });
        super::status::merge(&mut body, &head);
        let parameters = PatchParams {
            force,
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let request = request::<K>(key).patch(&key.name, &parameters, &Patch::Apply(&body));
        self.write(Verb::Apply, key, request).await
    }

    /// Deletes the object that `meta` is of, and no other of its name. Says whether it was there.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn delete<K: Object>(&self, meta: &ObjectMeta) -> Result<bool, CallError> {
        let key = ObjectKey::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: meta.uid.clone(),
            resource_version: None,
        });
        let request = request::<K>(&key).delete(&key.name, &parameters);
        self.check::<K>(Verb::Delete, &key)?;
        let deleted: Result<Value, _> = self.send::<K, _>(Verb::Delete, &key, request).await;
        match deleted {
            Ok(_) => {
                let uid = meta.uid.as_deref().unwrap_or_default().into();
                self.record::<K>(&key, Outcome::Deleted(uid));
                Ok(true)
            }
            Err(CallError::Refused { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn merge(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.manager.to_string()),
            ..PatchParams::default()
        }
    }

    async fn write<K: Object>(
        &self,
        verb: Verb,
        key: &ObjectKey,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<K, CallError> {
        self.check::<K>(verb, key)?;
        let stored: K = self.call(verb, key, request).await?;
        let version = stored.meta().resource_version.as_deref();
        let stored_at = Outcome::Stored(version.unwrap_or_default().into());
        self.record::<K>(key, stored_at);
        Ok(stored)
    }

    fn record<K: Object>(&self, key: &ObjectKey, outcome: Outcome) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push(Written {
            kind: K::kind(&()).into(),
            key: key.clone(),
            outcome,
        });
    }

    fn check<K: Object>(&self, verb: Verb, key: &ObjectKey) -> Result<(), CallError> {
        match &self.leadership {
            Some(leadership) if !leadership.may_write() => Err(CallError::NotLeader {
                verb,
                kind: K::kind(&()).into(),
                key: key.clone(),
            }),
            _ => Ok(()),
        }
    }

    async fn call<K: Object>(
        &self,
        verb: Verb,
        key: &ObjectKey,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<K, CallError> {
        self.send::<K, K>(verb, key, request).await
    }

    /// Sends a request about a `K`, and reads the answer as a `T`.
    ///
    /// Not by [`Client::request`], which logs the whole of an answer that it cannot read; a Secret would be in it.
    async fn send<K: Object, T: DeserializeOwned>(
        &self,
        verb: Verb,
        key: &ObjectKey,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, CallError> {
        let kind = K::kind(&());
        let failed = |error| CallError::of(verb, &kind, key, error);
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        let exchange = self.client.request_text(request);
        let answered = tokio::time::timeout(self.deadline, exchange).await;
        let answered = answered.map_err(|_| CallError::Deadline {
            verb,
            kind: kind.as_ref().into(),
            key: key.clone(),
            limit: self.deadline,
        })?;
        let text = answered.map_err(failed)?;
        serde_json::from_str(&text).map_err(|source| CallError::Format {
            verb,
            kind: kind.as_ref().into(),
            key: key.clone(),
            source,
        })
    }
}

/// Requests about the objects beside `key`.
fn request<K: Object>(key: &ObjectKey) -> Request {
    Request::new(K::url_path(&(), key.namespace()))
}

/// The object with its type, which the structs of custom resources do not have.
fn json_of<K: Object + Serialize>(object: &K) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(object)?;
    let head = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&())});
    super::status::merge(&mut value, &head);
    Ok(value)
}
