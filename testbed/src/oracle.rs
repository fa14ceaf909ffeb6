//! Upstream's own storage transformers, behind a small Go program in
//! `testbed/oracle`: what they seal we must open, what we seal they must open,
//! and what they refuse we must refuse.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::encryption_config::with_providers;
use crate::process::Process;
use crate::servers::{Server, prepare, prepare_in_background};

const SERVE_LIMIT: Duration = Duration::from_secs(30);

/// The running program. It ends with this value, and with our process.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A KMS that knows one wrapped key, and gives nothing for any other.
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "tests build it")]
pub struct KmsKey {
    /// The KMS provider's name.
    pub name: String,
    /// The seed or DEK that the KMS gives. Sealing with [`Provider::KmsV2`]
    /// uses it as the seed; without one, and with all other providers, upstream
    /// makes its own.
    pub dek_source: Option<Vec<u8>>,
    /// What the KMS gives it for.
    pub wrapped: Vec<u8>,
    /// Id of the KMS key; KMS v1 has none.
    pub key_id: String,
    /// Annotations; KMS v1 has none.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// How to seal and open rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Provider {
    /// KMS v2 with a seed, as it has been written since 1.29.
    KmsV2(KmsKey),
    /// KMS v2 with an AES-GCM key and counter nonces, as 1.27 and 1.28 wrote it.
    KmsV2Legacy(KmsKey),
    /// KMS v1.
    KmsV1(KmsKey),
    /// KMS v1 with AES-CBC, as it was written up to 1.24.
    KmsV1Cbc(KmsKey),
    /// The providers of one resource in an EncryptionConfiguration, without KMS.
    Config {
        /// The file's text.
        config: String,
        /// Such as `secrets`, or `deployments.apps`.
        resource: String,
    },
}

impl Provider {
    /// A local provider (`aesgcm`, `aescbc` or `secretbox`) with named keys, of
    /// which the first writes.
    #[must_use]
    pub fn local(provider: &str, keys: &[(&str, &[u8])]) -> Self {
        let keys: Vec<Value> = keys
            .iter()
            .map(|(name, key)| json!({"name": name, "secret": BASE64.encode(key)}))
            .collect();
        Self::of(&json!({provider: {"keys": keys}}))
    }

    /// The identity provider.
    #[must_use]
    pub fn identity() -> Self {
        Self::of(&json!({"identity": {}}))
    }

    fn of(provider: &Value) -> Self {
        let config = with_providers(&["secrets"], std::slice::from_ref(provider));
        Self::Config {
            config,
            resource: "secrets".to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::KmsV2(key) => key.to_json("kmsv2"),
            Self::KmsV2Legacy(key) => key.to_json("kmsv2-legacy"),
            Self::KmsV1(key) => key.to_json("kmsv1"),
            Self::KmsV1Cbc(key) => key.to_json("kmsv1-cbc"),
            Self::Config { config, resource } => {
                json!({"type": "config", "config": config, "resource": resource})
            }
        }
    }
}

impl KmsKey {
    fn to_json(&self, kind: &str) -> Value {
        let annotations: BTreeMap<&str, String> = self
            .annotations
            .iter()
            .map(|(name, value)| (name.as_str(), BASE64.encode(value)))
            .collect();
        json!({
            "type": kind,
            "name": self.name,
            "dek_source": self.dek_source.as_ref().map(|source| BASE64.encode(source)),
            "wrapped": BASE64.encode(&self.wrapped),
            "key_id": self.key_id,
            "annotations": annotations,
        })
    }
}

/// Upstream's refusal, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("upstream refuses: {0}")]
#[non_exhaustive]
pub struct Refusal(pub String);

/// A row that upstream has sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// The whole value, as it would be stored.
    pub row: Vec<u8>,
    /// The seed or DEK behind it; empty with local providers.
    pub dek_source: Vec<u8>,
}

/// A row that upstream has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// What was sealed.
    pub plaintext: Vec<u8>,
    /// Whether kube-apiserver would rewrite the row at the next update.
    pub stale: bool,
}

