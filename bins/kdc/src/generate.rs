//! `kdc completions` and `kdc man`, made from the same definitions as `--help`.

use std::path::PathBuf;

use clap_complete::Shell;

use crate::failure::{Exit, Failure};
use crate::output::Output;

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  kdc completions bash > /etc/bash_completion.d/kdc
  kdc completions zsh > \"${fpath[1]}/_kdc\"
  kdc completions fish > ~/.config/fish/completions/kdc.fish";

const MAN_EXAMPLES: &str = "\
Example:
  kdc man /usr/local/share/man/man1";

#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct Man {
    /// An existing folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn completions(
    arguments: &Completions,
    mut command: clap::Command,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "kdc", &mut text);
    out.bytes(&text)?;
    Ok(Exit::Ok)
}

pub(crate) fn man(arguments: &Man, command: clap::Command) -> Result<Exit, Failure> {
    clap_mangen::generate_to(command, &arguments.folder).map_err(|error| {
        let place = format!(
            "cannot write manual pages into `{}`",
            arguments.folder.display()
        );
        Failure::at(Exit::CannotCreate, place, &error)
    })?;
    Ok(Exit::Ok)
}
