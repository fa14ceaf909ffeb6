//! What is in a bucket, grouped by snapshot while the listing goes by.
//!
//! Objects of one snapshot follow each other in every listing, so a group is complete when the next one begins, and nothing but the
//! group at hand is kept.

use std::collections::VecDeque;

use async_trait::async_trait;
use kdc_envelope::snapshot::check_name;

use super::{DATA, METADATA, WRAPPED_DEK};
use crate::error::BackupError;

/// What follows the name of an object while it is being written in a folder, and then come letters and digits.
pub(super) const PARTIAL: &str = ".partial-";
/// How many of these.
pub(super) const PARTIAL_LEN: usize = 6;

/// Whether a file is one that is being written and has not its name yet. Anything else, however similar, is foreign.
pub(super) fn is_partial(name: &str) -> bool {
    name.split_once(PARTIAL).is_some_and(|(file, end)| {
        [DATA, WRAPPED_DEK, METADATA].contains(&file)
            && end.len() == PARTIAL_LEN
            && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What a pass over a store comes across.
#[derive(Debug)]
#[non_exhaustive]
pub enum Found {
    /// An object.
    Object(Object),
    /// Something that is no object.
    Obstacle(Obstacle),
}

/// Something that is no object, and may stand in the way of some.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Obstacle {
    /// Where it lies, below the store's root or prefix.
    pub key: String,
    /// A noun with its article, for people.
    pub what: &'static str,
    /// Whether snapshots may lie behind it. In the place of an object of a snapshot it is in the way in any case.
    pub hides_snapshots: bool,
    /// In seconds since 1970-01-01 UTC.
    pub modified: u64,
}

/// One object of a listing.
#[derive(Debug)]
#[non_exhaustive]
pub struct Object {
    /// Below the store's root or prefix.
    pub key: String,
    /// What the listing tells about it.
    pub info: ObjectInfo,
}

impl Object {
    /// An object of a store that another crate implements.
    #[must_use]
    pub const fn new(key: String, info: ObjectInfo) -> Self {
        Self { key, info }
    }
}

/// What a listing tells about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// In bytes.
    pub len: u64,
    /// In seconds since 1970-01-01 UTC.
    pub modified: u64,
}

impl ObjectInfo {
    /// `len` in bytes, `modified` in seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn new(len: u64, modified: u64) -> Self {
        Self { len, modified }
    }
}

/// A snapshot, complete or not; or something else that lies in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Entry {
    /// Empty for what is not in the folder of a cluster.
    pub cluster: String,
    /// Empty for what is not in the folder of a snapshot.
    pub id: String,
    /// The sealed snapshot.
    pub data: Option<ObjectInfo>,
    /// Whether the wrapped DEK lies beside it, by which a run claims the id.
    pub wrapped_dek: bool,
    /// What makes it a snapshot.
    pub metadata: Option<ObjectInfo>,
    /// The newest of what a run that was killed left while it wrote into a folder.
    pub partial: Option<ObjectInfo>,
    /// The newest of all objects, in seconds since 1970-01-01 UTC.
    pub modified: u64,
    /// The key of a snapshot that nothing encrypts. It is an entry of its own.
    pub plaintext_db: Option<String>,
    /// The key of an object that is of no snapshot. Each is an entry of its own.
    pub foreign: Vec<String>,
    /// What stands in the way of looking at it: what is here is not known.
    pub obstacle: Option<Obstacle>,
}

impl Entry {
    /// Whether it has any object of a snapshot.
    #[must_use]
    pub const fn is_snapshot(&self) -> bool {
        self.data.is_some() || self.wrapped_dek || self.metadata.is_some() || self.partial.is_some()
    }
}

/// Objects of a store, one after another.
#[async_trait]
pub trait ObjectListing: Send {
    /// The next object, or `None` when all were given. Nothing is left out without an error.
    async fn next(&mut self) -> Result<Option<Found>, BackupError>;
}

/// The entries of a store: its objects, grouped by snapshot.
pub struct Entries {
    found: Box<dyn ObjectListing>,
    open: Option<Entry>,
    ready: VecDeque<Entry>,
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}

impl Entries {
    pub(crate) fn new(found: Box<dyn ObjectListing>) -> Self {
        Self {
            found,
            open: None,
            ready: VecDeque::new(),
        }
    }

    /// The next entry, or `None` when all were given.
    ///
    /// # Errors
    /// [`BackupError`] if the store cannot be listed; nothing may be concluded from what came before.
    pub async fn next(&mut self) -> Result<Option<Entry>, BackupError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            match self.found.next().await? {
                Some(Found::Object(object)) => self.add(object),
                Some(Found::Obstacle(obstacle)) => self.add_obstacle(obstacle),
                None => return Ok(self.open.take()),
            }
        }
    }

    fn add(&mut self, object: Object) {
        let Some((cluster, id, part)) = part_of_snapshot(&object.key) else {
            self.ready.push_back(other(object));
            return;
        };
        let open = self.snapshot(cluster, id);
        open.modified = open.modified.max(object.info.modified);
        match part {
            Part::Data => open.data = Some(object.info),
            Part::WrappedDek => open.wrapped_dek = true,
            Part::Metadata => open.metadata = Some(object.info),
            Part::Partial => {
                let newest = open.partial.map_or(0, |partial| partial.modified);
                if newest <= object.info.modified {
                    open.partial = Some(object.info);
                }
            }
        }
    }

    fn add_obstacle(&mut self, obstacle: Obstacle) {
        if let Some((cluster, id, _)) = part_of_snapshot(&obstacle.key) {
            let open = self.snapshot(cluster, id);
            open.modified = open.modified.max(obstacle.modified);
            open.obstacle = Some(obstacle);
            return;
        }
        let (cluster, id) = place_of(&obstacle.key);
        let mut entry = Entry {
            cluster: cluster.to_owned(),
            id: id.to_owned(),
            modified: obstacle.modified,
            ..Entry::default()
        };
        match obstacle.hides_snapshots {
            true => entry.obstacle = Some(obstacle),
            false => entry.foreign.push(obstacle.key),
        }
        self.ready.push_back(entry);
    }

    /// The entry of a snapshot; what is open of another one is ready then.
    fn snapshot(&mut self, cluster: &str, id: &str) -> &mut Entry {
        let is_same = self
            .open
            .as_ref()
            .is_some_and(|open| open.cluster == cluster && open.id == id);
        if !is_same {
            self.ready.extend(self.open.take());
        }
        self.open.get_or_insert_with(|| Entry {
            cluster: cluster.to_owned(),
            id: id.to_owned(),
            ..Entry::default()
        })
    }
}

