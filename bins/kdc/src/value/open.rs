//! `kdc value open`.

use std::path::Path;

use kdc_envelope::SecretBytes;
use kdc_envelope::key_usage::ValueEncryption;
use kdc_envelope::kmsv2::{self, DekSource};
use kdc_envelope::providers::{StoredValue, classify};
use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::values::{OpenFailure, OpenValueError, ValueOpener, WrappedByPlugin, object};
use kdc_envelope_kms::client::CallError;
use zeroize::Zeroizing;

use super::keys::{KeyFlags, Keys, UnwrapError};
use super::source::{Source, Stored};
use crate::failure::{Exit, Failure};
use crate::output::{self, Output};

const EXAMPLES: &str = "\
Examples:
  etcdctl get /registry/secrets/default/demo -w json |
      kdc value open --format etcdctl-json --keyring /etc/kms-plugin/keyring --decode
  kdc value open --file row.bin --etcd-key /registry/secrets/default/demo \\
      --encryption-config /etc/kubernetes/encryption.yaml > object.bin
  kdc value open --etcd-endpoints http://127.0.0.1:2379 --etcd-key /registry/secrets/default/demo \\
      --socket unix:///run/kms-plugin/kms.sock --decode";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Open {
    /// Show the object as YAML: a Secret or ConfigMap, or any object that is stored as JSON.
    /// As with kubectl, `managedFields` are left out.
    #[arg(long)]
    decode: bool,
    /// Write to a terminal even if the terminal cannot display the bytes.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    keys: KeyFlags,
}

pub(super) fn run(arguments: &Open, out: &mut Output) -> Result<Exit, Failure> {
    let keys = arguments.keys.load()?;
    let stored = arguments.source.read()?;
    let etcd_key = etcd_key(&stored)?;
    let plaintext = match &keys.config {
        Some((path, config)) => open_with_config(&stored, etcd_key, (path, config), &keys),
        None => open_directly(&stored, etcd_key, &keys),
    }?;
    if arguments.decode {
        let yaml = decode(&plaintext)?;
        out.bytes(yaml.as_bytes())?;
    } else {
        if out.is_terminal() && !arguments.force && !is_text(plaintext.expose()) {
            return Err(Failure::new(
                Exit::Usage,
                "the object is binary and standard output a terminal: add --decode, redirect it, or insist with --force",
            ));
        }
        out.bytes(plaintext.expose())?;
    }
    Ok(Exit::Ok)
}

/// The key of the row; empty only where the provider does not authenticate it.
fn etcd_key(stored: &Stored) -> Result<&[u8], Failure> {
    let is_bound = matches!(
        classify(&stored.value),
        StoredValue::KmsV2(_) | StoredValue::KmsV1(_) | StoredValue::Aesgcm(_)
    );
    match &stored.key {
        Some(key) => Ok(key),
        None if is_bound => Err(Failure::new(
            Exit::Usage,
            "--etcd-key is missing: the value is bound to the key of its row, such as /registry/secrets/NAMESPACE/NAME",
        )),
        None => Ok(b""),
    }
}

/// Opens with the one key that is given, by what the value says about itself.
fn open_directly(stored: &Stored, etcd_key: &[u8], keys: &Keys) -> Result<SecretBytes, Failure> {
    let wanted = match classify(&stored.value) {
        StoredValue::KmsV2(Ok(row)) => return open_row(stored, &row, etcd_key, keys),
        StoredValue::KmsV2(Err(error)) => {
            let failure = Failure::at(Exit::Data, "the value is damaged", &error);
            return Err(stored.explain(failure));
        }
        StoredValue::Identity(_) => {
            if let Some(damage) = ValueEncryption::of(&stored.value).damage {
                return Err(Failure::at(Exit::Data, "the value is damaged", &damage));
            }
            output::note("the value is not encrypted");
            return Ok(SecretBytes::new(stored.value.clone()));
        }
        StoredValue::KmsV1(_) => {
            return Err(failure_of(&UnwrapError::KmsV1, "the value is of KMS v1"));
        }
        StoredValue::Aesgcm(value) => ("aesgcm", value.key_name),
        StoredValue::Aescbc(value) => ("aescbc", value.key_name),
        StoredValue::Secretbox(value) => ("secretbox", value.key_name),
        _ => {
            return Err(Failure::new(
                Exit::Data,
                "the value begins with `k8s:enc:`, but no known provider writes what follows",
            ));
        }
    };
    let (provider, name) = wanted;
    let name = name.unwrap_or_default();
    Err(Failure::new(
        Exit::Usage,
        format_args!(
            "--encryption-config is missing: the value is encrypted by `{provider}` with the key `{name}` of that file"
        ),
    ))
}