/// An EncryptedObject that upstream finds valid, as it reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptedObject {
    /// The sealed payload.
    pub encrypted_data: Vec<u8>,
    /// Id of the KMS key.
    pub key_id: String,
    /// The wrapped seed or DEK.
    pub encrypted_dek_source: Vec<u8>,
    /// 0 for an AES-GCM key, 1 for a seed.
    pub dek_source_type: i32,
    /// Annotations.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

impl Oracle {
    /// Starts the program; the first time it is built, which blocks for minutes.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start() -> Result<Self, Error> {
        let program = prepare(Server::Oracle, &mut |_| {})?;
        let mut child = Command::new(program)
            .arg("transform")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Process {
                action: "start",
                name: "oracle".to_owned(),
                source,
            })?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(answers)) => Ok(Self {
                child,
                requests,
                answers: BufReader::new(answers),
            }),
            _ => Err(unexpected("it has no pipes")),
        }
    }

    /// Lets upstream seal a row. `aad` is the etcd key.
    ///
    /// # Errors
    /// When the program fails; upstream's refusal is no such failure.
    pub fn seal(
        &mut self,
        provider: &Provider,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Result<Sealed, Refusal>, Error> {
        let answer = self.row("seal", provider, aad, plaintext)?;
        answer
            .map(|answer| {
                Ok(Sealed {
                    row: bytes(&answer, "value")?,
                    dek_source: bytes(&answer, "dek_source")?,
                })
            })
            .transpose_refusal()
    }

    /// Lets upstream open a row. `aad` is the etcd key.
    ///
    /// # Errors
    /// When the program fails; upstream's refusal is no such failure.
    pub fn open(
        &mut self,
        provider: &Provider,
        aad: &[u8],
        row: &[u8],
    ) -> Result<Result<Opened, Refusal>, Error> {
        let answer = self.row("open", provider, aad, row)?;
        answer
            .map(|answer| {
                let stale = answer
                    .get("stale")
                    .and_then(Value::as_bool)
                    .unwrap_or_default();
                Ok(Opened {
                    plaintext: bytes(&answer, "value")?,
                    stale,
                })
            })
            .transpose_refusal()
    }

    /// Lets upstream read and validate the protobuf of a KMS v2 row.
    ///
    /// # Errors
    /// When the program fails; upstream's refusal is no such failure.
    pub fn validate_kms_v2(
        &mut self,
        object: &[u8],
    ) -> Result<Result<EncryptedObject, Refusal>, Error> {
        let answer = self.call(&json!({"op": "validate-kmsv2", "value": BASE64.encode(object)}))?;
        answer
            .map(|answer| parse_object(&answer))
            .transpose_refusal()
    }

    /// Lets upstream load an EncryptionConfiguration, as kube-apiserver does
    /// when it starts. It waits for no plugin.
    ///
    /// # Errors
    /// When the program fails; upstream's refusal is no such failure.
    pub fn load_config(&mut self, config: impl AsRef<[u8]>) -> Result<Result<(), Refusal>, Error> {
        let file = BASE64.encode(config);
        let answer = self.call(&json!({"op": "load-config", "value": file}))?;
        Ok(answer.map(|_| ()))
    }

    /// Whether upstream takes a text as the key of an annotation.
    ///
    /// # Errors
    /// When the program fails.
    pub fn is_fqdn(&mut self, text: &str) -> Result<bool, Error> {
        Ok(self.call(&json!({"op": "is-fqdn", "text": text}))?.is_ok())
    }

    fn row(
        &mut self,
        op: &str,
        provider: &Provider,
        aad: &[u8],
        value: &[u8],
    ) -> Result<Result<Value, Refusal>, Error> {
        self.call(&json!({
            "op": op,
            "provider": provider.to_json(),
            "aad": BASE64.encode(aad),
            "value": BASE64.encode(value),
        }))
    }

    fn call(&mut self, request: &Value) -> Result<Result<Value, Refusal>, Error> {
        let failed = |source| Error::Process {
            action: "ask",
            name: "oracle".to_owned(),
            source,
        };
        writeln!(self.requests, "{request}").map_err(failed)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(failed)?;
        let answer: Value = serde_json::from_str(&line)
            .map_err(|error| unexpected(&format!("{line:?}: {error}")))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) if error.starts_with("bad request") => Err(unexpected(error)),
            Some(error) => Ok(Err(Refusal(error.to_owned()))),
            None => Ok(Ok(answer)),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What upstream's transformer takes, from `oracle bench`.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Bench {
    /// Version of Go.
    pub go: String,
    /// What is in upstream's caches while it is timed.
    pub cached: String,
    /// One for each operation and size.
    pub results: Vec<Figure>,
}

