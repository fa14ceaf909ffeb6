//! Files that claim to be etcd's: however they are broken, `scan` says so or counts, in time that grows with their length.

use std::fs;
use std::time::{Duration, Instant};

use kdc_envelope::etcd_file::EtcdFile;
use kdc_testbed::{Etcd, Random};
use sha2::{Digest as _, Sha256};

use crate::report::Report;
use crate::run::run;

/// Far more than any of these files needs, on a machine that compiles beside.
const LIMIT: Duration = Duration::from_secs(5);
const PAGE: usize = 4096;
/// Of so many files one goes through the program.
const THROUGH_THE_PROGRAM: usize = 500;
/// Exit codes that the documents name for a file: read, not to be understood.
const CODES: [i32; 3] = [0, 1, 65];

/// A snapshot of a real etcd with rows of several kinds.
async fn snapshot() -> Vec<u8> {
    let etcd = Etcd::start().await.unwrap();
    let mut rows = Vec::new();
    for number in 0_u8..60 {
        let value = match number % 3 {
            0 => b"{\"kind\":\"Secret\"}".to_vec(),
            1 => [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[number; 60]].concat(),
            _ => [b"k8s:enc:kms:v2:kdc:".as_slice(), &[number; 120]].concat(),
        };
        rows.push((format!("/registry/secrets/default/s{number}"), value));
    }
    etcd.put_all(&rows).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    etcd.save_snapshot(&path).unwrap();
    fs::read(path).unwrap()
}

/// The file with some changes; now and then with a checksum that fits again.
fn broken(random: &mut Random, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.len() < 64 {
            break;
        }
        change(random, &mut bytes);
    }
    if random.below(2) == 0 && bytes.len() > 32 {
        let end = bytes.len() - 32;
        let digest = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&digest);
    }
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    let len = bytes.len();
    let at = random.below(len);
    // Pages begin with their number, kind, count and overflow, which matter most.
    let head = (at / PAGE * PAGE + random.below(64)).min(len - 1);
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[head] = random.next_u64().to_le_bytes()[0],
        2 => {
            let end = (head + 8).min(len);
            let number = *random.pick(&[0, 1, u64::MAX, 1 << 63, 0xffff_ffff]);
            bytes[head..end].copy_from_slice(&number.to_le_bytes()[..end - head]);
        }
        3 => bytes.truncate(at),
        4 => {
            let (from, to) = (random.below(len) / PAGE * PAGE, at / PAGE * PAGE);
            let count = PAGE.min(len - from.max(to));
            bytes.copy_within(from..from + count, to);
        }
        5 => bytes.extend_from_within(at..),
        _ => bytes[at..(at + 16).min(len)].fill(0xff),
    }
}

#[tokio::test]
async fn however_a_file_of_etcd_is_broken_it_is_counted_or_refused() {
    let mut report = Report::begin("scan");
    let good = snapshot().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.db");
    let (mut files, mut counted, mut slowest) = (0, 0, Duration::ZERO);
    while report.goes_on() {
        let bytes = broken(&mut report.random, &good);
        let begin = Instant::now();
        let usage =
            EtcdFile::open(bytes.as_slice()).and_then(|file| file.key_usage(b"/registry/", |_| ()));
        let took = begin.elapsed();
        assert!(took < LIMIT, "{took:?}, {} bytes", bytes.len());
        slowest = slowest.max(took);
        files += 1;
        counted += usize::from(usage.is_ok());
        if files % THROUGH_THE_PROGRAM == 1 {
            fs::write(&path, &bytes).unwrap();
            let ended = run(folder.path(), &["backup", "scan", "broken.db"]);
            let code = ended.code.unwrap_or_default();
            assert!(CODES.contains(&code), "{code}: {}", ended.text);
        }
    }
    let outcome = format!(
        "{counted} counted, the others refused; slowest {} ms",
        slowest.as_millis()
    );
    report.line("broken files of etcd", files, &outcome);
    report.write();
}
