//! Steps that lose nothing: `init`, `add`, `promote`.

use std::path::PathBuf;

use kdc_envelope::local::keyring_file::{self, KeyringFileError};
use kdc_envelope::local::private_file::PrivateFileError;
use kdc_envelope::local::{EditError, Keyring};

use super::{key_id, tell};
use crate::clock;
use crate::failure::{Exit, Failure, exit_of_io};
use crate::output::{Output, Tone};

const INIT_EXAMPLES: &str = "\
Example:
  kdc keyring init /etc/kms-plugin/keyring
  kms-plugin --socket /run/kms-plugin/kms.sock --keyring /etc/kms-plugin/keyring";

const ADD_EXAMPLES: &str = "\
Example:
  kdc keyring add /etc/kms-plugin/keyring
  # bring the file to every replica, then
  kdc keyring promote /etc/kms-plugin/keyring";

const PROMOTE_EXAMPLES: &str = "\
Examples:
  kdc keyring promote /etc/kms-plugin/keyring
  kdc keyring promote /etc/kms-plugin/keyring --version 3";

#[derive(Debug, clap::Args)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct Init {
    /// The keyring file to create; an existing file is left alone.
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ADD_EXAMPLES)]
pub(crate) struct Add {
    /// The keyring file.
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PROMOTE_EXAMPLES)]
pub(crate) struct Promote {
    /// The keyring file.
    file: PathBuf,
    /// The version to promote [default: the newest].
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

pub(super) fn init(arguments: &Init, out: &mut Output) -> Result<Exit, Failure> {
    let keyring = Keyring::generate(clock::now()).map_err(|error| Failure::of(Exit::Io, &error))?;
    let path = &arguments.file;
    keyring_file::create(path, &keyring).map_err(|error| match &error {
        KeyringFileError::File(PrivateFileError::Io { source, .. }) => {
            let exit = match exit_of_io(source) {
                Exit::Denied => Exit::Denied,
                _ => Exit::CannotCreate,
            };
            Failure::of(exit, &error)
        }
        _ => Failure::from(error),
    })?;
    let id = out.paint(Tone::Strong, &key_id(&keyring, 1));
    let file = path.display();
    tell(
        out,
        format_args!("`{file}` was made"),
        [
            format!("made {file} with version 1, key id {id}"),
            "keep a copy in a safe place: without it nothing that it encrypts can be read again"
                .to_owned(),
        ],
    )
}

pub(super) fn add(arguments: &Add, out: &mut Output) -> Result<Exit, Failure> {
    let (number, id) = keyring_file::edit(&arguments.file, |keyring| {
        let number = keyring.add(clock::now())?;
        Ok((number, key_id(keyring, number)))
    })?;
    let id = out.paint(Tone::Strong, &id);
    let file = arguments.file.display();
    tell(
        out,
        format_args!("version {number} was added to `{file}`"),
        [
            format!("added version {number}, key id {id}: it reads, and does not write yet"),
            format!(
                "bring the file to every replica, then run `kdc keyring promote {file} --version {number}`"
            ),
        ],
    )
}

pub(super) fn promote(arguments: &Promote, out: &mut Output) -> Result<Exit, Failure> {
    let (before, number, id) = keyring_file::edit(&arguments.file, |keyring| {
        let before = keyring.current();
        let number = arguments.version.unwrap_or_else(|| newest(keyring));
        keyring.promote(number)?;
        Ok::<_, EditError>((before, number, key_id(keyring, number)))
    })?;
    let id = out.paint(Tone::Strong, &id);
    tell(
        out,
        format_args!(
            "version {number} was promoted in `{}`",
            arguments.file.display()
        ),
        [
            format!("version {number} writes now, key id {id}"),
            format!(
                "version {before} still reads; API servers move over within a minute or so, and rows when they are next written"
            ),
        ],
    )
}

fn newest(keyring: &Keyring) -> u32 {
    keyring
        .versions()
        .next_back()
        .map_or(0, |(number, _)| number)
}
