//! The bucket whose snapshots keep the keys that they need in the configuration.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use kdc_envelope::key_usage::Provider;
use kdc_envelope_backup::SnapshotStore;
use kdc_envelope_backup::catalogue::{InnerKey, RetainedKeys, place, retained_keys};
use kdc_envelope_k8s::control_plane::{PortError, RetainedBackups};
use kdc_envelope_k8s::rotation::{BackupNeeds, Retained, Writer};

use crate::backup::bucket::BucketArguments;
use crate::clock;
use crate::failure::{Exit, Failure};

/// Names of snapshots that stand for all that need a key.
const NAMED: usize = 3;

/// What the outcome says without a bucket.
pub(super) const NOT_ASKED: &str =
    "backups were not asked which keys they need; name the bucket of the snapshots with --bucket";

/// The flags of `kdc backup` for a bucket, none of which is needed here.
#[derive(Debug, Clone)]
pub(super) struct BackupFlags(Option<BucketFlags>);

#[derive(Debug, Clone, Args)]
struct BucketFlags {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Of the bucket, only the snapshots of this cluster [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Bucket")]
    cluster: Option<String>,
}

impl BackupFlags {
    /// The bucket, if one is named. Asks no server yet.
    pub(super) fn open(&self) -> Result<Option<Arc<dyn RetainedBackups>>, Failure> {
        let Some(flags) = &self.0 else {
            return Ok(None);
        };
        crate::backup::check_cluster(flags.cluster.as_deref())?;
        Ok(Some(Arc::new(BucketBackups {
            store: flags.bucket.open()?,
            cluster: flags.cluster.clone(),
        })))
    }
}

impl FromArgMatches for BackupFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_given = matches.contains_id(BUCKET);
        let flags = is_given.then(|| BucketFlags::from_arg_matches(matches));
        flags.transpose().map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const BUCKET: &str = "bucket";

/// The same flags, but `--bucket` may be left out, and then so must the others.
impl Args for BackupFlags {
    fn augment_args(command: Command) -> Command {
        let flags = BucketFlags::augment_args(Command::new(""));
        let flags = flags.get_arguments().cloned().map(|flag| {
            let is_bucket = flag.get_id() == BUCKET;
            match is_bucket {
                true => flag.required(false).help(
                    "Keep the keys in the configuration that snapshots need: a folder, or `s3://NAME` or `s3://NAME/PREFIX` \
                     [default: backups are not asked]",
                ),
                false => flag.requires(BUCKET),
            }
        });
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The snapshots in a bucket.
#[derive(Debug)]
struct BucketBackups {
    store: Arc<dyn SnapshotStore>,
    cluster: Option<String>,
}

/// Why a bucket could not be asked, with the exit code that it has for every command.
#[derive(Debug, thiserror::Error)]
#[error("{line}")]
pub(super) struct BucketFailure {
    pub(super) exit: Exit,
    line: String,
}

impl From<Failure> for BucketFailure {
    fn from(failure: Failure) -> Self {
        Self {
            exit: failure.exit(),
            line: failure.line().unwrap_or_default().to_owned(),
        }
    }
}

#[async_trait]
impl RetainedBackups for BucketBackups {
    async fn needs(&self) -> Result<BackupNeeds, PortError> {
        let cluster = self.cluster.as_deref();
        let keys = retained_keys(&self.store, cluster, clock::now()).await;
        let keys = keys.map_err(|error| {
            PortError::Backups(BucketFailure::from(Failure::from(error)).into())
        })?;
        Ok(needs(&keys, &place(&self.store.name(), cluster)))
    }
}

/// The snapshots that need one key: how many, and the newest of them.
#[derive(Default)]
struct Need {
    count: u64,
    newest: BTreeSet<(Reverse<u64>, String)>,
}

/// Rows that are stored plain need no key and are left out, since most resources are never encrypted. A bucket without snapshots proves
/// nothing, as it may be the wrong one.
fn needs(keys: &RetainedKeys, place: &str) -> BackupNeeds {
    let mut needs: BTreeMap<Writer, Need> = BTreeMap::new();
    for snapshot in &keys.known {
        let writers: BTreeSet<Writer> = snapshot.keys.iter().filter_map(writer).collect();
        for writer in writers {
            let need = needs.entry(writer).or_default();
            need.count += 1;
            need.newest
                .insert((Reverse(snapshot.created), snapshot.snapshot.clone()));
            if need.newest.len() > NAMED {
                need.newest.pop_last();
            }
        }
    }
    let retained = |(needs, need): (Writer, Need)| Retained {
        needs,
        backups: need
            .newest
            .into_iter()
            .map(|(_, name)| name.into())
            .collect(),
        count: need.count,
    };
    BackupNeeds::Asked {
        needs: needs.into_iter().map(retained).collect(),
        unknown: unknown(keys, place).into_iter().map(Into::into).collect(),
    }
}

/// Why it is not known which keys the snapshots need, if it is not.
fn unknown(keys: &RetainedKeys, place: &str) -> Option<String> {
    let nameless = |key: &InnerKey| key.name.is_none() && !is_plain(key);
    let unmatched = keys.known.iter();
    let unmatched = unmatched.filter(|snapshot| snapshot.keys.iter().any(nameless));
    let unmatched = unmatched.map(|snapshot| &snapshot.snapshot);
    let names: BTreeSet<&String> = keys.unknown.iter().chain(unmatched).collect();
    let mut names = names.into_iter();
    let Some(first) = names.next() else {
        return keys
            .known
            .is_empty()
            .then(|| format!("there is no snapshot in {place}"));
    };
    Some(match names.len() {
        0 => format!("`{first}` does not say which keys it needs"),
        others => format!("`{first}` and {others} more do not say which keys they need"),
    })
}

fn is_plain(key: &InnerKey) -> bool {
    key.provider == Provider::Identity.as_str()
}

/// What rows of one key were written with; `None` for plain rows, and for rows that do not name their key.
fn writer(key: &InnerKey) -> Option<Writer> {
    let name = key.name.clone().filter(|_| !is_plain(key))?;
    let is = |provider: Provider| key.provider == provider.as_str();
    Some(match is(Provider::KmsV2) || is(Provider::KmsV1) {
        true => Writer::Kms { name },
        false => Writer::Key {
            provider: key.provider.clone(),
            name,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kdc_envelope_backup::FolderStore;
    use serde_json::json;

    use super::*;
    use crate::runtime;

    /// What a folder needs that holds one snapshot with these groups of rows.
    fn needs_of(groups: serde_json::Value) -> BackupNeeds {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("c/s");
        fs::create_dir_all(&snapshot).unwrap();
        let metadata = json!({
            "schemaVersion": 2, "algorithm": "AES-256-GCM", "compression": "none", "cluster": "c", "snapshot": "s", "source": "test",
            "createdAt": "2026-11-30T12:00:00Z", "contentLength": 1, "sealedLength": 100, "transitMount": "transit",
            "transitKey": "snapshots", "transitKeyVersion": 1, "wrappedDek": "vault:v1:AAAA",
            "mac": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "rows": {"total": 1, "groups": groups},
        });
        for (name, bytes) in [
            ("snapshot.db.enc", vec![0; 100]),
            ("dek.wrapped", b"vault:v1:AAAA".to_vec()),
            ("metadata.json", metadata.to_string().into_bytes()),
        ] {
            fs::write(snapshot.join(name), bytes).unwrap();
        }
        let store: Arc<dyn SnapshotStore> = Arc::new(FolderStore::new(folder.path()));
        let keys = runtime::wait(async { Ok(retained_keys(&store, None, clock::now()).await?) });
        needs(&keys.unwrap(), "bucket")
    }

    fn unknown_of(needs: &BackupNeeds) -> usize {
        let BackupNeeds::Asked { unknown, .. } = needs else {
            panic!("{needs:?}");
        };
        unknown.len()
    }

    #[test]
    fn rows_under_a_key_without_a_name_keep_everything_and_plain_ones_nothing() {
        let nameless = json!([{"provider": "kms-v2", "keyId": "a-key", "rows": 1}]);
        assert_eq!(unknown_of(&needs_of(nameless)), 1);
        let named =
            needs_of(json!([{"provider": "kms-v2", "name": "bao", "keyId": "a-key", "rows": 1}]));
        assert_eq!(unknown_of(&named), 0);
        let plain = needs_of(json!([{"provider": "identity", "rows": 1}]));
        assert_eq!(unknown_of(&plain), 0);
        let BackupNeeds::Asked { needs, .. } = named else {
            panic!("{named:?}");
        };
        let name = "bao".to_owned();
        assert_eq!(needs[0].needs, Writer::Kms { name });
    }
}
