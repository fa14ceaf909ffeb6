//! Who unwraps the key of a row: a keyring, a bare secret, a running plugin, or what an EncryptionConfiguration names.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use kdc_envelope::kmsv2::{EncryptedObject, InvalidObject, seed_aad};
use kdc_envelope::local::{Keyring, LocalKek, keyring_file, root_secret};
use kdc_envelope::{Aad, KekError, KeyEncryptionKey as _, SecretBytes, WrappedKey};
use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::encryption_config::KmsProvider;
use kdc_envelope_kms::client::{CallError, EncryptAnswer, KmsClient};
use kdc_envelope_kms::server::{InvalidAddress, SocketAddress};
use tokio::runtime::Runtime;
use tonic::Code;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, exit_of_kek};
use crate::runtime;

/// Where the keys are. One of `--keyring`, `--root-secret` and `--socket` may stand beside `--encryption-config`, and then
/// answers for every KMS provider in it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
#[command(group = ArgGroup::new("keys").required(true).multiple(true)
    .args(["keyring", "root_secret", "socket", "encryption_config"]))]
#[command(group = ArgGroup::new("kek").args(["keyring", "root_secret", "socket"]))]
#[command(group = ArgGroup::new("local").args(["keyring", "root_secret"]))]
pub(super) struct KeyFlags {
    /// Keyring file of the plugin that wrote the row.
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// File with the 32-byte root secret of that plugin.
    #[arg(long, value_name = "FILE")]
    root_secret: Option<PathBuf>,
    /// The cluster name that the plugin was started with.
    #[arg(
        long,
        value_name = "NAME",
        requires = "local",
        conflicts_with = "socket"
    )]
    cluster: Option<String>,
    /// Socket of a running KMS v2 plugin, such as `unix:///run/kms-plugin/kms.sock`.
    #[arg(long, value_name = "ENDPOINT")]
    socket: Option<SocketAddress>,
    /// EncryptionConfiguration file of kube-apiserver; its KMS v2 plugins are asked at their endpoints.
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
    /// Time limit for each call of the plugin.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// The keys that the flags name.
#[derive(Debug)]
pub(super) struct Keys {
    /// With the file that it is from.
    pub(super) config: Option<(PathBuf, EncryptionConfiguration)>,
    kek: Option<Kek>,
    runtime: Runtime,
}

#[derive(Debug)]
enum Kek {
    Local { kek: Box<LocalKek>, aad: Vec<u8> },
    Plugin { client: KmsClient, endpoint: String },
}

/// The key of a row cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnwrapError {
    #[error(transparent)]
    Kek(#[from] KekError),
    #[error("the plugin at `{endpoint}`")]
    Call { endpoint: String, source: CallError },
    #[error(transparent)]
    Object(#[from] InvalidObject),
    #[error("its endpoint cannot be one")]
    Endpoint(#[from] InvalidAddress),
    #[error(
        "its plugin speaks KMS v1, which is not supported; let kube-apiserver rewrite the row through another provider"
    )]
    KmsV1,
    #[error("no key is given that could unwrap it; add --keyring, --root-secret or --socket")]
    NoKek,
}

impl UnwrapError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Kek(error) => exit_of_kek(error.kind()),
            Self::Call { source, .. } => match source.code() {
                Code::NotFound | Code::FailedPrecondition => Exit::Negative,
                Code::InvalidArgument | Code::DataLoss => Exit::Data,
                Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
                _ => Exit::Unavailable,
            },
            Self::Object(_) => Exit::Data,
            Self::Endpoint(_) => Exit::Config,
            Self::KmsV1 | Self::NoKek => Exit::Usage,
        }
    }
}

impl KeyFlags {
    pub(super) fn load(&self) -> Result<Keys, Failure> {
        let config = match &self.encryption_config {
            Some(path) => Some((path.clone(), read_config(path)?)),
            None => None,
        };
        Ok(Keys {
            config,
            kek: self.kek()?,
            runtime: runtime::start()?,
        })
    }

    fn kek(&self) -> Result<Option<Kek>, Failure> {
        let keyring = match (&self.keyring, &self.root_secret, &self.socket) {
            (Some(path), _, _) => keyring_file::load(path)?,
            (_, Some(path), _) => root_secret::load(path)?,
            (_, _, Some(endpoint)) => {
                return Ok(Some(Kek::Plugin {
                    client: KmsClient::new(endpoint).with_timeout(self.timeout),
                    endpoint: endpoint.to_string(),
                }));
            }
            (None, None, None) => return Ok(None),
        };
        self.local(keyring).map(Some)
    }

    fn local(&self, keyring: Keyring) -> Result<Kek, Failure> {
        Ok(Kek::Local {
            kek: Box::new(LocalKek::new(keyring).map_err(|error| Failure::of(Exit::Io, &error))?),
            aad: seed_aad(self.cluster.as_deref().unwrap_or_default()),
        })
    }
}

fn read_config(path: &Path) -> Result<EncryptionConfiguration, Failure> {
    const FLAG: &str = "--encryption-config";
    let bytes = fs::read(path).map_err(|error| Failure::unreadable(FLAG, path, &error))?;
    let bytes = Zeroizing::new(bytes);
    EncryptionConfiguration::parse(&bytes).map_err(|error| {
        Failure::at(
            Exit::Config,
            format_args!("{FLAG}: `{}`", path.display()),
            &error,
        )
    })
}

impl Keys {
    /// Unwraps the seed or key of a KMS v2 row. Without a key of our own, the plugin of `provider` is asked.
    pub(super) async fn unwrap(
        &self,
        object: &EncryptedObject<'_>,
        provider: Option<&KmsProvider>,
    ) -> Result<SecretBytes, UnwrapError> {
        let wrapped = object.wrapped_key()?;
        match (&self.kek, provider) {
            (Some(Kek::Local { kek, aad }), _) => Ok(kek.unwrap(&wrapped, Aad::new(aad)).await?),
            (Some(Kek::Plugin { client, endpoint }), _) => decrypt(client, endpoint, wrapped).await,
            (None, Some(provider)) => {
                let endpoint: SocketAddress = provider.endpoint.parse()?;
                let client = KmsClient::new(&endpoint).with_timeout(provider.timeout);
                decrypt(&client, &provider.endpoint, wrapped).await
            }
            (None, None) => Err(UnwrapError::NoKek),
        }
    }

    /// Waits for a call of a plugin.
    pub(super) fn block_on<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}

async fn decrypt(
    client: &KmsClient,
    endpoint: &str,
    wrapped: WrappedKey,
) -> Result<SecretBytes, UnwrapError> {
    let answer = EncryptAnswer::from(wrapped);
    let unwrapped = client.decrypt(&answer).await;
    unwrapped.map_err(|source| UnwrapError::Call {
        endpoint: endpoint.to_owned(),
        source,
    })
}
