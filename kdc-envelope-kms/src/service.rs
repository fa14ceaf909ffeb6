//! The KMS v2 service over any [`KeyEncryptionKey`].
//!
//! Checks what comes in and what goes out against the limits of the API, binds every seed to its cluster,
//! and turns errors into gRPC statuses that say what the client may know; the cause goes to the log only.

use std::fmt;
use std::mem;
use std::sync::Arc;

use kdc_envelope::kek::{MAX_PLAINTEXT_LEN, MAX_WRAPPED_LEN};
use kdc_envelope::{
    Aad, Annotations, ErrorChain, KekError, KekErrorKind, KekStatus, KeyEncryptionKey, KeyId,
    SecretBytes, WrappedKey, kmsv2, random,
};
use tonic::{Code, Request, Response, Status, async_trait};
use tracing::{Instrument, debug, debug_span, info_span, warn};

use crate::metrics::KeyMetrics;
use crate::proto::key_management_service_server::KeyManagementService;
use crate::proto::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use crate::throttle::Throttle;

/// The version of the API that Status names.
pub const API_VERSION: &str = "v2";

/// What Status says when all is well; kube-apiserver compares it byte for byte.
pub const HEALTHY: &str = "ok";

/// Refused calls that are logged within ten seconds: enough to find every row that cannot be read, too few to fill a disk.
const REFUSALS_LOGGED: u64 = 100;

/// Status, Encrypt and Decrypt of the KMS v2 API.
///
/// Each call takes one view of the key encryption key: the key id in an answer is the one that made it.
/// When Encrypt or Decrypt could not work, Status is a gRPC error and not a `healthz` text, because
/// kube-apiserver goes on extending its write key on a text that comes with a known key id.
#[derive(Debug, Clone)]
pub struct KmsService {
    kek: Arc<dyn KeyEncryptionKey>,
    aad: Arc<[u8]>,
    metrics: Option<KeyMetrics>,
    refusals: Arc<Throttle>,
}

impl KmsService {
    /// Serves `kek`. Seeds are bound to `cluster`, which may be empty but must never change while rows exist.
    #[must_use]
    pub fn new(kek: Arc<dyn KeyEncryptionKey>, cluster: &str) -> Self {
        Self {
            kek,
            aad: kmsv2::seed_aad(cluster).into(),
            metrics: None,
            refusals: Arc::new(Throttle::of(REFUSALS_LOGGED)),
        }
    }

    /// The same, which counts in `metrics` what it wraps, and logs under their name.
    #[must_use]
    pub fn with_metrics(mut self, metrics: KeyMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The status of the key encryption key, from cached knowledge.
    ///
    /// # Errors
    /// Why it could not wrap or unwrap now.
    pub fn kek_status(&self) -> Result<KekStatus, KekError> {
        self.kek.status()
    }

    /// Wraps a random secret, unwraps it and compares.
    ///
    /// # Errors
    /// What the key encryption key reports; [`KekError::Authentication`] if it gives back another secret.
    pub async fn self_test(&self) -> Result<(), KekError> {
        let mut secret = [0; kmsv2::SEED_LEN];
        random::fill(&mut secret)?;
        let aad = Aad::new(&self.aad);
        let wrapped = self.kek.wrap(&secret, aad).await?;
        let unwrapped = self.kek.unwrap(&wrapped, aad).await?;
        if unwrapped.expose() == secret {
            Ok(())
        } else {
            Err(KekError::Authentication)
        }
    }

    async fn wrap(&self, request: EncryptRequest) -> Result<EncryptResponse, Refusal> {
        let plaintext = SecretBytes::new(request.plaintext);
        check_len("plaintext", plaintext.expose().len(), MAX_PLAINTEXT_LEN)?;
        let wrapped = self
            .kek
            .wrap(plaintext.expose(), Aad::new(&self.aad))
            .await?;
        check_answer(wrapped.ciphertext.len(), MAX_WRAPPED_LEN)?;
        if let Some(metrics) = &self.metrics {
            metrics.wrapped(&wrapped.key_id);
        }
        debug!(key_id = %wrapped.key_id, "wrapped");
        Ok(EncryptResponse {
            ciphertext: wrapped.ciphertext,
            key_id: wrapped.key_id.as_str().to_owned(),
            annotations: wrapped
                .annotations
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_vec()))
                .collect(),
        })
    }

    async fn unwrap(&self, request: DecryptRequest) -> Result<DecryptResponse, Refusal> {
        check_len("ciphertext", request.ciphertext.len(), MAX_WRAPPED_LEN)?;
        let key_id = KeyId::new(request.key_id).map_err(Refusal::invalid)?;
        let annotations =
            Annotations::try_from_iter(request.annotations).map_err(Refusal::invalid)?;
        let wrapped = WrappedKey::new(key_id, request.ciphertext).with_annotations(annotations);
        let plaintext = self.kek.unwrap(&wrapped, Aad::new(&self.aad)).await?;
        check_answer(plaintext.expose().len(), MAX_PLAINTEXT_LEN)?;
        debug!(key_id = %wrapped.key_id, "unwrapped");
        Ok(DecryptResponse {
            // The message owns a copy until it is encoded; the transport's buffers are not ours to wipe.
            plaintext: plaintext.expose().to_vec(),
        })
    }

    fn key_name(&self) -> Option<&str> {
        self.metrics.as_ref().map(KeyMetrics::name)
    }
}

