use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn bucket(folder: &TempDir) -> Bucket {
    Bucket::open(&BucketArguments::of(folder.path().to_str().unwrap())).unwrap()
}

/// What every bucket does. `data` is longer than a part.
pub(super) fn contract(bucket: &Bucket, data: &[u8]) {
    let files = bucket.snapshot("cluster", "id");
    let write = |files: &SnapshotFiles, data: &[u8]| {
        let mut writer = files.create_data()?;
        writer.write_all(data).unwrap();
        writer.finish()
    };
    assert_eq!(files.data_len().unwrap(), None);
    assert!(files.read_metadata().unwrap().is_none());
    assert_eq!(write(&files, data).unwrap(), data.len() as u64);
    assert_eq!(files.data_len().unwrap(), Some(data.len() as u64));
    assert_eq!(write(&files, b"").unwrap_err().exit(), Exit::CannotCreate);
    let small = bucket.snapshot("cluster", "id-small");
    let two = [small.create_data().unwrap(), small.create_data().unwrap()];
    let [first, second] = two.map(|mut writer| {
        writer.write_all(b"small").unwrap();
        writer
    });
    assert_eq!(first.finish().unwrap(), 5);
    drop(second);
    files.write_wrapped_dek("old").unwrap();
    files.write_wrapped_dek("new").unwrap();
    files.commit(b"{\"a\":1}").unwrap();
    files.commit(b"{\"a\":1}").unwrap();
    assert_eq!(files.commit(b"{}").unwrap_err().exit(), Exit::CannotCreate);
    let stored = files.read_metadata().unwrap().unwrap();
    assert_eq!(stored.json, b"{\"a\":1}");
    let replaced = files.replace_metadata(b"{}", &stored.version).unwrap();
    assert_eq!(replaced, Replaced::Yes);
    let replaced = files.replace_metadata(b"x", &stored.version).unwrap();
    assert_eq!(replaced, Replaced::Conflict);
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
    files.delete().unwrap();
    files.delete().unwrap();
    small.delete().unwrap();
    assert_eq!(bucket.entries(None).count(), 0);
    assert!(files.data(None).is_err());
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
    files.write_wrapped_dek("vault:v1:AAAA").unwrap();
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
    files.delete().unwrap();
    files.delete().unwrap();
    assert_eq!(files_of(&folder), [""; 0]);
    assert_eq!(bucket(&folder).entries(Some("other")).count(), 0);
}

#[test]
fn nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    let two = [files.create_data().unwrap(), files.create_data().unwrap()];
    let [first, second] = two.map(DataWriter::finish);
    first.unwrap();
    assert_eq!(second.unwrap_err().exit(), Exit::CannotCreate);
    assert!(files.create_data().is_err());
    files.commit(b"1").unwrap();
    files.commit(b"1").unwrap(); // an answer may get lost
    assert_eq!(files.commit(b"2").unwrap_err().exit(), Exit::CannotCreate);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
    files.create_data().unwrap().write_all(b"x").unwrap();
    assert_eq!(files_of(&folder), [""; 0]);
}

#[test]
fn what_a_killed_run_left_is_seen_and_deleted() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir_all(folder.path().join("c/s")).unwrap();
    let partial = folder.path().join("c/s/snapshot.db.enc.partial-Xyz");
    std::fs::write(&partial, "x").unwrap();
    let entry = bucket(&folder).entries(None).next().unwrap().unwrap();
    assert!(entry.is_snapshot() && entry.partial.is_some());
    bucket(&folder).snapshot("c", "s").delete().unwrap();
    assert!(!folder.path().join("c/s").exists());
}

#[test]
fn of_two_who_replace_one_wins() {
    let folder = TempDir::new().unwrap();
    let files = bucket(&folder).snapshot("c", "s");
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
                        let replaced = files.replace_metadata(json.as_bytes(), &stored.version);
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
    files.delete().unwrap();
    let gone = files.replace_metadata(b"x", &last.version).unwrap();
    assert_eq!(gone, Replaced::Conflict);
}

#[test]
fn names_do_not_leave_the_bucket() {
    let folder = TempDir::new().unwrap();
    for (cluster, id) in [("..", "s"), ("c", ".."), ("c/d", "s"), ("", "s"), ("c", "")] {
        let files = bucket(&folder).snapshot(cluster, id);
        assert_eq!(files.commit(b"{}").unwrap_err().exit(), Exit::Usage);
        assert!(files.delete().is_err());
    }
}

#[test]
fn a_bucket_that_is_not_there_is_a_mistake() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let arguments = BucketArguments::of(missing.to_str().unwrap());
    let bucket = Bucket::open(&arguments).unwrap();
    let failure = bucket.entries(None).next().unwrap().unwrap_err();
    assert_eq!(failure.exit(), Exit::NoInput);
}