enum Part {
    Data,
    WrappedDek,
    Metadata,
    Partial,
}

fn part_of_snapshot(key: &str) -> Option<(&str, &str, Part)> {
    let (cluster, rest) = key.split_once('/')?;
    let (id, file) = rest.split_once('/')?;
    let part = match file {
        DATA => Part::Data,
        WRAPPED_DEK => Part::WrappedDek,
        METADATA => Part::Metadata,
        _ => is_partial(file).then_some(Part::Partial)?,
    };
    let is_named = check_name("", cluster).is_ok() && check_name("", id).is_ok();
    is_named.then_some((cluster, id, part))
}

/// The cluster and the snapshot in whose place a key lies; empty where it lies in none.
fn place_of(key: &str) -> (&str, &str) {
    let mut parts = key.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(cluster), Some(id), Some(_)) => (cluster, id),
        (Some(cluster), Some(_), None) => (cluster, ""),
        _ => ("", ""),
    }
}

/// A plaintext snapshot, a snapshot in an unexpected place, or nothing that we know.
fn other(object: Object) -> Entry {
    let (cluster, id) = place_of(&object.key);
    let mut entry = Entry {
        cluster: cluster.to_owned(),
        id: id.to_owned(),
        modified: object.info.modified,
        ..Entry::default()
    };
    let is_snapshot = object.key.split('/').any(|part| part == METADATA);
    if object.key.ends_with(".db") {
        entry.plaintext_db = Some(object.key);
    } else if is_snapshot {
        entry.obstacle = Some(Obstacle {
            key: object.key,
            what: "metadata of a snapshot, but not `<cluster>/<id>/metadata.json` below the root of the store",
            hides_snapshots: true,
            modified: object.info.modified,
        });
    } else {
        entry.foreign.push(object.key);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::wait;

    struct Fixed(std::vec::IntoIter<Result<Found, BackupError>>);

    #[async_trait]
    impl ObjectListing for Fixed {
        async fn next(&mut self) -> Result<Option<Found>, BackupError> {
            self.0.next().transpose()
        }
    }

    fn entries(keys: &[&str]) -> Vec<Entry> {
        let object = |key: &&str| {
            let info = ObjectInfo {
                len: 1,
                modified: 2,
            };
            let key = (*key).to_owned();
            Ok(Found::Object(Object { key, info }))
        };
        let found: Vec<Result<Found, BackupError>> = keys.iter().map(object).collect();
        let mut entries = Entries::new(Box::new(Fixed(found.into_iter())));
        wait(async {
            let mut all = Vec::new();
            while let Some(entry) = entries.next().await.unwrap() {
                all.push(entry);
            }
            all
        })
    }

    #[test]
    fn objects_of_one_snapshot_become_one_entry() {
        let entries = entries(&[
            "c/a/dek.wrapped",
            "c/a/metadata.json",
            "c/a/readme",
            "c/a/snapshot.db.enc",
            "c/b/snapshot.db.enc",
        ]);
        let [readme, a, b] = entries.as_slice() else {
            panic!("{entries:?}")
        };
        assert_eq!(readme.foreign, ["c/a/readme"]);
        assert!(a.data.is_some() && a.wrapped_dek && a.metadata.is_some());
        assert_eq!((a.cluster.as_str(), a.id.as_str()), ("c", "a"));
        assert!(b.data.is_some() && !b.wrapped_dek && b.metadata.is_none());
    }

    #[test]
    fn what_is_not_of_a_snapshot_is_named() {
        let foreign = [
            "x",
            "c/x",
            "c/a/b/dek.wrapped",
            "c/a/other.partial-abc123",
            "c/a/snapshot.db.enc.partial-2026.txt",
            "c/a/snapshot.db.enc.partial-abc12",
        ];
        for key in foreign {
            let entries = entries(&[key]);
            let [entry] = entries.as_slice() else {
                panic!("{key}")
            };
            assert_eq!(entry.foreign, [key]);
            assert!(!entry.is_snapshot());
        }
        let misplaced = [
            "c/a/b/metadata.json",
            "../a/metadata.json",
            "c/../metadata.json",
            "c//metadata.json",
            "/a/metadata.json",
            "c/a/metadata.json/",
            "metadata.json",
        ];
        for key in misplaced {
            let entry = entries(&[key]).pop().unwrap();
            assert_eq!(
                entry.obstacle.map(|obstacle| obstacle.key).as_deref(),
                Some(key)
            );
        }
        for key in ["c/a.db", "c/a/snapshot.db", "x.db", "c/a/b/x.db"] {
            let entry = entries(&[key]).pop().unwrap();
            assert_eq!(entry.plaintext_db.as_deref(), Some(key));
        }
        let partial = entries(&["c/a/snapshot.db.enc.partial-aB3xyz"])
            .pop()
            .unwrap();
        assert!(partial.partial.is_some() && partial.is_snapshot());
    }
}
