//! The bucket whose snapshots keep the keys that they need in the configuration.

use std::sync::Arc;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use kdc_envelope_backup::SnapshotStore;
use kdc_envelope_backup::catalogue::{place, retained_keys};
use kdc_envelope_k8s::control_plane::{PortError, RetainedBackups};
use kdc_envelope_k8s::rotation::BackupNeeds;
use kdc_shared::backups::needs;

use crate::backup::bucket::BucketArguments;
use crate::clock;
use crate::failure::{Exit, Failure};

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
