//! `kdc keyring retire`: the one step that destroys a key.

use std::path::PathBuf;

use kdc_envelope::local::{EditError, Keyring, VersionState, keyring_file};

use crate::clock;
use crate::etcd::{self, EtcdFlags};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::value::survey;

const EXAMPLES: &str = "\
Examples:
  kdc keyring retire /etc/kms-plugin/keyring --version 1 --confirm KEY_ID
  # refuse if a row in etcd still needs it
  kdc keyring retire /etc/kms-plugin/keyring --version 1 --confirm KEY_ID \\
      --etcd-endpoints https://127.0.0.1:2379 --etcd-cacert ca.crt --etcd-cert client.crt \\
      --etcd-keyfile client.key";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Retire {
    /// The keyring file.
    file: PathBuf,
    /// The version whose key is to be wiped.
    #[arg(long, value_name = "N")]
    version: u32,
    /// The key id of that version, as `kdc keyring list` shows it: proof that you mean it.
    #[arg(long, value_name = "KEY_ID")]
    confirm: Option<String>,
    /// The rows to look through before anything is wiped, by the beginning of their keys.
    #[arg(long, value_name = "PREFIX", default_value = etcd::REGISTRY, help_heading = "etcd", requires = "etcd_endpoints")]
    etcd_prefix: String,
    #[command(flatten)]
    etcd: EtcdFlags,
}

pub(super) fn run(arguments: &Retire, out: &mut Output) -> Result<Exit, Failure> {
    let number = arguments.version;
    let id = confirmed_id(arguments, &keyring_file::load(&arguments.file)?)?;
    let proof = match arguments.etcd.connection()? {
        Some(etcd) => Some(prove_unused(arguments, &etcd, &id)?),
        None => None,
    };
    keyring_file::edit(&arguments.file, |keyring| {
        keyring.retire(number, clock::now())
    })?;
    let shown = out.paint(Tone::Strong, &id);
    out.line(format_args!(
        "wiped the key of version {number}, key id {shown}"
    ))?;
    match proof {
        Some(rows) => out.line(format_args!(
            "none of the {rows} rows under {} needed it; copies of etcd from before may",
            arguments.etcd_prefix
        ))?,
        None => out.line(
            "rows and copies of etcd that it encrypted need a copy of the keyring from before",
        )?,
    }
    Ok(Exit::Ok)
}

/// The key id to retire, once the user has named it and the keyring can do without it.
fn confirmed_id(arguments: &Retire, keyring: &Keyring) -> Result<String, Failure> {
    let (file, number) = (arguments.file.display(), arguments.version);
    let refuse = |error: EditError| {
        Failure::at(
            Exit::Negative,
            format_args!("`{file}` was not changed"),
            &error,
        )
    };
    let id = super::key_id(keyring, number);
    match keyring.state(number) {
        None => return Err(refuse(EditError::NoSuchVersion(number))),
        Some(VersionState::Current) => return Err(refuse(EditError::Current(number))),
        Some(VersionState::Retired { .. }) => return Err(refuse(EditError::Retired(number))),
        Some(_) => {}
    }
    match &arguments.confirm {
        Some(confirmed) if *confirmed == id => Ok(id),
        Some(confirmed) => Err(Failure::new(
            Exit::Usage,
            format_args!(
                "--confirm: version {number} of `{file}` has key id `{id}`, not `{confirmed}`; nothing was changed"
            ),
        )),
        None => Err(Failure::new(
            Exit::Usage,
            format_args!(
                "--confirm is missing: without the key of version {number} of `{file}`, every row and backup that it \
                 encrypted can never be read again; to wipe it add `--confirm {id}`, and --etcd-endpoints to be stopped while etcd has \
                 such a row"
            ),
        )),
    }
}

/// Looks through all rows; gives their number if none needs `key_id`.
fn prove_unused(arguments: &Retire, etcd: &etcd::Connection, key_id: &str) -> Result<u64, Failure> {
    let prefix = &arguments.etcd_prefix;
    let survey = survey::take(etcd, prefix)?;
    let needed = survey.rows_under(key_id);
    if needed > 0 {
        return Err(Failure::new(
            Exit::Negative,
            format_args!(
                "{needed} of {} rows under `{prefix}` need key id `{key_id}`; rewrite them first, for example with \
                 `kdc encryption rewrite secrets`; nothing was changed",
                survey.rows()
            ),
        ));
    }
    if let Some(key) = survey.first_damaged() {
        let key = String::from_utf8_lossy(key);
        return Err(Failure::new(
            Exit::Negative,
            format_args!(
                "the row at `{key}` is damaged, so that nobody can tell which key it needs; repair or delete it first; \
                 nothing was changed"
            ),
        ));
    }
    if survey.others() > 0 {
        return Err(Failure::new(
            Exit::Negative,
            format_args!(
                "{} rows are under so many keys that they cannot be told apart; nothing was changed",
                survey.others()
            ),
        ));
    }
    Ok(survey.rows())
}
