//! The flags of the key that wraps the data keys of snapshots: a keyring file, or a Transit key in OpenBao.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use kdc_envelope::local::{LocalKek, keyring_file};
use kdc_envelope::snapshot::metadata::WrappedDek;
use kdc_envelope::{KekError, Key256};
use kdc_envelope_backup::{BackupError, BackupErrorKind, SnapshotKeys, Subject};
use kdc_envelope_bao::TransitSnapshotDeks;
use kdc_envelope_bao::settings::section::Section as _;
use kdc_envelope_bao::settings::{ConnectionArgs, FromEnvironment, KeyArgs, VariablePrefix as _};
use kdc_shared::plugin::KmsPlugin;

use crate::failure::{Exit, Failure, chain};

/// Where the key encryption key is: `--keyring`, or the `--bao-` flags as kms-plugin has them.
#[derive(Debug, Args)]
pub(super) struct KeyArguments {
    /// Keyring file whose current version wraps data keys.
    #[arg(long, value_name = "FILE", help_heading = "Key")]
    keyring: Option<PathBuf>,
    #[command(flatten)]
    connection: FromEnvironment<KmsPlugin, ConnectionArgs>,
    #[command(flatten)]
    key: FromEnvironment<KmsPlugin, KeyArgs>,
}

impl KeyArguments {
    /// Reads the keyring, or prepares to reach OpenBao; sends nothing.
    pub(super) fn open(&self) -> Result<Arc<dyn SnapshotKeys>, Failure> {
        let is_bao = self.connection.first_given().is_some() || self.key.first_given().is_some();
        match (&self.keyring, is_bao) {
            (Some(path), false) => {
                let kek = LocalKek::new(keyring_file::load(path)?);
                let kek = kek.map_err(|error| Failure::of(Exit::Io, &error))?;
                Ok(Arc::new(kek))
            }
            (None, true) => Ok(Arc::new(TransitKeys(self.transit()?))),
            (Some(_), true) => Err(usage(
                "--keyring and --bao- flags are both given; remove one",
            )),
            (None, false) => Err(usage(
                "no key encryption key is given; add --keyring FILE, or --bao-address, --bao-key and how to log in",
            )),
        }
    }

    fn transit(&self) -> Result<TransitSnapshotDeks, Failure> {
        refuse_useless_variables()?;
        let connection = self.connection.clone().into_inner().resolve();
        let key = self.key.resolve();
        let (connection, key) = match (connection, key) {
            (Ok(connection), Ok(key)) => (connection, key),
            (connection, key) => {
                let faults = connection.err().into_iter().flatten().chain(key.err());
                let lines: Vec<String> = faults.map(|fault| chain(&fault)).collect();
                return Err(usage(&lines.join("; ")));
            }
        };
        let session = connection
            .session()
            .map_err(|error| Failure::of(Exit::NoInput, &error))?;
        Ok(TransitSnapshotDeks::new(session, key))
    }

    /// Whether data keys are under a keyring.
    pub(super) const fn is_keyring(&self) -> bool {
        self.keyring.is_some()
    }

    /// The line for an error, with the flags that name the key of a snapshot if that is another one.
    pub(super) fn failure(&self, error: BackupError) -> Failure {
        let is_of_other_key =
            error.kind() == BackupErrorKind::Mismatch && error.subject() == Some(Subject::Key);
        let failure = Failure::from(error);
        match (is_of_other_key, self.is_keyring()) {
            (false, _) => failure,
            (true, true) => failure.hint("give the --bao- flags of that key"),
            (true, false) => failure.hint("give its --bao-mount and --bao-key, or --keyring"),
        }
    }
}

/// Refuses the settings of a key that is followed where they are in the environment, as they are for kms-plugin: a snapshot is under one
/// version, so that they would do nothing.
fn refuse_useless_variables() -> Result<(), Failure> {
    let variables = ["bao-poll-interval", "bao-hold"].map(KmsPlugin::variable);
    match variables
        .into_iter()
        .find(|variable| std::env::var_os(variable).is_some())
    {
        Some(variable) => Err(usage(&format!(
            "{variable} does nothing for snapshots; unset it"
        ))),
        None => Ok(()),
    }
}

/// A Transit key for the backup library.
#[derive(Debug)]
struct TransitKeys(TransitSnapshotDeks);

#[async_trait]
impl SnapshotKeys for TransitKeys {
    fn name(&self) -> String {
        format!("`{}`", self.0.key())
    }

    async fn new_dek(&self) -> Result<(Key256, WrappedDek), KekError> {
        self.0.generate().await
    }

    async fn unwrap(&self, wrapped: &WrappedDek) -> Result<Key256, KekError> {
        match wrapped {
            WrappedDek::Transit { ciphertext, .. } => self.0.unwrap(ciphertext).await,
            _ => Err(KekError::Misuse("its kind is not that of the given key")),
        }
    }

    fn is_own(&self, wrapped: &WrappedDek) -> bool {
        let WrappedDek::Transit { mount, key, .. } = wrapped else {
            return false;
        };
        let own = self.0.key();
        let is_mount = mount.as_deref().is_none_or(|mount| mount == own.mount());
        key == own.name() && is_mount
    }

    async fn rewrap(
        &self,
        wrapped: &[&WrappedDek],
    ) -> Result<Vec<Result<WrappedDek, KekError>>, KekError> {
        let texts: Vec<String> = wrapped.iter().map(|wrapped| wrapped.text()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.0.rewrap(&texts).await
    }

    fn max_rewrap(&self) -> usize {
        TransitSnapshotDeks::MAX_REWRAP
    }
}

fn usage(line: &str) -> Failure {
    Failure::new(Exit::Usage, line)
}
