//! [`Provider`] with a plugin to call and a clock to read.

use core::fmt;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::{OpenError, ParseError, ProviderName, Seed, Value};
use tokio::time::{Instant, sleep};

use super::{AfterStatus, CheckError, NoState, Plan, Problem, Provider, ReadPlan, WriteError};
use crate::client::{CallError, EncryptAnswer, KmsClient};

/// Acts as one kube-apiserver process with one KMS v2 provider.
pub struct ApiServer {
    client: KmsClient,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    provider: Mutex<Provider>,
    /// Held over a whole check: upstream's probes wait for each other too.
    checking: tokio::sync::Mutex<()>,
}

/// A row's plaintext and whether kube-apiserver would store it anew.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// What was stored.
    pub plaintext: SecretBytes,
    /// See [`Provider::is_stale`].
    pub is_stale: bool,
}

/// A row cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is no KMS v2 row.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It belongs to another provider.
    #[error("the row was written for provider `{}`, not `{expected}`", .found.escape_debug())]
    ForeignProvider {
        /// The name in the row.
        found: String,
        /// The name of this provider.
        expected: ProviderName,
    },
    /// No check succeeded since the start.
    #[error(transparent)]
    NoState(#[from] NoState),
    /// The plugin did not unwrap its DEK source.
    #[error(transparent)]
    Decrypt(#[from] CallError),
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl ApiServer {
    /// A process that has just started; `clock` gives the time since any fixed moment, such as [`monotonic_clock`].
    pub fn new(
        client: KmsClient,
        name: ProviderName,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self {
            client,
            clock: Box::new(clock),
            provider: Mutex::new(Provider::new(name)),
            checking: tokio::sync::Mutex::new(()),
        }
    }

    /// What a readiness probe or the background loop does: the cached result, or Status and, for a new key id, Encrypt.
    ///
    /// # Errors
    /// [`CheckError`], upon which kube-apiserver is not ready.
    pub async fn check_now(&self) -> Result<(), CheckError> {
        let _guard = self.checking.lock().await;
        if let Plan::Cached(outcome) = self.provider().plan(self.now()) {
            return outcome;
        }
        let status = self.client.status().await;
        let verdict = self.provider().status_answered(self.now(), status);
        match verdict {
            AfterStatus::Done(outcome) => outcome,
            AfterStatus::CallEncrypt(rotation) => {
                let wrapped = self.wrap_new_seed().await;
                self.provider()
                    .encrypt_answered(self.now(), rotation, wrapped)
            }
        }
    }

    /// The background loop: checks now, and then every 60 s, or every 10 s while the last check failed. Ends when it is dropped.
    pub async fn run(&self) {
        loop {
            // A failure shows in the state; the loop can report it nowhere else.
            drop(self.check_now().await);
            let pause = self.provider().poll_interval();
            sleep(pause).await;
        }
    }

    /// Encrypts what is stored at `etcd_key`; never calls the plugin.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn seal(&self, etcd_key: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, WriteError> {
        let sealer = self.provider().sealer(self.now())?;
        Ok(sealer.seal(plaintext, etcd_key)?)
    }

    /// Decrypts the row stored at `etcd_key`; calls the plugin for a seed it has not met yet, once for each
    /// concurrent reader, as upstream does.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn open(&self, etcd_key: &[u8], row: &[u8]) -> Result<Opened, ReadError> {
        let Value {
            provider, object, ..
        } = Value::parse(row)?;
        let plan = {
            let own = self.provider();
            if provider != own.name().as_str().as_bytes() {
                return Err(ReadError::ForeignProvider {
                    found: String::from_utf8_lossy(provider).into_owned(),
                    expected: own.name().clone(),
                });
            }
            own.plan_read(&object)?
        };
        let source = match plan {
            ReadPlan::Open(source) => source,
            ReadPlan::CallDecrypt(need) => {
                let wrapped = object.wrapped_key().map_err(ParseError::from)?;
                let unwrapped = self.client.decrypt(&EncryptAnswer::from(wrapped)).await?;
                self.provider()
                    .decrypt_answered(self.now(), need, unwrapped)?
            }
        };
        Ok(Opened {
            plaintext: source.open(&object, etcd_key)?,
            is_stale: self.provider().is_stale(&object),
        })
    }

    /// The key id that rows are written under; `None` before the first good check.
    #[must_use]
    pub fn key_id(&self) -> Option<String> {
        self.provider().key_id().map(str::to_owned)
    }

    /// The number of DEK sources kept.
    #[must_use]
    pub fn dek_sources(&self) -> usize {
        self.provider().dek_sources()
    }

    async fn wrap_new_seed(&self) -> Result<(Seed, EncryptAnswer), Problem> {
        let seed = Seed::random().map_err(Problem::Seed)?;
        let answer = self.client.encrypt(seed.expose()).await;
        Ok((seed, answer.map_err(Problem::Encrypt)?))
    }

    fn now(&self) -> Duration {
        (self.clock)()
    }

    fn provider(&self) -> MutexGuard<'_, Provider> {
        self.provider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer")
            .field("client", &self.client)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// The time since this call, by the clock of tokio's timers.
pub fn monotonic_clock() -> impl Fn() -> Duration + Send + Sync + 'static {
    let start = Instant::now();
    move || start.elapsed()
}
