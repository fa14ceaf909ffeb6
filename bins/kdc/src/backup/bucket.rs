//! The flags that say where snapshots are kept, and what they mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use kdc_envelope_backup as backup;
use kdc_envelope_backup::{FolderStore, S3Settings, S3Store, SnapshotStore};

use super::{file, recognise};
use crate::failure::{Exit, Failure};
use crate::output::note;

const SCHEME: &str = "s3://";

/// Where snapshots are kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Bucket")]
pub(crate) struct BucketArguments {
    /// Where snapshots are kept: a folder, or `s3://NAME` or `s3://NAME/PREFIX`. Credentials of S3 come from the usual AWS
    /// environment variables and files.
    #[arg(long, value_name = "FOLDER|S3-URL")]
    bucket: String,
    /// Address of the S3 server, if it is not AWS [default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile's].
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Region of the bucket [default: AWS_REGION, AWS_DEFAULT_REGION, the profile's or us-east-1].
    #[arg(long, value_name = "NAME")]
    s3_region: Option<String>,
    /// Certificates of the authorities that the S3 server's certificate comes from, if they are not the system's.
    #[arg(long, value_name = "FILE")]
    s3_ca_file: Option<PathBuf>,
    /// Speak to the S3 server without TLS.
    #[arg(long)]
    s3_allow_http: bool,
    /// Whether requests name the bucket in the path or in the name of the server (`virtual`) [default: path].
    #[arg(long, value_enum, value_name = "PLACE")]
    s3_addressing: Option<Addressing>,
    /// Checksum that goes with what is stored, for the server to verify [default: crc64nvme with TLS, none without].
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    s3_checksum: Option<Checksum>,
}

/// Where a request names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Addressing {
    Path,
    Virtual,
}

/// What goes along with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Checksum {
    None,
    Sha256,
    Crc64nvme,
}

/// `--bucket`, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    Directory(PathBuf),
    /// The prefix has no slash at either end, and may be empty.
    S3 {
        name: String,
        prefix: String,
    },
}

impl BucketArguments {
    /// A bucket without any other flag.
    #[cfg(test)]
    fn of(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            s3_endpoint: None,
            s3_region: None,
            s3_ca_file: None,
            s3_allow_http: false,
            s3_addressing: None,
            s3_checksum: None,
        }
    }

    /// Understands the flags, and reads credentials. Asks no server yet.
    pub(crate) fn open(&self) -> Result<Arc<dyn SnapshotStore>, Failure> {
        match self.location()? {
            Location::Directory(root) => {
                check_folder(&root)?;
                Ok(Arc::new(FolderStore::telling(root, |lock, limit| {
                    note(&format!(
                        "`{}` is locked by another process; waiting for at most {} s",
                        lock.display(),
                        limit.as_secs()
                    ));
                })))
            }
            Location::S3 { name, prefix } => {
                let mut settings = S3Settings::new(name);
                settings.prefix = prefix;
                settings.endpoint.clone_from(&self.s3_endpoint);
                settings.region.clone_from(&self.s3_region);
                settings.ca_file.clone_from(&self.s3_ca_file);
                settings.allow_http = self.s3_allow_http;
                if self.s3_addressing == Some(Addressing::Virtual) {
                    settings.addressing = backup::Addressing::Virtual;
                }
                settings.checksum = self.s3_checksum.map(|checksum| match checksum {
                    Checksum::None => backup::Checksum::None,
                    Checksum::Sha256 => backup::Checksum::Sha256,
                    Checksum::Crc64nvme => backup::Checksum::Crc64Nvme,
                });
                Ok(Arc::new(S3Store::connect(&settings)?))
            }
        }
    }

    fn location(&self) -> Result<Location, Failure> {
        let Some(rest) = self.bucket.strip_prefix(SCHEME) else {
            return self.directory();
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(self.bad("has no bucket name after `s3://`"));
        }
        let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(self.bad("has an empty part in its prefix"));
        }
        if prefix.chars().any(char::is_control) {
            return Err(self.bad("has control characters in its prefix"));
        }
        Ok(Location::S3 {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    fn directory(&self) -> Result<Location, Failure> {
        if self.bucket.is_empty() {
            return Err(self.bad("is empty"));
        }
        if self
            .bucket
            .get(..3)
            .is_some_and(|begin| begin.eq_ignore_ascii_case("s3:"))
        {
            return Err(
                self.bad("is no bucket of S3: write `s3://NAME` with two slashes, in lower case")
            );
        }
        if self.bucket.contains("://") {
            return Err(self.bad("is neither a folder nor `s3://NAME/PREFIX`"));
        }
        let flags = [
            ("--s3-endpoint", self.s3_endpoint.is_some()),
            ("--s3-region", self.s3_region.is_some()),
            ("--s3-ca-file", self.s3_ca_file.is_some()),
            ("--s3-allow-http", self.s3_allow_http),
            ("--s3-addressing", self.s3_addressing.is_some()),
            ("--s3-checksum", self.s3_checksum.is_some()),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) {
            let line = format!("{flag} has no meaning for a folder; give --bucket s3://NAME");
            return Err(Failure::new(Exit::Usage, line));
        }
        Ok(Location::Directory(PathBuf::from(&self.bucket)))
    }

    fn bad(&self, reason: &str) -> Failure {
        let line = format!("--bucket: `{}` {reason}", self.bucket);
        Failure::new(Exit::Usage, line)
    }
}

/// People name the sealed snapshot itself.
fn check_folder(root: &Path) -> Result<(), Failure> {
    if !root.is_file() {
        return Ok(());
    }
    let start = file::open(root).and_then(|file| recognise::start_of(&file));
    let kind = start.ok().and_then(|start| recognise::by_start(&start));
    let what = kind.map_or("a file", |kind| kind.what);
    let line = format!("--bucket: `{}` is no folder but {what}", root.display());
    let advice =
        "--bucket names the folder in which clusters lie, and in them `<id>/snapshot.db.enc`";
    Err(Failure::new(Exit::NoInput, line).hint(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(bucket: &str) -> Result<Location, Failure> {
        BucketArguments::of(bucket).location()
    }

    #[test]
    fn a_bucket_is_a_folder_or_a_name_with_a_prefix() {
        let s3 = |name: &str, prefix: &str| Location::S3 {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(location("s3://b").unwrap(), s3("b", ""));
        assert_eq!(location("s3://b/").unwrap(), s3("b", ""));
        assert_eq!(location("s3://b/x/y/").unwrap(), s3("b", "x/y"));
        let folder = PathBuf::from("/var/backups");
        assert_eq!(
            location("/var/backups").unwrap(),
            Location::Directory(folder)
        );
        for bad in [
            "",
            "s3://",
            "s3:///x",
            "s3://b//x",
            "s3://b/../x",
            "gs://b",
            "s3:/b",
            "S3://b",
            "s3://a b",
        ] {
            assert!(location(bad).is_err(), "{bad}");
        }
    }
}
