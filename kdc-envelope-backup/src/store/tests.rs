use std::io::{Read, Write as _};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use kdc_envelope::ErrorChain;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::error::BackupErrorKind as ErrorKind;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

/// Waits for what a test asks for.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// All that an error says.
pub(super) fn line(error: &BackupError) -> String {
    let advice = error.advice().map(|advice| format!("; {advice}"));
    format!("{}{}", ErrorChain::new(error), advice.unwrap_or_default())
}

/// A store, asked by threads that may wait.
#[derive(Debug, Clone)]
pub(super) struct Bucket(pub(super) Arc<dyn SnapshotStore>);

impl Bucket {
    pub(super) fn snapshot(&self, cluster: &str, id: &str) -> Files {
        Files(SnapshotFiles::new(&self.0, cluster, id))
    }

    pub(super) fn entries(
        &self,
        cluster: Option<&str>,
    ) -> std::vec::IntoIter<Result<Entry, BackupError>> {
        let below: Vec<&str> = cluster.into_iter().collect();
        wait(async {
            let mut entries = Entries::new(self.0.list(&below));
            let mut all = Vec::new();
            loop {
                match entries.next().await {
                    Ok(Some(entry)) => all.push(Ok(entry)),
                    Ok(None) => break,
                    Err(error) => {
                        all.push(Err(error));
                        break;
                    }
                }
            }
            all.into_iter()
        })
    }
}

/// A snapshot in it.
#[derive(Debug, Clone)]
pub(super) struct Files(SnapshotFiles);

impl Files {
    pub(super) fn create_data(&self) -> Result<Box<dyn DataSink>, BackupError> {
        wait(self.0.create_data())
    }

    pub(super) fn claim(&self, wrapped_dek: &str) -> Result<(), BackupError> {
        wait(self.0.claim(wrapped_dek))
    }

    pub(super) fn is_claimed_by(&self, wrapped_dek: &str) -> Result<Option<bool>, BackupError> {
        wait(self.0.is_claimed_by(wrapped_dek))
    }

    pub(super) fn commit(&self, json: &[u8]) -> Result<(), BackupError> {
        wait(self.0.commit(json))
    }

    pub(super) fn read_metadata(&self) -> Result<Option<StoredMetadata>, BackupError> {
        wait(self.0.read_metadata())
    }

    pub(super) fn replace_metadata(
        &self,
        json: &[u8],
        wrapped_dek: &str,
        version: &Version,
    ) -> Result<Replaced, BackupError> {
        wait(self.0.replace_metadata(json, wrapped_dek, version))
    }

    pub(super) fn data_len(&self) -> Result<Option<u64>, BackupError> {
        wait(self.0.data_len())
    }

    pub(super) fn data(
        &self,
        range: Option<Range<u64>>,
    ) -> Result<Box<dyn Read + Send>, BackupError> {
        wait(self.0.data(range))
    }

    pub(super) fn delete_if(&self, seen: Seen) -> Result<Deleted, BackupError> {
        wait(self.0.delete_if(seen))
    }
}

fn bucket(folder: &TempDir) -> Bucket {
    Bucket(Arc::new(FolderStore::new(folder.path())))
}

