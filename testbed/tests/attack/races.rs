//! Several runs of `kdc backup` on one bucket at once, for a while: a snapshot whose seal ended with 0 is there and opens until retention lets it go,
//! and no run reports damage.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::report::Report;
use crate::run::{run, succeed};
use crate::system_calls::private_file;
use kdc_testbed::Random;
use sha2::{Digest as _, Sha256};

const CLUSTER: [&str; 4] = ["--bucket", "bucket", "--cluster", "prod"];
const KEY: [&str; 2] = ["--keyring", "keyring"];
/// Ids come again, as days of the week do.
const IDS: [&str; 5] = ["mon", "tue", "wed", "thu", "fri"];
const WORKERS: usize = 6;

/// Verbs, and the exit codes with which they may end in a race: 73 is an id that is there already, and 1 says that nothing is proven
/// while a snapshot is being sealed whose key is not known yet.
const VERBS: [(&str, &[i32]); 5] = [
    ("seal", &[0, 73]),
    ("rewrap", &[0, 1]),
    ("prune", &[0]),
    ("verify", &[0, 1]),
    ("list", &[0]),
];

fn words<'w>(verb: &'w str, id: &'w str) -> Vec<&'w str> {
    let own: &[&str] = match verb {
        "seal" => &["snapshot.db", "--snapshot", id],
        "prune" => &["--keep-last", "2", "--yes"],
        "verify" => &["--all"],
        _ => &[],
    };
    let key: &[&str] = match verb {
        "prune" | "list" => &[],
        _ => &KEY,
    };
    [&["backup", verb], own, &CLUSTER, key].concat()
}

/// The state that the workers share.
struct Race<'r> {
    folder: &'r Path,
    is_over: AtomicBool,
    runs: AtomicUsize,
    /// Number of runs by verb and exit code.
    codes: Mutex<BTreeMap<(&'static str, i32), usize>>,
    failures: Mutex<Vec<String>>,
}

impl Race<'_> {
    fn work(&self, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            let (verb, allowed) = *random.pick(&VERBS);
            let id = *random.pick::<&str>(&IDS);
            let ended = run(self.folder, &words(verb, id));
            let code = ended.code.unwrap_or(-1);
            self.runs.fetch_add(1, Ordering::Relaxed);
            *self.codes.lock().unwrap().entry((verb, code)).or_default() += 1;
            if !allowed.contains(&code) {
                let line = format!("{verb} ended with {code}: {}", ended.text);
                self.failures.lock().unwrap().push(line);
            }
        }
    }
}

#[test]
fn runs_that_race_on_a_bucket_lose_nothing() {
    let mut report = Report::begin("races");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &["keyring", "init", "keyring"]);
    let content = vec![7; 64 << 10];
    let digest = Sha256::digest(&content);
    private_file(
        &folder.join("snapshot.db"),
        &[&content[..], &digest].concat(),
    );
    for id in ["first", "second"] {
        succeed(folder, &words("seal", id));
    }
    let race = Race {
        folder,
        is_over: AtomicBool::new(false),
        runs: AtomicUsize::new(0),
        codes: Mutex::default(),
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let random = Random::new(report.random.next_u64());
            scope.spawn(|| race.work(random));
        }
        while report.goes_on() {
            std::thread::sleep(Duration::from_millis(200));
        }
        race.is_over.store(true, Ordering::Relaxed);
    });
    let failures = race.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The last seal that ends with 0 is the newest, and stays. Times in metadata are whole seconds.
    std::thread::sleep(Duration::from_secs(1));
    succeed(folder, &words("seal", "last"));
    succeed(folder, &words("prune", ""));
    let verify = ["backup", "verify", "--full", "--snapshot", "last"];
    succeed(folder, &[&verify[..], &CLUSTER, &KEY].concat());
    let codes = race.codes.into_inner().unwrap();
    let codes: Vec<String> = codes
        .iter()
        .map(|((verb, code), count)| format!("{verb} {code}: {count}"))
        .collect();
    let runs = race.runs.into_inner();
    report.line(
        "seal, rewrap, prune, verify, list at once",
        runs,
        &codes.join(", "),
    );
    report.write();
}
