//! Setting OpenBao up: namespaces, mounts, Transit keys and their rotation, policies, and who may log in.
//!
//! What should be a certain way has an `ensure`. It reads first, writes only what differs, and says what it changed, so a
//! controller can call it as often as it likes. Nothing here deletes by itself, and nothing raises a `min_decryption_version` unasked.

mod audit;
mod change;
mod error;
mod key_lock;
mod keys;
mod kubernetes;
mod mounts;
mod name;
mod namespaces;
mod plugin_policy;
mod policies;
mod rotation;

use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

pub use audit::AuditDevice;
pub use change::Change;
pub use error::AdminError;
pub use keys::{KeyConfig, KeyKind, TransitKeys};
pub use kubernetes::{
    AliasNameSource, KubernetesAuth, KubernetesConfig, KubernetesRole, StoredKubernetesConfig,
};
pub use mounts::{Mount, Mounts};
pub use name::{InvalidName, LowerName, MountPath};
pub use namespaces::{NamespaceInfo, Namespaces};
pub use plugin_policy::{PluginOperation, PluginRight, plugin_rights, policy_for_plugin};
pub use policies::{Policies, Policy};
pub use rotation::Trial;

use crate::client::{Method, Namespace, Operation, Request, Response, or_default, words};
use crate::error::BaoError;
use crate::login::Session;
use crate::transit::TransitKeyName;
use key_lock::KeyLocks;
use rotation::Unproven;

/// Pauses before asking again for what was just made: a standby may not know it yet.
const LAG_PAUSES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(320),
    Duration::from_millis(900),
    Duration::from_millis(1_600),
];

/// OpenBao from the side of its administrator, in one namespace. Clones share the session.
///
/// Changes of one key can lose a version when they overlap. Clones wait for each other; so make one for a server, and clone it.
///
/// Making a mount or a version of a key takes longer than using one, and a rotation whose answer comes too late counts as one that may
/// have failed. So give the client of an administrator more time than the defaults, such as 10 s for an attempt and 30 s for a call.
#[derive(Debug, Clone)]
pub struct Admin {
    session: Session,
    namespace: Option<Namespace>,
    locks: Arc<KeyLocks>,
    unproven: Arc<Unproven>,
}