/// What every bucket does. `data` is longer than a part.
pub(super) fn contract(bucket: &Bucket, data: &[u8]) {
    let files = bucket.snapshot("cluster", "id");
    let write = |files: &Files, data: &[u8]| {
        let mut writer = files.create_data()?;
        writer.write_all(data).unwrap();
        writer.finish()
    };
    assert_eq!(files.data_len().unwrap(), None);
    assert!(files.read_metadata().unwrap().is_none());
    assert_eq!(write(&files, data).unwrap(), data.len() as u64);
    assert_eq!(files.data_len().unwrap(), Some(data.len() as u64));
    assert_eq!(
        write(&files, b"").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let small = bucket.snapshot("cluster", "id-small");
    let two = [small.create_data().unwrap(), small.create_data().unwrap()];
    let [first, second] = two.map(|mut writer| {
        writer.write_all(b"small").unwrap();
        writer
    });
    assert_eq!(first.finish().unwrap(), 5);
    drop(second);
    files.claim("old").unwrap();
    files.claim("old").unwrap();
    let refused = files.claim("other").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(files.is_claimed_by("old").unwrap(), Some(true));
    assert_eq!(files.is_claimed_by("other").unwrap(), Some(false));
    assert_eq!(small.is_claimed_by("old").unwrap(), None);
    files.commit(b"{\"a\":1}").unwrap();
    files.commit(b"{\"a\":1}").unwrap();
    assert_eq!(
        files.commit(b"{}").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let stored = files.read_metadata().unwrap().unwrap();
    assert_eq!(stored.json, b"{\"a\":1}");
    let replace = |json: &[u8]| files.replace_metadata(json, "new", &stored.version);
    assert_eq!(replace(b"{}").unwrap(), Replaced::Yes);
    assert_eq!(replace(b"x").unwrap(), Replaced::Conflict);
    assert_eq!(files.is_claimed_by("new").unwrap(), Some(true));
    let read = |range: Option<Range<u64>>| {
        let mut bytes = Vec::new();
        files.data(range).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(read(None) == data);
    assert!(read(Some(3..1000)) == data[3..1000]);
    assert!(read(Some(0..0)).is_empty());
    let names: Vec<(String, bool)> = bucket
        .entries(Some("cluster"))
        .map(Result::unwrap)
        .map(|entry| (entry.id, entry.metadata.is_some()))
        .collect();
    let expected = [("id".to_owned(), true), ("id-small".to_owned(), false)];
    assert!(names.iter().all(|name| expected.contains(name)) && names.len() == 2);
    assert_eq!(bucket.entries(None).count(), 2);
    assert_eq!(bucket.entries(Some("clust")).count(), 0);
    deletes_what_was_seen(bucket, &files, &small);
    assert_eq!(replace(b"y").unwrap(), Replaced::Conflict);
    let count = bucket.entries(None).count();
    assert_eq!(count, 0, "nothing is left, and nothing came back");
    assert!(files.data(None).is_err());
}

/// `files` has the metadata `{}`, and had another before; `small` has none.
fn deletes_what_was_seen(bucket: &Bucket, files: &Files, small: &Files) {
    let old = Seen::of_metadata(b"{\"a\":1}");
    assert_eq!(files.delete_if(old).unwrap(), Deleted::Changed);
    let seen = Seen::of_metadata(b"{}");
    assert_eq!(files.delete_if(seen).unwrap(), Deleted::Yes);
    assert_eq!(files.delete_if(seen).unwrap(), Deleted::Gone);
    let orphan = bucket.entries(None).next().unwrap().unwrap().modified;
    let seen = |modified| small.delete_if(Seen::Orphan { modified }).unwrap();
    assert_eq!(seen(orphan - 1), Deleted::Changed);
    assert_eq!(seen(orphan), Deleted::Yes);
}

#[test]
fn a_folder_keeps_the_contract_of_a_bucket() {
    let folder = TempDir::new().unwrap();
    contract(&bucket(&folder), &vec![7; 100_000]);
}

fn files_of(folder: &TempDir) -> Vec<String> {
    bucket(folder)
        .entries(None)
        .map(|entry| format!("{:?}", entry.unwrap()))
        .collect()
}

#[test]
fn a_snapshot_is_written_and_read_back() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    let mut data = files.create_data().unwrap();
    data.write_all(b"sealed").unwrap();
    assert_eq!(data.finish().unwrap(), 6);
    files.claim("vault:v1:AAAA").unwrap();
    assert!(files.read_metadata().unwrap().is_none());
    files.commit(b"{}").unwrap();
    assert_eq!(files.data_len().unwrap(), Some(6));
    let mut text = String::new();
    let range = files.data(Some(1..4)).unwrap().read_to_string(&mut text);
    assert_eq!((range.unwrap(), text.as_str()), (3, "eal"));
    let entry = bucket(&folder).entries(Some("c")).next().unwrap().unwrap();
    assert!(entry.wrapped_dek && entry.metadata.is_some());
    assert_eq!(entry.data.unwrap().len, 6);
    let mode = |path: &str| {
        let metadata = std::fs::metadata(folder.path().join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("c/s"), 0o700);
    assert_eq!(mode("c/s/snapshot.db.enc"), 0o600);
    assert_eq!(mode("c/s/metadata.json"), 0o600);
    let seen = Seen::of_metadata(b"{}");
    assert_eq!(files.delete_if(seen).unwrap(), Deleted::Yes);
    assert_eq!(files.delete_if(seen).unwrap(), Deleted::Gone);
    assert_eq!(files_of(&folder), [""; 0]);
    assert_eq!(bucket(&folder).entries(Some("other")).count(), 0);
}

#[test]
fn nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    let two = [files.create_data().unwrap(), files.create_data().unwrap()];
    let [first, second] = two.map(|sink| sink.finish());
    first.unwrap();
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(files.create_data().is_err());
    files.commit(b"1").unwrap();
    files.commit(b"1").unwrap(); // an answer may get lost
    assert_eq!(
        files.commit(b"2").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    files.create_data().unwrap().write_all(b"x").unwrap();
    assert_eq!(files_of(&folder), [""; 0]);
}

#[test]
fn what_a_killed_run_left_is_seen_and_deleted_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("c/s");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("snapshot.db.enc.partial-aXyz12"), "x").unwrap();
    let entry = bucket(&folder).entries(None).next().unwrap().unwrap();
    assert!(entry.is_snapshot() && entry.partial.is_some());
    let seen = Seen::Orphan {
        modified: entry.modified,
    };
    let files = bucket(&folder).snapshot("c", "s");
    // A run that goes on holds its file.
    let running = files.create_data().unwrap();
    std::fs::write(place.join("notes.partial-2026.txt"), "mine").unwrap();
    let entry = bucket(&folder)
        .entries(None)
        .find(|entry| entry.as_ref().unwrap().is_snapshot());
    let modified = entry.unwrap().unwrap().modified;
    assert_eq!(
        files.delete_if(Seen::Orphan { modified }).unwrap(),
        Deleted::Changed
    );
    drop(running);
    assert_eq!(files.delete_if(seen).unwrap(), Deleted::Yes);
    let left: Vec<_> = std::fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["notes.partial-2026.txt"]);
}

