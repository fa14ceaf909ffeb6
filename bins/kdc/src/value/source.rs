//! Where a value comes from: the flags, and the reading.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::PathBuf;

use clap::Args;

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
    /// Reads the one value that the flags name.
    pub(super) fn read(&self) -> Result<Stored, Failure> {
        if let Some(etcd) = self.etcd.connection()? {
            let key = self.etcd_key.as_deref().ok_or_else(|| {
                Failure::new(Exit::Usage, "--etcd-key is missing: which row is it? such as /registry/secrets/NAMESPACE/NAME")
            })?;
            let row = etcd.row(key.as_bytes())?.ok_or_else(|| {
                Failure::new(
                    Exit::NoInput,
                    format_args!("--etcd-key: etcd has no row `{key}`"),
                )
                .hint("`etcdctl get --prefix --keys-only /registry/` lists what there is")
            })?;
            return Ok(row.into());
        }
        let (name, bytes) = self.read_input()?;
        let bad = |error| {
            Failure::at(Exit::Data, &name, &error).hint("--format says how the value is written")
        };
        match input::parse(bytes, self.format).map_err(bad)? {
            Input::Value(value) if value.is_empty() => {
                Err(Failure::new(Exit::Data, format_args!("{name} is empty")))
            }
            Input::Value(value) => Ok(Stored {
                key: self.etcd_key.as_ref().map(|key| key.clone().into_bytes()),
                value,
                is_raw: self.format == InputFormat::Raw,
            }),
            Input::Rows(rows) => self.choose(&name, rows),
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
    fn choose(&self, name: &str, rows: Vec<Row>) -> Result<Stored, Failure> {
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
        chosen.map(Stored::from).ok_or_else(|| {
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

impl From<Row> for Stored {
    fn from(row: Row) -> Self {
        Self {
            key: Some(row.key),
            value: row.value,
            is_raw: false,
        }
    }
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
