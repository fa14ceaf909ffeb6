//! One call at a time, as kube-apiserver makes it: over a Unix socket, with authority `localhost`, a deadline,
//! and patience for a socket that is not there yet.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use kdc_envelope::kek::InvalidKeyId;
use kdc_envelope::kmsv2::InvalidObject;
use kdc_envelope::{Annotations, ErrorChain, KeyId, SecretBytes, WrappedKey};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};

use super::connection::{Connection, Http};
use crate::proto::key_management_service_client::KeyManagementServiceClient;
use crate::proto::{DecryptRequest, EncryptRequest, StatusRequest};
use crate::server::SocketAddress;

/// Pause before a call that was never sent is tried on a new connection.
const RESEND_PAUSE: Duration = Duration::from_millis(5);
/// A deadline that the plugin keeps for us may strike this much before our own.
const DEADLINE_SLACK: Duration = Duration::from_millis(10);

/// The three methods of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Method {
    /// `/v2.KeyManagementService/Status`
    Status,
    /// `/v2.KeyManagementService/Encrypt`
    Encrypt,
    /// `/v2.KeyManagementService/Decrypt`
    Decrypt,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "Status",
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
        })
    }
}

/// What a plugin says about itself, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusAnswer {
    /// `v2` or `v2beta1` if kube-apiserver is to take it.
    pub version: String,
    /// `ok`, or what is wrong.
    pub healthz: String,
    /// The current key id.
    pub key_id: String,
}

/// What a plugin made of a plaintext, unchecked; all of it goes back with Decrypt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptAnswer {
    /// The wrapped bytes.
    pub ciphertext: Vec<u8>,
    /// The key id under which they were wrapped.
    pub key_id: String,
    /// Public attributes.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

impl EncryptAnswer {
    /// The answer as a checked wrapped key. The length of `ciphertext` is left to
    /// [`RowSealer::new`](kdc_envelope::kmsv2::RowSealer::new).
    ///
    /// # Errors
    /// [`InvalidObject`] for a key id or annotations that kube-apiserver refuses.
    pub fn wrapped_key(&self) -> Result<WrappedKey, InvalidObject> {
        let key_id = KeyId::new(self.key_id.as_str())
            .map_err(|InvalidKeyId { len, .. }| InvalidObject::KeyIdLength(len))?;
        let annotations = Annotations::try_from_iter(self.annotations.clone())?;
        Ok(WrappedKey::new(key_id, self.ciphertext.clone()).with_annotations(annotations))
    }
}

impl From<WrappedKey> for EncryptAnswer {
    fn from(wrapped: WrappedKey) -> Self {
        Self {
            annotations: wrapped
                .annotations
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            key_id: wrapped.key_id.as_str().to_owned(),
            ciphertext: wrapped.ciphertext,
        }
    }
}

/// A call without an answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The socket could not be reached before the deadline.
    #[error("{method}: no connection within {timeout:?}: {reason}")]
    Unreachable {
        /// The method called.
        method: Method,
        /// The time allowed for the call.
        timeout: Duration,
        /// What the last attempt to connect met.
        reason: String,
    },
    /// The plugin did not answer before the deadline.
    #[error("{method}: no answer within {timeout:?}")]
    Deadline {
        /// The method called.
        method: Method,
        /// The time allowed for the call.
        timeout: Duration,
    },
    /// The connection or the stream ended without a gRPC status.
    #[error("{method}: the call broke off: {message}")]
    BrokenOff {
        /// The method called.
        method: Method,
        /// What HTTP/2 says about it.
        message: String,
    },
    /// The plugin answered with an error.
    #[error("{method}: {code:?}: {}", .message.escape_debug())]
    Refused {
        /// The method called.
        method: Method,
        /// Its gRPC code.
        code: Code,
        /// Its message.
        message: String,
    },
}

impl CallError {
    /// The gRPC code that kube-apiserver's client would report.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::BrokenOff { .. } => Code::Unavailable,
            Self::Refused { code, .. } => *code,
        }
    }
}

/// A client of one plugin over one connection. Clones share the connection, which is made with the first call
/// and again after it was lost.
///
/// Every call waits for the socket until its deadline, as kube-apiserver's do. Unlike grpc-go, whose pauses between
/// attempts grow to two minutes, this one tries again at least five times a second. There is no keepalive and no retry
/// of a call that was sent.
#[derive(Debug, Clone)]
pub struct KmsClient {
    connection: Arc<Connection>,
    timeout: Duration,
}

impl KmsClient {
    /// The time that kube-apiserver gives each call unless its configuration says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

