//! The reader of etcd files against the real etcd: what it writes is read as it answers, and counted as etcdutl counts.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError, Totals};
use kdc_testbed::Etcd;
use kdc_testbed::servers::{Server, prepare};
use serde_json::Value;
use tempfile::TempDir;

type Rows = BTreeMap<String, (Vec<u8>, i64)>;

/// All rows in a file, each once.
fn read(path: &Path) -> Result<(Rows, Totals), EtcdFileError> {
    let bytes = fs::read(path).unwrap();
    let mut rows = Rows::new();
    let totals = EtcdFile::open(bytes.as_slice())?.for_each_newest_row(
        |_| (),
        |row| {
            let key = String::from_utf8(row.key.to_vec()).unwrap();
            let before = rows.insert(key, (row.value.to_vec(), row.mod_revision));
            assert!(before.is_none(), "a row came twice");
            ControlFlow::Continue(())
        },
    )?;
    Ok((rows, totals))
}

/// All rows as etcd answers.
async fn answered(etcd: &Etcd) -> Rows {
    let rows = etcd.rows("/").await.unwrap();
    rows.into_iter()
        .map(|row| (row.key, (row.value, row.mod_revision)))
        .collect()
}

/// etcd's own count of a snapshot.
fn status(path: &Path) -> Value {
    let etcdutl = prepare(Server::Etcdutl, &mut |_| ()).unwrap();
    let mut status = Command::new(etcdutl);
    status.args(["snapshot", "status", "-w", "json"]).arg(path);
    let output = status.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A snapshot, whose rows and counts must be those of etcd.
async fn check(etcd: &Etcd, folder: &TempDir, name: &str) -> (PathBuf, Totals) {
    let path = folder.path().join(name);
    etcd.save_snapshot(&path).unwrap();
    let (rows, totals) = read(&path).unwrap();
    assert_eq!(rows, answered(etcd).await, "{name}");
    assert_eq!(totals.rows, rows.len() as u64);
    let status = status(&path);
    assert_eq!(status["revision"], totals.revision, "{name}");
    assert_eq!(status["totalKey"], totals.rows, "{name}");
    let bytes = fs::read(&path).unwrap();
    let file = EtcdFile::open(bytes.as_slice()).unwrap();
    assert!(file.check_trailer(|_| ()).unwrap());
    (path, totals)
}

fn rows(range: std::ops::Range<u32>, len: usize) -> Vec<(String, Vec<u8>)> {
    let byte = |number: u32| number.to_le_bytes()[0];
    range
        .map(|number| {
            (
                format!("/registry/secrets/default/{number:05}"),
                vec![byte(number); len],
            )
        })
        .collect()
}

#[tokio::test]
async fn rows_are_read_as_etcd_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start().await.unwrap();
    let (_, totals) = check(&etcd, &folder, "empty.db").await;
    assert_eq!((totals.rows, totals.changes), (0, 0));
    etcd.put("/registry/a", b"x").await.unwrap();
    let (_, totals) = check(&etcd, &folder, "one.db").await;
    assert_eq!((totals.rows, totals.changes), (1, 1));

    // Branches, many changes of each key, and rows that overflow their page.
    etcd.put_all(&rows(0..3000, 120)).await.unwrap();
    for len in [300, 20, 0] {
        etcd.put_all(&rows(500..1500, len)).await.unwrap();
    }
    for len in [4_000, 70_000, 1_200_000] {
        for number in 0..3 {
            etcd.put(&format!("/registry/big/{len}/{number}"), &vec![7; len])
                .await
                .unwrap();
        }
    }
    for number in (0..3000).step_by(7) {
        etcd.delete(&format!("/registry/secrets/default/{number:05}"))
            .await
            .unwrap();
    }
    let again = rows(7..8, 30);
    etcd.put_all(&again).await.unwrap();
    let (_, before) = check(&etcd, &folder, "many.db").await;
    assert!(before.changes > 2 * before.rows);

    etcd.compact(before.revision).await.unwrap();
    let (_, after) = check(&etcd, &folder, "compacted.db").await;
    assert_eq!((after.rows, after.revision), (before.rows, before.revision));
    assert!(after.changes < before.changes);
    // Pages that were freed are written again, in another order.
    etcd.put_all(&rows(0..2000, 200)).await.unwrap();
    let (path, totals) = check(&etcd, &folder, "reused.db").await;

    let expected = read(&path).unwrap();
    etcd.process().kill().await.unwrap();
    let data = etcd.folder().join("data/member/snap/db");
    assert_eq!(
        read(&data).unwrap(),
        expected,
        "the data file holds the same"
    );
    raised_revision(&path, &folder, totals);
}

/// What `etcdutl snapshot restore --bump-revision` writes is read as well.
fn raised_revision(snapshot: &Path, folder: &TempDir, before: Totals) {
    let etcdutl = prepare(Server::Etcdutl, &mut |_| ()).unwrap();
    let restored = folder.path().join("restored");
    let mut restore = Command::new(etcdutl);
    restore.args([
        "snapshot",
        "restore",
        "--bump-revision",
        "1000000",
        "--mark-compacted",
        "--data-dir",
    ]);
    let output = restore.arg(&restored).arg(snapshot).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (rows, totals) = read(&restored.join("member/snap/db")).unwrap();
    assert_eq!(rows, read(snapshot).unwrap().0);
    assert_eq!(totals.rows, before.rows);
    assert_eq!(totals.revision, before.revision + 1_000_000);
}

#[tokio::test]
async fn every_cut_at_a_page_of_a_snapshot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start().await.unwrap();
    etcd.put_all(&rows(0..500, 100)).await.unwrap();
    let (path, _) = check(&etcd, &folder, "etcd.db").await;
    let whole = fs::read(path).unwrap();
    for len in (0..whole.len() - 32).step_by(512) {
        let error = EtcdFile::open(whole.get(..len).unwrap()).unwrap_err();
        match error {
            EtcdFileError::NoMeta => assert!(len < 4096),
            EtcdFileError::CutOff { .. } => {}
            other => panic!("{len}: {other}"),
        }
    }
}
