//! The state machine of one KMS v2 provider: no calls, no clock, no waiting.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::{
    DekSource, DekSourceType, EncryptedObject, InvalidObject, OpenError, ProviderName, RowSealer,
    SealError, Seed,
};

use super::cache::{self, CacheKey, DekSourceCache};
use crate::client::{CallError, EncryptAnswer, StatusAnswer};

/// One provider of one kube-apiserver process.
///
/// `now` is the time since any fixed moment and never goes back. A check is: [`plan`](Self::plan), then Status if asked for, then
/// [`status_answered`](Self::status_answered), then Encrypt if asked for, then [`encrypt_answered`](Self::encrypt_answered). Two
/// checks must not overlap.
///
/// # A flaw that is modelled as it is
/// The key id of a Status answer is used even if `healthz` is not `ok` or the version is wrong (kubernetes/kubernetes#138950, open in
/// 1.37). A plugin that reports trouble in `healthz` and still names its key id is unhealthy, but its writes never
/// expire. Only a gRPC error, or no valid key id, lets the write window run out.
#[derive(Debug)]
pub struct Provider {
    name: ProviderName,
    version: Option<String>,
    state: Option<State>,
    last_check: Option<LastCheck>,
    sources: DekSourceCache,
}

/// The seed in use and what the plugin made of it.
#[derive(Debug)]
struct State {
    sealer: Arc<RowSealer>,
    source: Arc<DekSource>,
    cache_key: CacheKey,
    key_id: String,
    writes_until: Duration,
}

#[derive(Debug)]
struct LastCheck {
    received: Duration,
    outcome: Result<(), CheckError>,
}

/// What a check needs first.
#[derive(Debug)]
#[non_exhaustive]
pub enum Plan {
    /// Nothing: the last result is recent enough.
    Cached(Result<(), CheckError>),
    /// A Status call.
    CallStatus,
}

/// What a Status answer leads to.
#[derive(Debug)]
#[non_exhaustive]
pub enum AfterStatus {
    /// The check is over.
    Done(Result<(), CheckError>),
    /// A new seed must be wrapped: an Encrypt call.
    CallEncrypt(Rotation),
}

/// A change of key id that waits for its Encrypt call.
#[derive(Debug)]
pub struct Rotation {
    key_id: String,
    writes_until: Duration,
    problems: Vec<Problem>,
}

/// What opening a row needs first.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadPlan {
    /// Nothing: its DEK source is here.
    Open(Arc<DekSource>),
    /// A Decrypt call.
    CallDecrypt(DecryptNeed),
}

/// A row whose wrapped key is not in the cache.
#[derive(Debug)]
pub struct DecryptNeed {
    cache_key: CacheKey,
    dek_source_type: DekSourceType,
}

/// Why a check failed: everything that was wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckError(Vec<Problem>);

/// One thing wrong with a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Status did not answer.
    #[error(transparent)]
    Status(CallError),
    /// The plugin says that it is not well.
    #[error("healthz is `{}`, not `ok`", .0.escape_debug())]
    Healthz(String),
    /// Neither `v2` nor `v2beta1`.
    #[error("version is `{}`, not `v2` or `v2beta1`", .0.escape_debug())]
    Version(String),
    /// Another version than at first.
    #[error("version changed from `{first}` to `{now}`")]
    VersionChanged {
        /// The version of the first good answer.
        first: String,
        /// The version of this one.
        now: String,
    },
    /// Empty or too long.
    #[error("the key id in Status has {0} bytes; 1 to 1024 are allowed")]
    KeyIdLength(usize),
    /// No random bytes for a seed.
    #[error(transparent)]
    Seed(SealError),
    /// Encrypt did not answer.
    #[error(transparent)]
    Encrypt(CallError),
    /// Encrypt answered something that must not be stored.
    #[error("the answer to Encrypt cannot be used: {0}")]
    InvalidAnswer(InvalidObject),
    /// Encrypt used another key than Status named.
    #[error("Status names key id `{}`, Encrypt used `{}`", .status.escape_debug(), .encrypt.escape_debug())]
    KeyIdMismatch {
        /// The key id in Status.
        status: String,
        /// The key id in the answer to Encrypt.
        encrypt: String,
    },
}

/// No check succeeded since the start, so nothing can be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no seed yet: the plugin has not passed a check since the start")]
#[non_exhaustive]
pub struct NoState;