/// The time of one operation on one thread.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Figure {
    /// `seal`, `open` or `open-uncached`.
    pub op: String,
    /// Size of the plaintext.
    pub bytes: usize,
    /// Nanoseconds per operation, the median of the rounds.
    pub ns_per_op: f64,
    /// All rounds.
    pub rounds: Vec<f64>,
}

/// Times upstream's KMS v2 transformer; takes about 20 seconds.
///
/// # Errors
/// When the program cannot be built or fails.
pub fn bench() -> Result<Bench, Error> {
    let output = Command::new(prepare(Server::Oracle, &mut |_| {})?)
        .arg("bench")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Process {
            action: "start",
            name: "oracle".to_owned(),
            source,
        })?;
    serde_json::from_slice(&output.stdout).map_err(|error| unexpected(&error.to_string()))
}

/// A KMS v2 plugin on upstream's Go server, which listens when this returns. It
/// does the same cryptography as the local keyring, or with `noop` none.
///
/// # Errors
/// When the program cannot be built or does not listen.
pub async fn serve(socket: &Path, noop: bool, log: &Path) -> Result<Process, Error> {
    let program = prepare_in_background(Server::Oracle).await?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--socket").arg(socket);
    if noop {
        command.arg("--noop");
    }
    let mut process = Process::start("the Go plugin", &command, log)?;
    let start = Instant::now();
    while UnixStream::connect(socket).is_err() {
        process.ensure_running()?;
        if start.elapsed() >= SERVE_LIMIT {
            return Err(process.deadline("listening", SERVE_LIMIT, "no socket"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(process)
}

trait TransposeRefusal<T> {
    fn transpose_refusal(self) -> Result<Result<T, Refusal>, Error>;
}

impl<T> TransposeRefusal<T> for Result<Result<T, Error>, Refusal> {
    fn transpose_refusal(self) -> Result<Result<T, Refusal>, Error> {
        match self {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(error)) => Err(error),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

fn parse_object(answer: &Value) -> Result<EncryptedObject, Error> {
    let object = answer.get("object").unwrap_or(&Value::Null);
    let annotations = object.get("annotations").and_then(Value::as_object);
    let number = object.get("dek_source_type").and_then(Value::as_i64);
    Ok(EncryptedObject {
        encrypted_data: bytes(object, "encrypted_data")?,
        key_id: object
            .get("key_id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        encrypted_dek_source: bytes(object, "encrypted_dek_source")?,
        dek_source_type: number
            .and_then(|number| number.try_into().ok())
            .ok_or_else(|| unexpected("no DEK source type"))?,
        annotations: annotations
            .into_iter()
            .flatten()
            .map(|(name, value)| Ok((name.clone(), decode(value)?)))
            .collect::<Result<_, Error>>()?,
    })
}

fn bytes(object: &Value, name: &str) -> Result<Vec<u8>, Error> {
    decode(object.get(name).unwrap_or(&Value::Null))
}

/// Go writes no bytes as null, or leaves them out.
fn decode(value: &Value) -> Result<Vec<u8>, Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => BASE64
            .decode(text)
            .map_err(|error| unexpected(&error.to_string())),
        other => Err(unexpected(&format!("{other} where bytes belong"))),
    }
}

fn unexpected(detail: &str) -> Error {
    Error::Unexpected {
        name: "oracle",
        detail: detail.to_owned(),
    }
}