#[test]
fn links_in_a_folder_lead_nowhere() {
    let folder = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    let link =
        |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
    std::fs::create_dir_all(outside.path().join("s")).unwrap();
    std::fs::write(outside.path().join("s/snapshot.db.enc"), "precious").unwrap();
    link(outside.path(), "c");
    std::fs::create_dir(folder.path().join("d")).unwrap();
    link(&outside.path().join("s"), "d/s");
    link(&outside.path().join("new"), "d/.lock");
    for cluster in ["c", "d"] {
        let files = bucket(&folder).snapshot(cluster, "s");
        let words = |failure: BackupError| line(&failure);
        for failure in [
            files.create_data().unwrap_err(),
            files.claim("x").unwrap_err(),
            files.delete_if(Seen::Orphan { modified: 0 }).unwrap_err(),
            files.data_len().unwrap_err(),
        ] {
            let words = words(failure);
            assert!(words.contains("a symbolic link"), "{words}");
        }
    }
    let found: Vec<Entry> = bucket(&folder).entries(None).map(Result::unwrap).collect();
    let hidden: Vec<&str> = found
        .iter()
        .filter_map(|entry| Some(entry.obstacle.as_ref()?.key.as_str()))
        .collect();
    assert_eq!(hidden, ["c", "d/s"]);
    let listed = bucket(&folder).entries(Some("c")).next().unwrap();
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::Damaged);
    assert!(!outside.path().join("new").exists());
    let precious = std::fs::read(outside.path().join("s/snapshot.db.enc")).unwrap();
    assert_eq!(precious, b"precious");
}

#[test]
fn a_pipe_in_the_place_of_a_file_makes_no_reader_wait() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("c/s");
    std::fs::create_dir_all(&place).unwrap();
    for name in ["metadata.json", "snapshot.db.enc"] {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, place.join(name), mode).unwrap();
    }
    let entry = bucket(&folder).entries(None).next().unwrap().unwrap();
    assert_eq!(entry.obstacle.unwrap().what, "a pipe");
    let files = bucket(&folder).snapshot("c", "s");
    assert_eq!(
        files.read_metadata().unwrap_err().kind(),
        ErrorKind::Damaged
    );
    assert!(files.data(None).is_err());
}

#[test]
fn a_lock_that_another_process_holds_is_waited_for_and_named() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    files.create_data().unwrap().finish().unwrap();
    files.commit(b"{}").unwrap();
    let lock = std::fs::File::open(folder.path().join("c/.lock")).unwrap();
    lock.lock().unwrap();
    let failure = files.delete_if(Seen::of_metadata(b"{}")).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable);
    assert!(line(&failure).contains("c/.lock` is still locked"));
    assert!(
        files.read_metadata().unwrap().is_some(),
        "nothing was deleted"
    );
}

#[test]
fn of_two_who_replace_one_wins() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    files.create_data().unwrap().finish().unwrap();
    files.commit(b"0").unwrap();
    let count: usize = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let files = files.clone();
                scope.spawn(move || {
                    let mut won = 0;
                    for _ in 0..20 {
                        let stored = files.read_metadata().unwrap().unwrap();
                        let old: u64 = std::str::from_utf8(&stored.json).unwrap().parse().unwrap();
                        let json = (old + 1).to_string();
                        let replaced =
                            files.replace_metadata(json.as_bytes(), "dek", &stored.version);
                        won += usize::from(replaced.unwrap() == Replaced::Yes);
                    }
                    won
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum()
    });
    let last = files.read_metadata().unwrap().unwrap();
    assert_eq!(last.json, count.to_string().as_bytes());
    let seen = Seen::of_metadata(&last.json);
    assert_eq!(files.delete_if(seen).unwrap(), Deleted::Yes);
    let gone = files.replace_metadata(b"x", "dek", &last.version).unwrap();
    assert_eq!(gone, Replaced::Conflict);
}

#[test]
fn names_do_not_leave_the_bucket() {
    let folder = TempDir::new().unwrap();
    for (cluster, id) in [("..", "s"), ("c", ".."), ("c/d", "s"), ("", "s"), ("c", "")] {
        let files = bucket(&folder).snapshot(cluster, id);
        assert_eq!(
            files.commit(b"{}").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(files.claim("x").is_err());
    }
}

#[test]
fn a_bucket_that_is_not_there_is_a_mistake() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let bucket = Bucket(Arc::new(FolderStore::new(missing)));
    let failure = bucket.entries(None).next().unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
}
