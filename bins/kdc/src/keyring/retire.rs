//! `kdc keyring retire`: the one step that destroys a key.

use std::path::PathBuf;

use kdc_envelope::evidence::{Conclusion, Gap, GapKind};
use kdc_envelope::key_removal::KeyRemoval;
use kdc_envelope::key_usage::KeyUsage;
use kdc_envelope::local::{EditError, Keyring, VersionState, keyring_file};

use super::tell;
use crate::clock;
use crate::etcd::{Connection, EtcdFlags};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

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
    /// The version whose key is wiped.
    #[arg(long, value_name = "N")]
    version: u32,
    /// The key id of that version, as `kdc keyring list` shows it: proof that you mean it.
    #[arg(long, value_name = "KEY_ID")]
    confirm: Option<String>,
    /// Refuse if no row has a key that begins with this. All rows are scanned in any case.
    #[arg(
        long,
        value_name = "PREFIX",
        help_heading = "etcd",
        requires = "etcd_endpoints"
    )]
    etcd_prefix: Option<String>,
    /// Continue although no row in etcd is under any version of this keyring, as after encryption was disabled.
    #[arg(long, help_heading = "etcd", requires = "etcd_endpoints")]
    force: bool,
    #[command(flatten)]
    etcd: EtcdFlags,
}

pub(super) fn run(arguments: &Retire, out: &mut Output) -> Result<Exit, Failure> {
    let number = arguments.version;
    let keyring = keyring_file::load(&arguments.file)?;
    let id = confirmed_id(arguments, &keyring)?;
    let proof = match arguments.etcd.connection()? {
        Some(etcd) => Some(prove_unused(arguments, &etcd, &keyring, &id)?),
        None => None,
    };
    keyring_file::edit(&arguments.file, |keyring| {
        // Looking through etcd takes its time, and another file may lie there since.
        let has_other = keyring.state(number).is_some() && super::key_id(keyring, number) != id;
        match has_other {
            true => Err(EditError::Replaced(number)),
            false => keyring.retire(number, clock::now()),
        }
    })?;
    let shown = out.paint(Tone::Strong, &id);
    let consequence = match proof {
        Some(rows) => format!(
            "none of the {rows} rows in etcd needed it, under any prefix; earlier copies of etcd may"
        ),
        None => "rows and copies of etcd that it encrypted need a copy of the keyring from before"
            .to_owned(),
    };
    tell(
        out,
        format_args!(
            "the key of version {number} in `{}` was wiped",
            arguments.file.display()
        ),
        [
            format!("wiped the key of version {number}, key id {shown}"),
            consequence,
        ],
    )
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

/// Looks through the whole etcd, as API servers that share it have prefixes of their own; gives the number of rows if none needs
/// `key_id`.
fn prove_unused(
    arguments: &Retire,
    etcd: &Connection,
    keyring: &Keyring,
    key_id: &str,
) -> Result<u64, Failure> {
    etcd.check_one_cluster()?;
    let mut usage = KeyUsage::new("");
    let asked = arguments.etcd_prefix.as_deref().unwrap_or_default();
    let mut has_asked = asked.is_empty();
    etcd.scan(b"", |row| {
        has_asked |= row.key.starts_with(asked.as_bytes());
        usage.count(&row.key, &row.value);
    })?;
    if !has_asked {
        let line = format_args!(
            "--etcd-prefix: etcd has no row under `{asked}`{}; nothing was changed",
            found(&usage)
        );
        return Err(Failure::new(Exit::NoInput, line));
    }
    let versions = keyring.versions();
    let versions: Vec<_> = versions
        .map(|(_, version)| version.key_id().as_str())
        .collect();
    let going = [key_id];
    let removal = KeyRemoval::new(&going, &versions);
    let mut evidence = removal.none_needs(&usage);
    if !arguments.force {
        evidence.add_gaps(removal.unrelated(&usage, etcd.endpoint()));
    }
    let refuse = |line: String| {
        let line = format!("{line}; nothing was changed");
        Err(Failure::new(Exit::Negative, line))
    };
    match evidence.conclude() {
        Conclusion::Proven { seen } => Ok(seen),
        Conclusion::Refuted {
            contradicting,
            seen,
        } => {
            let first = removal.first_needing(&usage).unwrap_or_default();
            let first = String::from_utf8_lossy(first);
            refuse(format!(
                "{contradicting} of {seen} rows in etcd need key id `{key_id}`, the first one at `{first}`; rewrite them \
                 through their API server, for example with `kdc encryption rewrite secrets`"
            ))
        }
        Conclusion::Unknown(gaps) => refuse(why_unknown(gaps, arguments)),
        _ => refuse("it is not known whether a row needs it".to_owned()),
    }
}

/// The first reason, and what to do about it.
fn why_unknown(gaps: &[Gap], arguments: &Retire) -> String {
    match gaps.first() {
        Some(gap) if gap.kind == GapKind::Unrelated => format!(
            "no row in etcd at `{}` is under any version of `{}`, so this etcd does not seem to be the one; name the right one, or \
             add --force if nothing is encrypted under this keyring any more",
            gap.place,
            arguments.file.display()
        ),
        Some(gap) if gap.kind == GapKind::Unreadable => format!(
            "the row at `{}` is damaged, so that it cannot be told which key it needs; repair or delete it first",
            gap.place
        ),
        Some(gap) if gap.kind == GapKind::TooMany => format!(
            "{} rows are under so many keys that they cannot be told apart",
            gap.count
        ),
        Some(gap) => gap.to_string(),
        None => "etcd has no row at all, which proves nothing".to_owned(),
    }
}

/// The prefixes of API servers in this etcd, as a clause.
fn found(usage: &KeyUsage) -> String {
    let found = usage.prefixes().found();
    match found.is_empty() {
        true => String::new(),
        false => format!("; API servers have objects under {}", found.join(", ")),
    }
}
