//! What is in a bucket, grouped by snapshot while the listing goes by.
//!
//! Objects of one snapshot follow each other in every listing, so a group is complete when the next one begins, and nothing but the
//! group at hand is kept.

use std::collections::VecDeque;

use kdc_envelope::snapshot::check_name;

use super::{DATA, METADATA, WRAPPED_DEK};
use crate::failure::Failure;

/// What follows the name of an object while it is being written in a folder.
pub(super) const PARTIAL: &str = ".partial-";

/// One object of a listing.
#[derive(Debug)]
pub(super) struct Object {
    /// Below the bucket's prefix.
    pub(super) key: String,
    pub(super) info: ObjectInfo,
}

/// What a listing tells about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectInfo {
    /// In bytes.
    pub(crate) len: u64,
    /// In seconds since 1970-01-01 UTC.
    pub(crate) modified: u64,
}

/// A snapshot, complete or not; or something else that lies in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// Empty for what is not in the folder of a cluster.
    pub(crate) cluster: String,
    /// Empty for what is not in the folder of a snapshot.
    pub(crate) id: String,
    pub(crate) data: Option<ObjectInfo>,
    pub(crate) wrapped_dek: bool,
    pub(crate) metadata: Option<ObjectInfo>,
    /// The newest of what a run that was killed left while it wrote into a folder.
    pub(crate) partial: Option<ObjectInfo>,
    /// The newest of all objects, in seconds since 1970-01-01 UTC.
    pub(crate) modified: u64,
    /// The key of a snapshot that nothing encrypts. It is an entry of its own.
    pub(crate) plaintext_db: Option<String>,
    /// The key of an object that kdc does not know. Each is an entry of its own.
    pub(crate) foreign: Vec<String>,
}

impl Entry {
    /// Whether it has any object of a snapshot.
    pub(crate) const fn is_snapshot(&self) -> bool {
        self.data.is_some() || self.wrapped_dek || self.metadata.is_some() || self.partial.is_some()
    }
}

/// Groups a listing.
pub(super) struct Entries {
    objects: Box<dyn Iterator<Item = Result<Object, Failure>>>,
    open: Option<Entry>,
    ready: VecDeque<Entry>,
}

impl Entries {
    pub(super) fn new(objects: Box<dyn Iterator<Item = Result<Object, Failure>>>) -> Self {
        Self {
            objects,
            open: None,
            ready: VecDeque::new(),
        }
    }

    fn add(&mut self, object: Object) {
        let Some((cluster, id, part)) = part_of_snapshot(&object.key) else {
            self.ready.push_back(other(object));
            return;
        };
        let is_same = self
            .open
            .as_ref()
            .is_some_and(|open| open.cluster == cluster && open.id == id);
        if !is_same {
            self.ready.extend(self.open.take());
        }
        let open = self.open.get_or_insert_with(|| Entry {
            cluster: cluster.to_owned(),
            id: id.to_owned(),
            ..Entry::default()
        });
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
}

impl Iterator for Entries {
    type Item = Result<Entry, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            match self.objects.next() {
                Some(Ok(object)) => self.add(object),
                Some(Err(failure)) => return Some(Err(failure)),
                None => return self.open.take().map(Ok),
            }
        }
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
        _ => {
            let (file, end) = file.split_once(PARTIAL)?;
            let is_ours = [DATA, WRAPPED_DEK, METADATA].contains(&file) && !end.contains('/');
            is_ours.then_some(Part::Partial)?
        }
    };
    let is_named = check_name("", cluster).is_ok() && check_name("", id).is_ok();
    is_named.then_some((cluster, id, part))
}

/// A plaintext snapshot, or nothing that we know.
fn other(object: Object) -> Entry {
    let mut parts = object.key.splitn(3, '/');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let (cluster, id) = match (first, second, third) {
        (Some(cluster), Some(id), Some(_)) => (cluster, id),
        (Some(cluster), Some(_), None) => (cluster, ""),
        _ => ("", ""),
    };
    let mut entry = Entry {
        cluster: cluster.to_owned(),
        id: id.to_owned(),
        modified: object.info.modified,
        ..Entry::default()
    };
    let is_plaintext = object.key.ends_with(".db");
    match is_plaintext {
        true => entry.plaintext_db = Some(object.key),
        false => entry.foreign.push(object.key),
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(keys: &[&str]) -> Vec<Entry> {
        let objects: Vec<Result<Object, Failure>> = keys
            .iter()
            .map(|key| {
                Ok(Object {
                    key: (*key).to_owned(),
                    info: ObjectInfo {
                        len: 1,
                        modified: 2,
                    },
                })
            })
            .collect();
        Entries::new(Box::new(objects.into_iter()))
            .map(Result::unwrap)
            .collect()
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
            "c/a/b/metadata.json",
            "../a/metadata.json",
            "c/../metadata.json",
            "c//metadata.json",
            "/a/metadata.json",
            "c/a/metadata.json/",
            "c/a/other.partial-1",
        ];
        for key in foreign {
            let entries = entries(&[key]);
            let [entry] = entries.as_slice() else {
                panic!("{key}")
            };
            assert_eq!(entry.foreign, [key]);
            assert!(!entry.is_snapshot());
        }
        for key in ["c/a.db", "c/a/snapshot.db", "x.db", "c/a/b/x.db"] {
            let entry = entries(&[key]).pop().unwrap();
            assert_eq!(entry.plaintext_db.as_deref(), Some(key));
        }
        let partial = entries(&["c/a/snapshot.db.enc.partial-x1"]).pop().unwrap();
        assert!(partial.partial.is_some() && partial.is_snapshot());
    }
}
