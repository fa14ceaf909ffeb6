//! Who wraps the data keys of snapshots: a keyring file, or a Transit key in OpenBao.

use std::path::PathBuf;

use clap::Args;
use kdc_envelope::local::{LocalKek, keyring_file};
use kdc_envelope::snapshot::metadata::WrappedDek;
use kdc_envelope::{Aad, KekError, Key256, KeyEncryptionKey as _};
use kdc_envelope_bao::TransitSnapshotDeks;
use kdc_envelope_bao::settings::section::Section as _;
use kdc_envelope_bao::settings::{ConnectionArgs, FromEnvironment, KeyArgs, VariablePrefix as _};
use kdc_shared::plugin::KmsPlugin;
use tokio::runtime::Runtime;

use crate::failure::{Exit, Failure, chain, exit_of_kek};
use crate::runtime;

/// Where the key encryption key is: `--keyring`, or the `--bao-` flags as kms-plugin has them.
#[derive(Debug, Args)]
pub(super) struct KekArguments {
    /// Keyring file whose current version wraps data keys.
    #[arg(long, value_name = "FILE", help_heading = "Key")]
    keyring: Option<PathBuf>,
    #[command(flatten)]
    connection: FromEnvironment<KmsPlugin, ConnectionArgs>,
    #[command(flatten)]
    key: FromEnvironment<KmsPlugin, KeyArgs>,
}

/// An opened key encryption key.
#[derive(Debug)]
pub(super) struct Kek {
    runtime: Runtime,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Local(Box<LocalKek>),
    Transit(TransitSnapshotDeks),
}

impl KekArguments {
    /// Reads the keyring, or prepares to reach OpenBao; sends nothing.
    pub(super) fn open(&self) -> Result<Kek, Failure> {
        let is_bao = self.connection.first_given().is_some() || self.key.first_given().is_some();
        let kind = match (&self.keyring, is_bao) {
            (Some(path), false) => {
                let kek = LocalKek::new(keyring_file::load(path)?);
                Kind::Local(Box::new(
                    kek.map_err(|error| Failure::of(Exit::Io, &error))?,
                ))
            }
            (None, true) => Kind::Transit(self.transit()?),
            (Some(_), true) => {
                return Err(usage(
                    "--keyring and --bao- flags are both given; remove one",
                ));
            }
            (None, false) => {
                return Err(usage(
                    "no key encryption key is given; add --keyring FILE, or --bao-address, --bao-key and how to log in",
                ));
            }
        };
        Ok(Kek {
            runtime: runtime::start()?,
            kind,
        })
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

impl Kek {
    /// A new data key, and how it is wrapped.
    pub(super) fn new_dek(&self) -> Result<(Key256, WrappedDek), Failure> {
        let wrap = async {
            match &self.kind {
                Kind::Transit(deks) => deks.generate().await,
                Kind::Local(kek) => {
                    let dek = Key256::random().map_err(|error| KekError::Unavailable {
                        source: Box::new(error),
                    })?;
                    let wrapped = kek.wrap(dek.expose(), Aad::EMPTY).await?;
                    Ok((dek, WrappedDek::KeyId(wrapped)))
                }
            }
        };
        self.runtime
            .block_on(wrap)
            .map_err(|error| of_kek("cannot make a data key", &error))
    }

    /// Opens the data key of a snapshot.
    pub(super) fn unwrap(&self, wrapped: &WrappedDek) -> Result<Key256, Failure> {
        let place = format!("cannot unwrap the data key, which is under {wrapped}");
        let unwrap = async {
            match (&self.kind, wrapped) {
                (Kind::Transit(deks), WrappedDek::Transit { ciphertext, .. }) => {
                    deks.unwrap(ciphertext).await
                }
                (Kind::Local(kek), WrappedDek::KeyId(key)) => {
                    let secret = kek.unwrap(key, Aad::EMPTY).await?;
                    Key256::from_slice(secret.expose()).ok_or(KekError::Malformed {
                        field: "wrapped DEK, which holds no 32 bytes",
                        offset: 0,
                    })
                }
                _ => Err(KekError::Misuse("its kind is not that of the given key")),
            }
        };
        self.check_key(wrapped)?;
        self.runtime
            .block_on(unwrap)
            .map_err(|error| of_kek(&place, &error))
    }

    /// Whether `wrapped` is under this key, in whatever version.
    pub(super) fn is_own(&self, wrapped: &WrappedDek) -> bool {
        match (&self.kind, wrapped) {
            (Kind::Local(_), WrappedDek::KeyId(_)) => true,
            (Kind::Transit(deks), WrappedDek::Transit { mount, key, .. }) => {
                key == deks.key().name()
                    && mount
                        .as_deref()
                        .is_none_or(|mount| mount == deks.key().mount())
            }
            _ => false,
        }
    }

    fn check_key(&self, wrapped: &WrappedDek) -> Result<(), Failure> {
        if self.is_own(wrapped) {
            return Ok(());
        }
        let (given, advice) = match &self.kind {
            Kind::Local(_) => ("a keyring".to_owned(), "give the --bao- flags of that key"),
            Kind::Transit(deks) => (
                format!("`{}`", deks.key()),
                "give its --bao-mount and --bao-key, or --keyring",
            ),
        };
        let line = format!("the data key of the snapshot is under {wrapped}, not under {given}");
        Err(Failure::new(Exit::Negative, line).hint(advice))
    }

    /// Moves up to [`TransitSnapshotDeks::MAX_REWRAP`] data keys to the newest version: one result for each in order, `None` if it was
    /// there already.
    pub(super) fn rewrap(
        &self,
        wrapped: &[&WrappedDek],
    ) -> Result<Vec<Result<Option<WrappedDek>, Failure>>, Failure> {
        const PLACE: &str = "cannot rewrap data keys";
        let results = match &self.kind {
            Kind::Transit(deks) => {
                let texts: Vec<String> = wrapped.iter().map(|wrapped| wrapped.text()).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                self.runtime
                    .block_on(deks.rewrap(&texts))
                    .map_err(|error| of_kek(PLACE, &error))?
            }
            Kind::Local(kek) => self.runtime.block_on(rewrap_locally(kek, wrapped)),
        };
        let pairs = wrapped.iter().zip(results);
        Ok(pairs
            .map(|(old, new)| match new {
                Ok(new) if new.version() == old.version() => Ok(None),
                Ok(new) => Ok(Some(new)),
                Err(error) => Err(of_kek(PLACE, &error)),
            })
            .collect())
    }
}

async fn rewrap_locally(
    kek: &LocalKek,
    wrapped: &[&WrappedDek],
) -> Vec<Result<WrappedDek, KekError>> {
    let mut results = Vec::with_capacity(wrapped.len());
    for old in wrapped {
        results.push(match old {
            WrappedDek::KeyId(key) => kek
                .rewrap(key, Aad::EMPTY)
                .await
                .map(|new| WrappedDek::KeyId(new.unwrap_or_else(|| key.clone()))),
            _ => Err(KekError::Misuse("its kind is not that of the given key")),
        });
    }
    results
}

fn of_kek(place: &str, error: &KekError) -> Failure {
    Failure::at(exit_of_kek(error.kind()), place, error)
}

fn usage(line: &str) -> Failure {
    Failure::new(Exit::Usage, line)
}