#[async_trait]
impl KeyManagementService for KmsService {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.kek.status().map_err(|error| {
            let span = info_span!("status", key = self.key_name());
            span.in_scope(|| Refusal::Kek(error).into_status(&self.refusals))
        })?;
        Ok(Response::new(StatusResponse {
            version: API_VERSION.to_owned(),
            healthz: HEALTHY.to_owned(),
            key_id: status.key_id.as_str().to_owned(),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let mut request = request.into_inner();
        let uid = mem::take(&mut request.uid);
        let span = debug_span!("encrypt", key = self.key_name(), uid = %Uid(&uid));
        let outcome = self.wrap(request).instrument(span).await;
        outcome.map(Response::new).map_err(|refusal| {
            let span = info_span!("encrypt", key = self.key_name(), uid = %Uid(&uid));
            span.in_scope(|| refusal.into_status(&self.refusals))
        })
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let mut request = request.into_inner();
        let uid = mem::take(&mut request.uid);
        let span = debug_span!("decrypt", key = self.key_name(), uid = %Uid(&uid));
        let outcome = self.unwrap(request).instrument(span).await;
        outcome.map(Response::new).map_err(|refusal| {
            let span = info_span!("decrypt", key = self.key_name(), uid = %Uid(&uid));
            span.in_scope(|| refusal.into_status(&self.refusals))
        })
    }
}

/// The gRPC code of each kind of error.
#[must_use]
pub const fn code_of(kind: KekErrorKind) -> Code {
    match kind {
        KekErrorKind::Unavailable => Code::Unavailable,
        KekErrorKind::Denied => Code::PermissionDenied,
        KekErrorKind::UnknownKey => Code::NotFound,
        KekErrorKind::Malformed | KekErrorKind::Misuse => Code::InvalidArgument,
        KekErrorKind::Authentication => Code::DataLoss,
        KekErrorKind::Exhausted => Code::ResourceExhausted,
        KekErrorKind::Internal => Code::Internal,
    }
}

/// What a client may know about `error`: fixed words for its kind, and a key id, which is public.
#[must_use]
pub fn public_message(error: &KekError) -> String {
    match error {
        KekError::UnknownKey(key_id) => return format!("key id `{key_id}` is unknown"),
        KekError::RetiredKey(key_id) => return format!("key id `{key_id}` was retired"),
        KekError::Shared(error) => return public_message(error),
        _ => {}
    }
    match error.kind() {
        KekErrorKind::Unavailable => "the key encryption key is unavailable",
        KekErrorKind::Denied => "the use of the key encryption key is denied",
        // Key ids are public, and named above where there is one.
        KekErrorKind::UnknownKey => "the key id is unknown",
        KekErrorKind::Malformed => "the ciphertext is malformed",
        KekErrorKind::Authentication => {
            "the ciphertext does not authenticate: it was changed, or belongs to another key or cluster"
        }
        KekErrorKind::Exhausted => "a limit of the key encryption key is reached",
        KekErrorKind::Misuse => "the request asks for what the key encryption key does not do",
        KekErrorKind::Internal => "internal error of the plugin",
    }
    .to_owned()
}

/// A request uid as it may appear in a log: escaped, and cut where a real one would have ended.
struct Uid<'a>(&'a str);

impl Uid<'_> {
    /// In characters; kube-apiserver sends UUIDs of 36.
    const MAX_LEN: usize = 64;
}