impl Admin {
    /// Acts through `session`, in the namespace of its client.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self {
            namespace: session.client().namespace().cloned(),
            session,
            locks: Arc::default(),
            unproven: Arc::default(),
        }
    }

    /// The same in another namespace, or in the root namespace. A token acts in its own namespace and in those below.
    #[must_use]
    pub fn in_namespace(&self, namespace: Option<Namespace>) -> Self {
        Self {
            session: self.session.clone(),
            namespace,
            locks: Arc::clone(&self.locks),
            unproven: Arc::clone(&self.unproven),
        }
    }

    /// Where it acts.
    #[must_use]
    pub const fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// The session behind it.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The namespaces below.
    #[must_use]
    pub const fn namespaces(&self) -> Namespaces<'_> {
        Namespaces::new(self)
    }

    /// The secrets engines.
    #[must_use]
    pub const fn mounts(&self) -> Mounts<'_> {
        Mounts::of_secrets(self)
    }

    /// The auth methods.
    #[must_use]
    pub const fn auth_mounts(&self) -> Mounts<'_> {
        Mounts::of_auth(self)
    }

    /// The Transit keys.
    #[must_use]
    pub const fn keys(&self) -> TransitKeys<'_> {
        TransitKeys::new(self)
    }

    /// The ACL policies.
    #[must_use]
    pub const fn policies(&self) -> Policies<'_> {
        Policies::new(self)
    }

    /// Configuration and roles of the Kubernetes auth method at `mount`.
    #[must_use]
    pub const fn kubernetes<'a>(&'a self, mount: &'a MountPath) -> KubernetesAuth<'a> {
        KubernetesAuth::new(self, mount)
    }

    /// Runs `change` when no other change of the key is running here.
    async fn alone<T>(&self, key: &TransitKeyName, change: impl Future<Output = T> + Send) -> T {
        self.locks.alone(self.namespace(), key, change).await
    }

    /// Sends `request`, and sends it again for a moment while the node that answers does not know the mount or the namespace.
    async fn send(&self, request: Request<'_>) -> Result<Response, BaoError> {
        let request = request.in_namespace(self.namespace.as_ref());
        let mut pauses = LAG_PAUSES.iter();
        loop {
            match self.session.send(request.clone()).await {
                Ok(answer) => {
                    check_and_warn(&answer)?;
                    return Ok(answer);
                }
                Err(error) => match pauses.next().filter(|_| may_be_made_just_now(&error)) {
                    Some(pause) => sleep(*pause).await,
                    None => return Err(error),
                },
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Response, BaoError> {
        self.send(Request::new(Operation::Admin, Method::Get, path))
            .await
    }

    /// The object at `path`, or `None` where there is none. A missing mount or namespace is an error.
    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, BaoError> {
        let answer = present(self.get(path).await)?;
        answer.map(|answer| answer.data()).transpose()
    }

    /// The names under `path`.
    async fn list(&self, path: &str) -> Result<Vec<String>, BaoError> {
        #[derive(Deserialize)]
        struct Names {
            #[serde(default, deserialize_with = "or_default")]
            keys: Vec<String>,
        }
        let names: Option<Names> = self.read(&format!("{path}?list=true")).await?;
        Ok(names.map_or_else(Vec::new, |names| names.keys))
    }

    async fn write(&self, path: &str, body: &impl Serialize) -> Result<Response, BaoError> {
        let request = Request::new(Operation::Admin, Method::Post, path).json(body);
        self.send(request).await
    }

    async fn delete(&self, path: &str) -> Result<Response, BaoError> {
        self.send(Request::new(Operation::Admin, Method::Delete, path))
            .await
    }

    /// Looks at `path` until the node that answers knows what was just written, and so does in the calls that follow.
    async fn observe_until<T: DeserializeOwned>(
        &self,
        path: &str,
        knows: impl Fn(&T) -> bool + Send,
    ) -> Result<T, BaoError> {
        let mut pauses = LAG_PAUSES.iter();
        loop {
            match self.get(path).await {
                Ok(answer) => {
                    let object = answer.data()?;
                    if knows(&object) {
                        return Ok(object);
                    }
                }
                Err(BaoError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            let Some(pause) = pauses.next() else {
                return Err(BaoError::Lagging {
                    message: format!("`{path}` does not show what was just written"),
                });
            };
            sleep(*pause).await;
        }
    }
}

/// Takes the bare 404 of a missing object for no answer; other 404s have words.
fn present(answer: Result<Response, BaoError>) -> Result<Option<Response>, BaoError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(BaoError::NotFound { message, .. }) if message.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a mount or a namespace is missing, which a standby also says when it has not heard of it yet. Nothing was carried out.
fn may_be_made_just_now(error: &BaoError) -> bool {
    let texts = ["no handler for route", "namespace not found"];
    matches!(error, BaoError::NotFound { message, .. } if texts.iter().any(|text| message.contains(text)))
}

/// Refuses what no OpenBao answered, as nothing was written then; and logs what OpenBao did otherwise than it was asked to, such as ignoring
/// a field that it does not know.
fn check_and_warn(answer: &Response) -> Result<(), BaoError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(rename = "request_id")]
        _request_id: IgnoredAny,
        #[serde(borrow)]
        warnings: Option<Vec<Cow<'a, str>>>,
    }
    if answer.body.is_empty() {
        return Ok(());
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(&answer.body).map_err(|_| answer.unintelligible())?;
    if let Some(warnings) = envelope.warnings {
        tracing::warn!(warnings = words(&warnings), "OpenBao has warnings");
    }
    Ok(())
}
