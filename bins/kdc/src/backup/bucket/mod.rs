//! Where snapshots are kept: a folder, or a bucket of S3, seen alike and without async.
//!
//! | module | holds |
//! |---|---|
//! | [`BucketArguments`] | the flags |
//! | [`Bucket`], [`SnapshotFiles`] | what all verbs of `kdc backup` call |
//! | `entries` | one pass over everything, grouped by snapshot |
//! | `directory`, `s3` | the two places |
//! | `environment`, `profile` | the variables and the files with credentials of AWS |
//!
//! A snapshot is `<cluster>/<id>/` with three objects. `dek.wrapped` is written first, and only if it is absent: whoever has written it has
//! claimed the id, and nobody else writes there. The snapshot exists once `metadata.json` does, which is written last. Deleting goes the other
//! way round, so that the claim stands until nothing else is left. The data of a snapshot is never replaced. S3 runs on a runtime of its
//! own: none of this may be called from async code.

mod arguments;
mod directory;
mod entries;
mod environment;
mod profile;
mod s3;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use kdc_envelope::snapshot::check_name;
use kdc_envelope::snapshot::metadata::MAX_METADATA_LEN;

pub(crate) use arguments::BucketArguments;
pub(crate) use entries::Entry;
#[cfg(test)]
pub(crate) use entries::{ObjectInfo, Obstacle};

use sha2::{Digest as _, Sha256};

use super::refusal::carry;
use super::{file, recognise};
use crate::failure::{Exit, Failure};
use arguments::Location;
use directory::{Directory, Lock, StagedData};
use entries::{Entries, Found};
use environment::Environment;
use s3::{S3, Upload};

/// The sealed snapshot.
pub(crate) const DATA: &str = "snapshot.db.enc";
/// Its DEK, for tools that do not read the metadata.
pub(crate) const WRAPPED_DEK: &str = "dek.wrapped";
/// What makes it a snapshot.
pub(crate) const METADATA: &str = "metadata.json";

/// An open bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Directory(Arc<Directory>),
    S3(Arc<S3>),
}

impl Bucket {
    /// Understands the flags, and reads credentials. Asks no server yet.
    pub(crate) fn open(arguments: &BucketArguments) -> Result<Self, Failure> {
        Self::open_in(arguments, &Environment::of_this_process())
    }

    fn open_in(arguments: &BucketArguments, environment: &Environment) -> Result<Self, Failure> {
        let place = match arguments.location()? {
            Location::Directory(root) => {
                check_folder(&root)?;
                Place::Directory(Arc::new(Directory::new(root)))
            }
            Location::S3 { name, prefix } => Place::S3(Arc::new(S3::connect(
                arguments,
                environment,
                &name,
                &prefix,
            )?)),
        };
        Ok(Self { place })
    }

    /// The bucket as it was named, for messages.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Directory(directory) => directory.name(),
            Place::S3(s3) => s3.name(),
        }
    }

    /// The snapshot `id` of `cluster`, whether it exists or not.
    pub(crate) fn snapshot(&self, cluster: &str, id: &str) -> SnapshotFiles {
        SnapshotFiles {
            place: self.place.clone(),
            cluster: cluster.to_owned(),
            id: id.to_owned(),
        }
    }

    /// Everything in the bucket, or of one cluster, in one pass and bounded memory.
    pub(crate) fn entries(
        &self,
        cluster: Option<&str>,
    ) -> impl Iterator<Item = Result<Entry, Failure>> + use<> {
        let below: Vec<&str> = cluster.into_iter().collect();
        self.place.entries(&below)
    }
}

impl Place {
    /// Everything below some folders.
    fn entries(&self, below: &[&str]) -> Entries {
        Entries::new(match self {
            Self::Directory(directory) => Box::new(directory.objects(below)),
            Self::S3(s3) => {
                let below = (!below.is_empty()).then(|| below.join("/"));
                let objects = S3::objects(s3, below.as_deref());
                Box::new(objects.map(|object| object.map(Found::Object)))
            }
        })
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

/// The objects of one snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFiles {
    place: Place,
    cluster: String,
    id: String,
}

/// `metadata.json` as it was read.
#[derive(Debug, Clone)]
pub(crate) struct StoredMetadata {
    pub(crate) json: Vec<u8>,
    /// To replace exactly this one.
    pub(crate) version: Version,
}

/// One state of `metadata.json`.
#[derive(Debug, Clone)]
pub(crate) enum Version {
    /// A folder: its content.
    Content(Vec<u8>),
    /// S3: the ETag, and the version where the bucket has versions.
    ETag {
        e_tag: Option<String>,
        version: Option<String>,
    },
}

/// What a snapshot was when something about it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The SHA-256 of its metadata.
    Metadata([u8; 32]),
    /// It had none, and this is when the newest of its objects was written, in seconds since 1970-01-01 UTC.
    Orphan { modified: u64 },
}

impl Seen {
    pub(crate) fn of_metadata(json: &[u8]) -> Self {
        Self::Metadata(Sha256::digest(json).into())
    }
}