impl fmt::Display for Uid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(Self::MAX_LEN) {
            write!(f, "{}", character.escape_debug())?;
        }
        if characters.next().is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

/// Why a call gets no answer. Logged where the request's uid is known: a span for every call would cost more than
/// the cryptography, so at the usual log level only refused calls have one.
#[derive(Debug)]
enum Refusal {
    Kek(KekError),
    /// The request itself, in words for its sender.
    Invalid(String),
    /// kube-apiserver would store or reject an answer of this length; an error is the only safe one.
    Answer(usize),
}

impl From<KekError> for Refusal {
    fn from(error: KekError) -> Self {
        Self::Kek(error)
    }
}

impl Refusal {
    fn invalid(error: impl fmt::Display) -> Self {
        Self::Invalid(error.to_string())
    }

    /// Logs the cause, unless that was done too often, and tells the client what it may know.
    fn into_status(self, logged: &Throttle) -> Status {
        let pass = logged.pass();
        if let Some(more_before @ 1..) = pass {
            warn!(more_before, "more calls were refused than are logged");
        }
        let is_logged = pass.is_some();
        match self {
            Self::Kek(error) => {
                let kind = error.kind();
                if is_logged {
                    warn!(kind = kind.as_str(), error = %ErrorChain::new(&error), "refused");
                }
                Status::new(code_of(kind), public_message(&error))
            }
            Self::Invalid(message) => {
                if is_logged {
                    warn!(kind = "invalid_request", error = message, "refused");
                }
                Status::invalid_argument(message)
            }
            Self::Answer(len) => {
                let message = "the key encryption key gave an answer outside the limits of KMS v2";
                if is_logged {
                    warn!(len, message);
                }
                Status::internal(message)
            }
        }
    }
}

fn check_len(field: &str, len: usize, max: usize) -> Result<(), Refusal> {
    match len {
        0 => Err(Refusal::Invalid(format!("{field} is empty"))),
        len if len > max => Err(Refusal::Invalid(format!(
            "{field} has {len} bytes, more than the {max} allowed"
        ))),
        _ => Ok(()),
    }
}

fn check_answer(len: usize, max: usize) -> Result<(), Refusal> {
    if (1..=max).contains(&len) {
        return Ok(());
    }
    Err(Refusal::Answer(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let expected = [
            (KekErrorKind::Unavailable, Code::Unavailable),
            (KekErrorKind::Denied, Code::PermissionDenied),
            (KekErrorKind::UnknownKey, Code::NotFound),
            (KekErrorKind::Malformed, Code::InvalidArgument),
            (KekErrorKind::Authentication, Code::DataLoss),
            (KekErrorKind::Exhausted, Code::ResourceExhausted),
            (KekErrorKind::Misuse, Code::InvalidArgument),
            (KekErrorKind::Internal, Code::Internal),
        ];
        assert_eq!(expected.map(|(kind, _)| kind), KekErrorKind::ALL);
        for (kind, code) in expected {
            assert_eq!(code_of(kind), code, "{kind:?}");
        }
    }

    #[test]
    fn clients_see_the_key_id_but_not_the_cause() {
        let source = "dial 10.1.2.3: refused".into();
        let error = KekError::Unavailable { source };
        assert_eq!(
            public_message(&error),
            "the key encryption key is unavailable"
        );
        assert_eq!(
            ErrorChain::new(&error).to_string(),
            "the key encryption key is unavailable: dial 10.1.2.3: refused"
        );
        let key_id = KeyId::new("a\nb").unwrap();
        assert_eq!(
            public_message(&KekError::UnknownKey(key_id.clone())),
            "key id `a\\nb` is unknown"
        );
        assert_eq!(
            public_message(&KekError::RetiredKey(key_id)),
            "key id `a\\nb` was retired"
        );
    }

    #[test]
    fn a_uid_cannot_flood_or_break_a_log_line() {
        assert_eq!(Uid("").to_string(), "");
        assert_eq!(Uid("a\nb\u{1b}").to_string(), "a\\nb\\u{1b}");
        let long = Uid(&"x".repeat(10_000)).to_string();
        assert_eq!(long, format!("{}...", "x".repeat(64)));
    }
}