fn open_row(
    stored: &Stored,
    row: &kmsv2::Value<'_>,
    etcd_key: &[u8],
    keys: &Keys,
) -> Result<SecretBytes, Failure> {
    let object = &row.object;
    let secret = keys
        .block_on(keys.unwrap(object, None))
        .map_err(|error| failure_of(&error, "the row's key does not unwrap"))?;
    DekSource::new(object.dek_source_type, secret)
        .and_then(|source| source.open(object, etcd_key))
        .map_err(|error| {
            let failure = Failure::at(Exit::Data, "the value does not open", &error);
            let failure = match error {
                kmsv2::OpenError::Authentication => failure.hint(&moved(etcd_key)),
                _ => failure,
            };
            stored.explain(failure)
        })
}

fn moved(etcd_key: &[u8]) -> String {
    let key = String::from_utf8_lossy(etcd_key);
    let key = crate::failure::escaped(&key);
    format!("it was changed, or does not belong to the etcd key `{key}`")
}

fn failure_of(error: &UnwrapError, place: &str) -> Failure {
    let failure = Failure::at(error.exit(), place, error);
    match error {
        UnwrapError::Kek(kdc_envelope::KekError::UnknownKey(_)) => {
            failure.hint("it needs another keyring, or a newer copy of this one")
        }
        UnwrapError::Kek(kdc_envelope::KekError::Authentication) => {
            failure.hint("it was changed, or the plugin was started with another --cluster name")
        }
        UnwrapError::Call {
            source: CallError::Unreachable { .. },
            ..
        } => failure.hint("does the plugin run?"),
        _ => failure,
    }
}

/// Opens as kube-apiserver does with this file: by prefix, in order.
fn open_with_config(
    stored: &Stored,
    etcd_key: &[u8],
    (path, config): (&Path, &EncryptionConfiguration),
    keys: &Keys,
) -> Result<SecretBytes, Failure> {
    let opener = ValueOpener::for_any_resource(config);
    let unwrap = async |wrapped: WrappedByPlugin<'_>| {
        let unwrapped = match wrapped.object {
            Some(object) => keys.unwrap(object, Some(wrapped.provider)).await,
            None => Err(UnwrapError::KmsV1),
        };
        unwrapped.map_err(|error| OpenFailure::Plugin(Box::new(error)))
    };
    let opened = keys.block_on(opener.open_by(&stored.value, etcd_key, unwrap));
    let plaintext = opened.map(|opened| opened.plaintext);
    let plaintext = plaintext.map_err(|error| {
        let place = format_args!("--encryption-config: `{}`", path.display());
        stored.explain(Failure::at(exit_of(&error), place, &error))
    })?;
    if matches!(classify(&stored.value), StoredValue::Aescbc(_)) {
        output::note(
            "aescbc does not authenticate: the value may have been changed, or moved from another row",
        );
    }
    Ok(plaintext)
}

fn exit_of(error: &OpenValueError) -> Exit {
    let OpenValueError::Refused { source, .. } = error else {
        return Exit::Negative;
    };
    match source {
        OpenFailure::Plugin(error) => error
            .downcast_ref::<UnwrapError>()
            .map_or(Exit::Unavailable, UnwrapError::exit),
        _ => Exit::Data,
    }
}

fn decode(plaintext: &SecretBytes) -> Result<Zeroizing<String>, Failure> {
    let refuse = |error: &(dyn std::error::Error + 'static)| {
        Failure::at(Exit::Data, "--decode", error)
            .hint("without --decode the stored bytes are written as they are")
    };
    let object = object::decode(plaintext.expose()).map_err(|error| refuse(&error))?;
    object::to_yaml(&object)
        .map(Zeroizing::new)
        .map_err(|error| refuse(&error))
}

/// Whether a terminal shows the bytes as they are.
fn is_text(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_ok_and(|text| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    })
}