/// What became of deleting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    Yes,
    /// Somebody else has deleted it.
    Gone,
    /// It is not what was seen any more, and stays.
    Changed,
}

/// What became of replacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    Yes,
    /// It has changed, or went away, since it was read.
    Conflict,
}

impl SnapshotFiles {
    /// A new object for the data. Fails, at the latest in [`DataWriter::finish`], if the snapshot has data already.
    pub(crate) fn create_data(&self) -> Result<DataWriter, Failure> {
        let key = self.key(DATA)?;
        let writer = match &self.place {
            Place::Directory(directory) => Writer::Directory(directory.create_data(&key)?),
            Place::S3(s3) => Writer::S3(Box::new(Upload::new(s3, &key)?)),
        };
        Ok(DataWriter { writer })
    }

    /// Claims the id, by writing `dek.wrapped` unless there is another one. Wrapped DEKs are all different, so the text tells whose it is.
    pub(crate) fn claim(&self, wrapped_dek: &str) -> Result<(), Failure> {
        let key = self.key(WRAPPED_DEK)?;
        match &self.place {
            Place::Directory(directory) => directory.create(&key, wrapped_dek.as_bytes()),
            Place::S3(s3) => s3.create(&key, wrapped_dek.as_bytes()),
        }
    }

    /// Whether the claim is this one; `None` if there is none.
    pub(crate) fn is_claimed_by(&self, wrapped_dek: &str) -> Result<Option<bool>, Failure> {
        let key = self.key(WRAPPED_DEK)?;
        let text = match &self.place {
            Place::Directory(directory) => directory.read(&key, MAX_METADATA_LEN)?,
            Place::S3(s3) => s3.read_metadata(&key)?.map(|stored| stored.json),
        };
        Ok(text.map(|text| text == wrapped_dek.as_bytes()))
    }

    /// Makes it a snapshot: writes `metadata.json`, which must not exist. All else must be written by now.
    pub(crate) fn commit(&self, json: &[u8]) -> Result<(), Failure> {
        let key = self.key(METADATA)?;
        match &self.place {
            Place::Directory(directory) => directory.commit(&key, json),
            Place::S3(s3) => s3.create(&key, json),
        }
    }

    /// Deletes what a run has written that holds the claim `wrapped_dek`, and has no metadata: the data if it is there, then the claim. Does
    /// nothing if the claim is another's.
    pub(crate) fn withdraw(&self, wrapped_dek: &str, has_data: bool) -> Result<(), Failure> {
        if self.is_claimed_by(wrapped_dek)? != Some(true) {
            return Ok(());
        }
        if has_data {
            self.delete_object(DATA)?;
        }
        self.delete_object(WRAPPED_DEK)?;
        self.leave()
    }

    /// `metadata.json`, if there is any.
    pub(crate) fn read_metadata(&self) -> Result<Option<StoredMetadata>, Failure> {
        let key = self.key(METADATA)?;
        match &self.place {
            Place::Directory(directory) => {
                Ok(directory.read(&key, MAX_METADATA_LEN)?.map(|json| {
                    let version = Version::Content(json.clone());
                    StoredMetadata { json, version }
                }))
            }
            Place::S3(s3) => s3.read_metadata(&key),
        }
    }

    /// Writes `metadata.json` over the one that was read as `version`, if that is still there, and `dek.wrapped` beside it. Two at once
    /// do no harm: one of them gets [`Replaced::Conflict`].
    pub(crate) fn replace_metadata(
        &self,
        json: &[u8],
        wrapped_dek: &str,
        version: &Version,
    ) -> Result<Replaced, Failure> {
        let key = self.key(METADATA)?;
        match (&self.place, version) {
            (Place::Directory(directory), Version::Content(old)) => {
                directory.replace(&key, json, wrapped_dek, old)
            }
            (Place::S3(s3), Version::ETag { e_tag, version }) => {
                // The copy goes first: whichever of the two a reader takes, it works, and none is left behind under an old key.
                s3.write(&self.key(WRAPPED_DEK)?, wrapped_dek.as_bytes())?;
                let replaced = s3.replace(&key, json, e_tag.as_deref(), version.as_deref())?;
                if replaced == Replaced::Conflict && self.read_metadata()?.is_none() {
                    // It was deleted meanwhile. What was written here must not be all that is left of it.
                    self.withdraw(wrapped_dek, false)?;
                }
                Ok(replaced)
            }
            // Read in another kind of bucket: not this one.
            _ => Ok(Replaced::Conflict),
        }
    }

    /// The length of the data in bytes, if there is any.
    pub(crate) fn data_len(&self) -> Result<Option<u64>, Failure> {
        let key = self.key(DATA)?;
        match &self.place {
            Place::Directory(directory) => directory.len(&key),
            Place::S3(s3) => s3.len(&key),
        }
    }