/// A row cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No check succeeded since the start.
    #[error(transparent)]
    NoState(#[from] NoState),
    /// The last check that could extend the write window is too long ago.
    #[error("the seed may not be used for writing any more: the window ended {since:?} ago")]
    Expired {
        /// Time since its end.
        since: Duration,
    },
    /// The row does not seal.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Provider {
    /// Time between background checks after a good one.
    pub const POLL_HEALTHY: Duration = Duration::from_secs(60);
    /// Time between background checks after a bad one.
    pub const POLL_UNHEALTHY: Duration = Duration::from_secs(10);
    /// How long a good result answers further checks, such as readiness probes.
    pub const KEEP_GOOD: Duration = Duration::from_secs(20);
    /// How long a bad result does.
    pub const KEEP_BAD: Duration = Duration::from_secs(3);
    /// How long a seed may be used for writing after the last Status that confirmed its key id.
    pub const WRITE_WINDOW: Duration = Duration::from_secs(180);

    /// A provider as it is when the process starts.
    #[must_use]
    pub fn new(name: ProviderName) -> Self {
        Self {
            name,
            version: None,
            state: None,
            last_check: None,
            sources: DekSourceCache::default(),
        }
    }

    /// Its name in EncryptionConfiguration.
    #[must_use]
    pub const fn name(&self) -> &ProviderName {
        &self.name
    }

    /// The key id that rows are written under; `None` before the first good check.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.state.as_ref().map(|state| state.key_id.as_str())
    }

    /// The number of DEK sources kept (metric `dek_source_cache_size` upstream).
    #[must_use]
    pub fn dek_sources(&self) -> usize {
        self.sources.len()
    }

    /// Begins a check.
    #[must_use]
    pub fn plan(&self, now: Duration) -> Plan {
        let Some(last) = &self.last_check else {
            return Plan::CallStatus;
        };
        let keep = match last.outcome {
            Ok(()) => Self::KEEP_GOOD,
            Err(_) => Self::KEEP_BAD,
        };
        if now.saturating_sub(last.received) < keep {
            Plan::Cached(last.outcome.clone())
        } else {
            Plan::CallStatus
        }
    }

    /// How long the background loop waits before its next check.
    #[must_use]
    pub const fn poll_interval(&self) -> Duration {
        match self.last_check {
            Some(LastCheck {
                outcome: Ok(()), ..
            }) => Self::POLL_HEALTHY,
            _ => Self::POLL_UNHEALTHY,
        }
    }

    /// Takes in what Status answered at `now`.
    pub fn status_answered(
        &mut self,
        now: Duration,
        answer: Result<StatusAnswer, CallError>,
    ) -> AfterStatus {
        let status = match answer {
            Ok(status) => status,
            Err(error) => return AfterStatus::Done(self.finish(now, vec![Problem::Status(error)])),
        };
        let mut problems = self.problems_of(&status);
        if !(1..=kdc_envelope::KeyId::MAX_LEN).contains(&status.key_id.len()) {
            problems.push(Problem::KeyIdLength(status.key_id.len()));
            return AfterStatus::Done(self.finish(now, problems));
        }
        let writes_until = now + Self::WRITE_WINDOW;
        match &mut self.state {
            Some(state) if state.key_id == status.key_id => {
                state.writes_until = writes_until;
                AfterStatus::Done(self.finish(now, problems))
            }
            _ => AfterStatus::CallEncrypt(Rotation {
                key_id: status.key_id,
                writes_until,
                problems,
            }),
        }
    }

    /// Takes in what Encrypt answered at `now` for a fresh seed. Unless all is well, the old state stays.
    ///
    /// # Errors
    /// [`CheckError`] if the check failed.
    pub fn encrypt_answered(
        &mut self,
        now: Duration,
        rotation: Rotation,
        answer: Result<(Seed, EncryptAnswer), Problem>,
    ) -> Result<(), CheckError> {
        let Rotation {
            key_id,
            writes_until,
            mut problems,
        } = rotation;
        match answer
            .and_then(|(seed, wrapped)| self.state_of(&key_id, writes_until, seed, &wrapped))
        {
            Ok(state) => self.state = Some(state),
            Err(problem) => problems.push(problem),
        }
        self.finish(now, problems)
    }

    /// What seals a row at `now`; puts the seed into the cache anew, as every write does upstream.
    ///
    /// # Errors
    /// [`WriteError::NoState`] before the first good check, [`WriteError::Expired`] after the write window.
    pub fn sealer(&mut self, now: Duration) -> Result<Arc<RowSealer>, WriteError> {
        let state = self.state.as_ref().ok_or(NoState)?;
        if now > state.writes_until {
            let since = now - state.writes_until;
            return Err(WriteError::Expired { since });
        }
        let source = Arc::clone(&state.source);
        self.sources.insert(state.cache_key, source, now);
        Ok(Arc::clone(&state.sealer))
    }

    /// Begins to open a row.
    ///
    /// # Errors
    /// [`NoState`] before the first good check: kube-apiserver reads nothing then.
    pub fn plan_read(&self, object: &EncryptedObject<'_>) -> Result<ReadPlan, NoState> {
        if self.state.is_none() {
            return Err(NoState);
        }
        let cache_key = cache::key_of_row(object);
        Ok(match self.sources.find(&cache_key) {
            Some(source) => ReadPlan::Open(source),
            None => ReadPlan::CallDecrypt(DecryptNeed {
                cache_key,
                dek_source_type: object.dek_source_type,
            }),
        })
    }

    /// Takes in what Decrypt answered at `now`, and keeps it.
    ///
    /// # Errors
    /// [`OpenError::DekSourceLength`] if the plugin answered with bytes of a wrong length.
    #[expect(clippy::needless_pass_by_value, reason = "a need is met once")]
    pub fn decrypt_answered(
        &mut self,
        now: Duration,
        need: DecryptNeed,
        unwrapped: SecretBytes,
    ) -> Result<Arc<DekSource>, OpenError> {
        let source = Arc::new(DekSource::new(need.dek_source_type, unwrapped)?);
        self.sources
            .insert(need.cache_key, Arc::clone(&source), now);
        Ok(source)
    }

    /// Whether a no-op update of the row would store it anew: another key id than the current one, or the older type.
    #[must_use]
    pub fn is_stale(&self, object: &EncryptedObject<'_>) -> bool {
        self.key_id() != Some(object.key_id)
            || object.dek_source_type != DekSourceType::HkdfSha256XnonceAesGcmSeed
    }

    fn problems_of(&mut self, status: &StatusAnswer) -> Vec<Problem> {
        let mut problems = Vec::new();
        if status.healthz != "ok" {
            problems.push(Problem::Healthz(status.healthz.clone()));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            problems.push(Problem::Version(status.version.clone()));
            return problems;
        }
        let first = self.version.get_or_insert_with(|| status.version.clone());
        if *first != status.version {
            problems.push(Problem::VersionChanged {
                first: first.clone(),
                now: status.version.clone(),
            });
        }
        problems
    }

    fn state_of(
        &self,
        status_key_id: &str,
        writes_until: Duration,
        seed: Seed,
        answer: &EncryptAnswer,
    ) -> Result<State, Problem> {
        let wrapped = answer.wrapped_key().map_err(Problem::InvalidAnswer)?;
        let key_id = wrapped.key_id.as_str().to_owned();
        let dek_source_type = DekSourceType::HkdfSha256XnonceAesGcmSeed;
        let cache_key = cache::key_of(
            dek_source_type,
            &wrapped.ciphertext,
            &key_id,
            wrapped.annotations.iter(),
        );
        let copy = SecretBytes::new(seed.expose().to_vec());
        let source = DekSource::new(dek_source_type, copy)
            .map_err(|_| Problem::InvalidAnswer(InvalidObject::EmptyData))?;
        let sealer = RowSealer::new(&self.name, seed, &wrapped).map_err(Problem::InvalidAnswer)?;
        if key_id != status_key_id {
            return Err(Problem::KeyIdMismatch {
                status: status_key_id.to_owned(),
                encrypt: key_id,
            });
        }
        Ok(State {
            sealer: Arc::new(sealer),
            source: Arc::new(source),
            cache_key,
            key_id,
            writes_until,
        })
    }

    fn finish(&mut self, now: Duration, problems: Vec<Problem>) -> Result<(), CheckError> {
        let outcome = if problems.is_empty() {
            Ok(())
        } else {
            Err(CheckError(problems))
        };
        self.last_check = Some(LastCheck {
            received: now,
            outcome: outcome.clone(),
        });
        outcome
    }
}

impl CheckError {
    /// Everything that was wrong, in the order in which kube-apiserver looks.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for CheckError {}
