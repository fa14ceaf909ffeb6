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
//! A snapshot is `<cluster>/<id>/` with three objects. It exists once `metadata.json` does: that is written last, and only if it
//! is absent; and deleted first. The data of a snapshot is never replaced. S3 runs on a runtime of its own: none of this may be
//! called from async code.

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
use std::sync::Arc;

use kdc_envelope::snapshot::check_name;
use kdc_envelope::snapshot::metadata::MAX_METADATA_LEN;

pub(crate) use arguments::BucketArguments;
pub(crate) use entries::Entry;
#[cfg(test)]
pub(crate) use entries::ObjectInfo;

use super::refusal::carry;
use crate::failure::{Exit, Failure};
use arguments::Location;
use directory::{Directory, StagedData};
use entries::{Entries, Object};
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
            Location::Directory(root) => Place::Directory(Arc::new(Directory::new(root))),
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
        let objects: Box<dyn Iterator<Item = Result<Object, Failure>>> = match &self.place {
            Place::Directory(directory) => Box::new(directory.objects(cluster)),
            Place::S3(s3) => Box::new(S3::objects(s3, cluster)),
        };
        Entries::new(objects)
    }
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

    /// Writes `dek.wrapped`, over an older one.
    pub(crate) fn write_wrapped_dek(&self, text: &str) -> Result<(), Failure> {
        let key = self.key(WRAPPED_DEK)?;
        match &self.place {
            Place::Directory(directory) => directory.write(&key, text.as_bytes()),
            Place::S3(s3) => s3.write(&key, text.as_bytes()),
        }
    }

    /// Makes it a snapshot: writes `metadata.json`, which must not exist. All else must be written by now.
    pub(crate) fn commit(&self, json: &[u8]) -> Result<(), Failure> {
        let key = self.key(METADATA)?;
        match &self.place {
            Place::Directory(directory) => directory.create(&key, json),
            Place::S3(s3) => s3.create(&key, json),
        }
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

    /// Writes `metadata.json` over the one that was read as `version`, if that is still there. Two at once do no harm: one of them
    /// gets [`Replaced::Conflict`].
    pub(crate) fn replace_metadata(
        &self,
        json: &[u8],
        version: &Version,
    ) -> Result<Replaced, Failure> {
        let key = self.key(METADATA)?;
        match (&self.place, version) {
            (Place::Directory(directory), Version::Content(old)) => {
                directory.replace(&key, json, old)
            }
            (Place::S3(s3), Version::ETag { e_tag, version }) => {
                s3.replace(&key, json, e_tag.as_deref(), version.as_deref())
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

    /// Deletes all of it, `metadata.json` first, so that what is left by an end in between is an orphan and never looks complete.
    pub(crate) fn delete(&self) -> Result<(), Failure> {
        let keys = [METADATA, WRAPPED_DEK, DATA].map(|file| self.key(file));
        for key in keys {
            let key = key?;
            match &self.place {
                Place::Directory(directory) => directory.delete(&key)?,
                Place::S3(s3) => s3.delete(&key)?,
            }
        }
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