    /// The data, or a range of it, as a stream.
    pub(crate) fn data(&self, range: Option<Range<u64>>) -> Result<DataReader, Failure> {
        let key = self.key(DATA)?;
        let reader: Box<dyn Read + Send> = match &self.place {
            Place::Directory(directory) => Box::new(directory.reader(&key, range)?),
            Place::S3(s3) => Box::new(S3::reader(s3, &key, range)?),
        };
        Ok(DataReader { reader })
    }

    /// Deletes all of it if it is still what was seen, `metadata.json` first, so that what is left by an end in between is an orphan and
    /// never looks complete. In a folder nobody can commit or replace meanwhile; in S3 a moment is left between the look and the deletion.
    pub(crate) fn delete_if(&self, seen: Seen) -> Result<Deleted, Failure> {
        let _lock = match &self.place {
            Place::Directory(directory) => match self.lock(directory)? {
                Some(lock) => Some(lock),
                None => return Ok(Deleted::Gone),
            },
            Place::S3(_) => None,
        };
        let stored = self.read_metadata()?;
        match (seen, &stored) {
            (Seen::Metadata(_), None) => return Ok(Deleted::Gone),
            (Seen::Metadata(_), Some(stored)) if Seen::of_metadata(&stored.json) == seen => {}
            (Seen::Orphan { modified }, None) => match self.entry()? {
                None => return Ok(Deleted::Gone),
                Some(entry) if entry.modified != modified || self.is_being_written()? => {
                    return Ok(Deleted::Changed);
                }
                Some(_) => {}
            },
            _ => return Ok(Deleted::Changed),
        }
        self.delete_object(METADATA)?;
        if let Err(failure) = self.delete_object(DATA) {
            return Err(self.put_back(stored, failure));
        }
        self.delete_object(WRAPPED_DEK)?;
        self.leave()?;
        Ok(Deleted::Yes)
    }

    /// The data cannot be deleted, as under a legal hold: it stays a snapshot.
    fn put_back(&self, stored: Option<StoredMetadata>, failure: Failure) -> Failure {
        let Some(stored) = stored else {
            return failure;
        };
        let created = self.key(METADATA).and_then(|key| match &self.place {
            Place::Directory(directory) => directory.create(&key, &stored.json),
            Place::S3(s3) => s3.create(&key, &stored.json),
        });
        match created {
            Ok(()) => failure,
            Err(_) => failure.hint("its metadata is deleted already, so that it is an orphan now"),
        }
    }

    /// Everything that is there of it, listed anew.
    fn entry(&self) -> Result<Option<Entry>, Failure> {
        for entry in self.place.entries(&[&self.cluster, &self.id]) {
            let entry = entry?;
            if entry.is_snapshot() {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn is_being_written(&self) -> Result<bool, Failure> {
        match &self.place {
            Place::Directory(directory) => directory.is_being_written(&self.key(DATA)?),
            // An upload is seen only when it is complete.
            Place::S3(_) => Ok(false),
        }
    }

    fn lock<'d>(&self, directory: &'d Directory) -> Result<Option<Lock<'d>>, Failure> {
        directory.lock(&self.key(METADATA)?)
    }

    fn delete_object(&self, file: &str) -> Result<(), Failure> {
        let key = self.key(file)?;
        match &self.place {
            Place::Directory(directory) => directory.delete(&key),
            Place::S3(s3) => s3.delete(&key),
        }
    }

    /// A folder goes when nothing is in it but what runs left that were killed.
    fn leave(&self) -> Result<(), Failure> {
        match &self.place {
            Place::Directory(directory) => directory.delete_rest(&self.key(DATA)?),
            Place::S3(_) => Ok(()),
        }
    }

    /// Where an object lies. Names that reach beyond the bucket, or into another snapshot, are refused here, whoever made them.
    fn key(&self, file: &str) -> Result<String, Failure> {
        check_name("the cluster name", &self.cluster)
            .and_then(|()| check_name("the snapshot id", &self.id))
            .map_err(|error| Failure::of(Exit::Usage, &error))?;
        Ok(format!("{}/{}/{file}", self.cluster, self.id))
    }
}

/// Takes the data of a new snapshot. Dropped before [`finish`](Self::finish), it leaves nothing behind. What fails is carried through
/// [`io::Error`], with one line that names the object.
#[derive(Debug)]
pub(crate) struct DataWriter {
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    Directory(StagedData),
    S3(Box<Upload>),
}

impl DataWriter {
    /// Makes the object appear, and gives its length in bytes.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        match self.writer {
            Writer::Directory(staged) => staged.finish(),
            Writer::S3(upload) => upload.finish(),
        }
    }
}

impl Write for DataWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.writer {
            Writer::Directory(staged) => staged.write(bytes),
            Writer::S3(upload) => upload.write(bytes),
        };
        written.map_err(carry)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Data as it comes from the bucket.
pub(crate) struct DataReader {
    reader: Box<dyn Read + Send>,
}

impl std::fmt::Debug for DataReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataReader").finish_non_exhaustive()
    }
}

impl Read for DataReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}