    /// A client of the plugin at `socket`; connects with the first call.
    #[must_use]
    pub fn new(socket: &SocketAddress) -> Self {
        Self {
            connection: Arc::new(Connection::new(socket)),
            timeout: Self::DEFAULT_TIMEOUT,
        }
    }

    /// The same connection with another time allowed for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            connection: Arc::clone(&self.connection),
            timeout,
        }
    }

    /// The time allowed for each call.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks for the plugin's state.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn status(&self) -> Result<StatusAnswer, CallError> {
        let answer = self
            .call(
                Method::Status,
                StatusRequest {},
                |mut grpc, request| async move { grpc.status(request).await },
            )
            .await?;
        Ok(StatusAnswer {
            version: answer.version,
            healthz: answer.healthz,
            key_id: answer.key_id,
        })
    }

    /// Has `plaintext` wrapped, under a fresh request uid.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn encrypt(&self, plaintext: &[u8]) -> Result<EncryptAnswer, CallError> {
        self.encrypt_as(fresh_uid(), plaintext).await
    }

    /// Has a wrapped key unwrapped, under a fresh request uid.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn decrypt(&self, wrapped: &EncryptAnswer) -> Result<SecretBytes, CallError> {
        self.decrypt_as(fresh_uid(), wrapped).await
    }

    /// Connects if need be; otherwise what the last attempt before the timeout met.
    pub(super) async fn connect(&self) -> Result<(), String> {
        let deadline = Instant::now() + self.timeout;
        self.connection.ready_before(deadline).await.map(drop)
    }

    pub(super) async fn encrypt_as(
        &self,
        uid: String,
        plaintext: &[u8],
    ) -> Result<EncryptAnswer, CallError> {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid,
        };
        let answer = self
            .call(Method::Encrypt, request, |mut grpc, request| async move {
                grpc.encrypt(request).await
            })
            .await?;
        Ok(EncryptAnswer {
            ciphertext: answer.ciphertext,
            key_id: answer.key_id,
            annotations: answer.annotations,
        })
    }

    pub(super) async fn decrypt_as(
        &self,
        uid: String,
        wrapped: &EncryptAnswer,
    ) -> Result<SecretBytes, CallError> {
        let request = DecryptRequest {
            ciphertext: wrapped.ciphertext.clone(),
            uid,
            key_id: wrapped.key_id.clone(),
            annotations: wrapped.annotations.clone(),
        };
        let answer = self
            .call(Method::Decrypt, request, |mut grpc, request| async move {
                grpc.decrypt(request).await
            })
            .await?;
        Ok(SecretBytes::new(answer.plaintext))
    }

    /// Connects if need be, sends, and waits for the answer; sends again only what never left this process.
    async fn call<Q: Clone, A, F: Future<Output = Result<Response<A>, Status>>>(
        &self,
        method: Method,
        message: Q,
        send: impl Fn(KeyManagementServiceClient<Http>, Request<Q>) -> F,
    ) -> Result<A, CallError> {
        let timeout = self.timeout;
        let deadline = Instant::now() + timeout;
        loop {
            let http = self.connection.ready_before(deadline).await;
            let http = http.map_err(|reason| CallError::Unreachable {
                method,
                timeout,
                reason,
            })?;
            let origin = self.connection.origin();
            let grpc = KeyManagementServiceClient::with_origin(http, origin);
            let mut request = Request::new(message.clone());
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            match timeout_at(deadline, send(grpc, request)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if was_never_sent(&status) => {
                    self.connection.forget();
                    sleep(RESEND_PAUSE).await;
                }
                Ok(Err(status)) => return Err(call_error(method, timeout, deadline, &status)),
                Err(_) => return Err(CallError::Deadline { method, timeout }),
            }
        }
    }
}

/// Whether the connection was found dead before the request went into it, so that it may be sent again.
fn was_never_sent(status: &Status) -> bool {
    status
        .source()
        .and_then(|source| source.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_canceled)
}

fn call_error(method: Method, timeout: Duration, deadline: Instant, status: &Status) -> CallError {
    // A status with a source was made on this side, of an error of the transport.
    if let Some(source) = status.source() {
        return CallError::BrokenOff {
            method,
            message: ErrorChain::new(source).innermost().to_string(),
        };
    }
    let code = status.code();
    let is_late = Instant::now() + DEADLINE_SLACK >= deadline;
    if is_late && matches!(code, Code::Cancelled | Code::DeadlineExceeded) {
        return CallError::Deadline { method, timeout };
    }
    CallError::Refused {
        method,
        code,
        message: status.message().to_owned(),
    }
}

fn fresh_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}
