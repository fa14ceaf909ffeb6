//! The plugin under examination and what earlier checks learned about it.

use core::time::Duration;

use kdc_envelope::kmsv2::SEED_LEN;
use kdc_envelope::random;
use tonic::Code;

use super::{CheckOptions, Finding};
use crate::client::{CallError, EncryptAnswer, KmsClient, StatusAnswer};
use crate::server::SocketAddress;

pub(super) struct Subject {
    pub(super) socket: SocketAddress,
    pub(super) client: KmsClient,
    pub(super) pairs: usize,
    pub(super) is_reachable: bool,
    /// What the first Status answered.
    pub(super) status: Option<Result<StatusAnswer, CallError>>,
    /// What repeated Status calls answered.
    pub(super) repeats: Vec<StatusAnswer>,
    pub(super) sample: Option<Sample>,
    /// What bad requests were refused with.
    pub(super) refusals: Vec<(Code, String)>,
    /// Status calls made while the plugin was busy.
    pub(super) busy_statuses: Vec<(Duration, Result<StatusAnswer, CallError>)>,
}

/// A plaintext and what the plugin made of it.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) plaintext: Vec<u8>,
    pub(super) wrapped: EncryptAnswer,
}

/// What the plugin did with a bad request.
pub(super) enum Reaction {
    /// A gRPC error.
    Refused,
    /// The plaintext, as if nothing were wrong.
    SamePlaintext,
    /// Other bytes: what must never happen.
    OtherPlaintext(usize),
    /// No answer, or not from gRPC.
    NoAnswer(CallError),
}

impl Subject {
    pub(super) fn new(socket: &SocketAddress, options: &CheckOptions) -> Self {
        Self {
            socket: socket.clone(),
            client: KmsClient::new(socket).with_timeout(options.timeout),
            pairs: options.pairs,
            is_reachable: false,
            status: None,
            repeats: Vec::new(),
            sample: None,
            refusals: Vec::new(),
            busy_statuses: Vec::new(),
        }
    }

    /// The first good Status answer; without one, the reason to skip what needs it.
    pub(super) fn status(&self) -> Result<&StatusAnswer, Finding> {
        match &self.status {
            Some(Ok(status)) => Ok(status),
            Some(Err(_)) => Err(Finding::skip("Status does not answer")),
            None => Err(Finding::skip("the socket cannot be reached")),
        }
    }

    /// The first answer to Encrypt; without one, the reason to skip what needs it.
    pub(super) fn sample(&self) -> Result<Sample, Finding> {
        match &self.sample {
            Some(sample) => Ok(sample.clone()),
            None if self.is_reachable => Err(Finding::skip("Encrypt does not answer")),
            None => Err(Finding::skip("the socket cannot be reached")),
        }
    }

    /// Has Decrypt answer to `wrapped`, a bad version of `sample`, and remembers the error.
    pub(super) async fn provoke(&mut self, sample: &Sample, wrapped: &EncryptAnswer) -> Reaction {
        match self.client.decrypt(wrapped).await {
            Ok(bytes) if bytes.expose() == sample.plaintext => Reaction::SamePlaintext,
            Ok(bytes) => Reaction::OtherPlaintext(bytes.expose().len()),
            Err(CallError::Refused { code, message, .. }) => {
                self.refusals.push((code, message));
                Reaction::Refused
            }
            Err(error) => Reaction::NoAnswer(error),
        }
    }

    /// The time that an answer may take before it looks dangerous: a third of the deadline.
    pub(super) fn leisurely(&self) -> Duration {
        self.client.timeout() / 3
    }
}

/// A plaintext like a seed.
pub(super) fn seed_like() -> Result<Vec<u8>, Finding> {
    random_bytes(SEED_LEN)
}

pub(super) fn random_bytes(len: usize) -> Result<Vec<u8>, Finding> {
    let mut bytes = vec![0; len];
    random::fill(&mut bytes).map_err(Finding::skip)?;
    Ok(bytes)
}

/// Encrypts `plaintext`, decrypts the answer and compares.
pub(super) async fn round_trip(client: &KmsClient, plaintext: &[u8]) -> Result<(), String> {
    let wrapped = client.encrypt(plaintext).await.map_err(to_text)?;
    let unwrapped = client.decrypt(&wrapped).await.map_err(to_text)?;
    if unwrapped.expose() == plaintext {
        Ok(())
    } else {
        Err("Decrypt gave back other bytes".to_owned())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn to_text(error: CallError) -> String {
    error.to_string()
}
