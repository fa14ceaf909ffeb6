//! Where a value comes from: the flags, and the reading.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::PathBuf;

use clap::Args;

use super::form::{self, Foreign};
use super::input::{self, Input, InputFormat};
use crate::etcd::{EtcdFlags, Row};
use crate::failure::{Exit, Failure};

/// Far more than etcd takes, which is 1.5 MiB unless it is told otherwise.
const MAX_INPUT_LEN: u64 = 64 << 20;

/// The value to look at. Without `--file` and `--etcd-endpoints` it is read from standard input.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// File that holds the value.
    #[arg(long, value_name = "FILE", conflicts_with = "etcd_endpoints")]
    file: Option<PathBuf>,
    /// How the file or standard input holds it.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        conflicts_with = "etcd_endpoints"
    )]
    format: InputFormat,
    /// The key of the row in etcd, such as `/registry/secrets/NAMESPACE/NAME`. It is authenticated with the value.
    #[arg(long = "etcd-key", value_name = "KEY")]
    etcd_key: Option<String>,
    #[command(flatten)]
    pub(super) etcd: EtcdFlags,
}

/// A value, and the key of its row if that is known.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    /// Whether the value may have got a line feed that does not belong to it.
    pub(super) is_raw: bool,
}

impl Source {
    /// Reads the one value that the flags name, and refuses what is none.
    pub(super) fn read(&self) -> Result<Stored, Failure> {
        if let Some(etcd) = self.etcd.connection()? {
            let key = self.etcd_key.as_deref().ok_or_else(|| {
                Failure::new(Exit::Usage, "--etcd-key is missing: which row is it? such as /registry/secrets/NAMESPACE/NAME")
            })?;
            let row = etcd.row(key.as_bytes())?.ok_or_else(|| {
                Failure::new(
                    Exit::NoInput,
                    format_args!("--etcd-key: etcd at `{}` has no row `{key}`", etcd.endpoint()),
                )
                .hint("`kdc value inspect --etcd-prefix ''` shows under which prefixes API servers store their rows")
            })?;
            return exact(&format!("the value of `{key}`"), row);
        }
        let (name, bytes) = self.read_input()?;
        match input::parse(&bytes, self.format) {
            Ok(Input::Value(value)) if value.is_empty() => {
                Err(Failure::new(Exit::Data, format_args!("{name} is empty")))
            }
            Ok(Input::Value(value)) => match form::of_file(&value) {
                Some(foreign) => Err(refuse(&name, &foreign)),
                None => Ok(Stored {
                    key: self.etcd_key.as_ref().map(|key| key.clone().into_bytes()),
                    value,
                    is_raw: self.format == InputFormat::Raw,
                }),
            },
            Ok(Input::Rows(rows)) => {
                let row = self.choose(&name, rows)?;
                exact(&format!("{name}: the value"), row)
            }
            Err(error) => {
                let failure = Failure::at(Exit::Data, &name, &error);
                Err(match form::of_file(&bytes) {
                    Some(foreign) => {
                        failure.hint(&format!("it is {}: {}", foreign.what, foreign.cure))
                    }
                    None => failure.hint("leave --format out: it is a value alone"),
                })
            }
        }
    }

    fn read_input(&self) -> Result<(String, Vec<u8>), Failure> {
        let (name, bytes) = match &self.file {
            Some(path) => (
                format!("--file: `{}`", path.display()),
                File::open(path)
                    .and_then(read_limited)
                    .map_err(|error| Failure::unreadable("--file", path, &error))?,
            ),
            None => {
                let stdin = io::stdin();
                if stdin.is_terminal() {
                    return Err(Failure::new(
                        Exit::Usage,
                        "no value: name one with --file or --etcd-endpoints, or pipe it in",
                    ));
                }
                let bytes = read_limited(stdin.lock())
                    .map_err(|error| Failure::at(Exit::Io, "cannot read standard input", &error))?;
                ("standard input".to_owned(), bytes)
            }
        };
        if bytes.len() as u64 > MAX_INPUT_LEN {
            return Err(Failure::new(
                Exit::Data,
                format_args!("{name} has more than 64 MiB, which no row of etcd has"),
            ));
        }
        Ok((name, bytes))
    }

    /// The only row, or the one that `--etcd-key` names.
    fn choose(&self, name: &str, rows: Vec<Row>) -> Result<Row, Failure> {
        let count = rows.len();
        let mut rows = rows.into_iter();
        let chosen = match &self.etcd_key {
            Some(key) => rows.find(|row| row.key == key.as_bytes()),
            None if count > 1 => {
                let line = format!("{name} has {count} rows: say which with --etcd-key");
                return Err(Failure::new(Exit::Usage, line));
            }
            None => rows.next(),
        };
        chosen.ok_or_else(|| {
            let key = self
                .etcd_key
                .as_deref()
                .map_or_else(String::new, |key| format!(" `{key}`"));
            Failure::new(Exit::NoInput, format_args!("{name} has no row{key}"))
        })
    }
}

impl Stored {
    /// Adds what may have gone wrong on the way here to a failure that looks like damage.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        if self.is_raw && self.value.ends_with(b"\n") {
            return failure.hint(
                "the value ends in a line feed, which `etcdctl get --print-value-only` adds: take `-w json` instead",
            );
        }
        failure
    }
}

/// A row as it is in etcd.
fn exact(name: &str, row: Row) -> Result<Stored, Failure> {
    match form::of_row(&row.value) {
        Some(foreign) => Err(refuse(name, &foreign)),
        None => Ok(Stored {
            key: Some(row.key),
            value: row.value,
            is_raw: false,
        }),
    }
}

fn refuse(name: &str, foreign: &Foreign) -> Failure {
    let line = format_args!("{name} is {}; {}", foreign.what, foreign.cure);
    Failure::new(Exit::Data, line)
}

/// One byte more than the limit, so that the caller sees that there was more.
fn read_limited(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_INPUT_LEN + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_read_up_to_the_limit_and_one() {
        let bytes = read_limited(io::repeat(0)).unwrap();
        assert_eq!(bytes.len() as u64, MAX_INPUT_LEN + 1);
    }
}
