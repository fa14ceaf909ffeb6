//! kill -9 at one system call after another that changes files: what is there afterwards is the old or the new, never half of it, and
//! nothing plain is left behind.
//!
//! `strace` counts the calls and kills; it comes with every distribution under that name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use kdc_testbed::programs;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::report::{Report, say};
use crate::run::succeed;

/// System calls that make, change, name or remove files.
const CALLS: &str = "openat,write,writev,pwrite64,copy_file_range,sendfile,fsync,fdatasync,ftruncate,fchmod,chmod,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,flock";
/// Moments of each verb in the run among the other tests.
const FEW: usize = 6;
const ON_BUCKET: [&str; 4] = ["--bucket", "bucket", "--cluster", "prod"];
const KEY: [&str; 2] = ["--keyring", "keyring"];
/// What no file but the one that was asked for may hold.
const PLAIN: &[u8] = b"plaintext of the snapshot";

/// Writes a file that only its owner may read.
pub(crate) fn private_file(path: &Path, content: &[u8]) {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(content).unwrap();
}

/// A folder with a keyring, a snapshot, and a bucket with three of them sealed.
struct Scene {
    folder: TempDir,
}

/// What is killed: its words, what must hold afterwards.
struct Verb {
    name: &'static str,
    words: Vec<&'static str>,
    check: fn(&Scene),
}

fn verbs() -> Vec<Verb> {
    let with = |words: &[&'static str], more: &[&[&'static str]]| [words, &more.concat()].concat();
    vec![
        Verb {
            name: "keyring init",
            words: vec!["keyring", "init", "another"],
            check: |scene| scene.is_a_keyring_or_absent("another"),
        },
        Verb {
            name: "keyring add",
            words: vec!["keyring", "add", "keyring"],
            check: |scene| scene.is_a_keyring("keyring"),
        },
        Verb {
            name: "backup seal",
            words: with(
                &["backup", "seal", "snapshot.db", "--snapshot", "new"],
                &[&ON_BUCKET, &KEY],
            ),
            check: Scene::all_that_looks_complete_opens,
        },
        Verb {
            name: "backup open",
            words: with(
                &["backup", "open", "--out", "opened.db"],
                &[&ON_BUCKET, &KEY],
            ),
            check: Scene::opened_is_whole_or_absent,
        },
        Verb {
            name: "backup prune",
            words: with(
                &["backup", "prune", "--keep-last", "1", "--yes"],
                &[&ON_BUCKET],
            ),
            check: Scene::the_newest_is_there,
        },
    ]
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut content = PLAIN.repeat(4_000);
        content.resize(content.len().next_multiple_of(512), 0);
        let digest = Sha256::digest(&content);
        private_file(
            &scene.path("snapshot.db"),
            &[&content[..], &digest].concat(),
        );
        succeed(scene.folder.path(), &["keyring", "init", "keyring"]);
        for id in ["s1", "s2", "s3"] {
            let seal = ["backup", "seal", "snapshot.db", "--snapshot", id];
            succeed(scene.folder.path(), &[&seal[..], &ON_BUCKET, &KEY].concat());
        }
        scene
    }

    /// A copy of the scene in a folder of its own.
    fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-a")
            .arg(self.folder.path().join("."))
            .arg(folder.path());
        assert!(copy.status().unwrap().success());
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn succeeds(&self, words: &[&str]) {
        succeed(self.folder.path(), words);
    }

    fn is_a_keyring(&self, name: &str) {
        self.succeeds(&["keyring", "verify", name]);
        self.succeeds(&["keyring", "add", name]);
    }

    fn is_a_keyring_or_absent(&self, name: &str) {
        match self.path(name).exists() {
            true => self.is_a_keyring(name),
            false => self.succeeds(&["keyring", "init", name]),
        }
    }

    fn all_that_looks_complete_opens(&self) {
        let verify = ["backup", "verify", "--all", "--full"];
        self.succeeds(&[&verify[..], &ON_BUCKET, &KEY].concat());
        let again = ["backup", "seal", "snapshot.db", "--snapshot", "again"];
        self.succeeds(&[&again[..], &ON_BUCKET, &KEY].concat());
    }

    fn opened_is_whole_or_absent(&self) {
        let opened = self.path("opened.db");
        if opened.exists() {
            let sealed = fs::read(self.path("snapshot.db")).unwrap();
            assert!(fs::read(opened).unwrap() == sealed, "half a snapshot");
        }
        let others = fs::read_dir(self.folder.path()).unwrap();
        for entry in others {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if ["opened.db", "snapshot.db"].contains(&name.as_str()) || entry.path().is_dir() {
                continue;
            }
            let content = fs::read(entry.path()).unwrap();
            let is_plain = content.windows(PLAIN.len()).any(|part| part == PLAIN);
            assert!(!is_plain, "plaintext is left in {name}");
        }
    }

    fn the_newest_is_there(&self) {
        let verify = ["backup", "verify", "--full", "--snapshot", "s3"];
        self.succeeds(&[&verify[..], &ON_BUCKET, &KEY].concat());
        let prune = ["backup", "prune", "--keep-last", "1", "--yes"];
        self.succeeds(&[&prune[..], &ON_BUCKET].concat());
    }

    /// Nothing that holds keys may be readable by others.
    fn keys_are_private(&self) {
        for name in ["keyring", "another"] {
            if let Ok(metadata) = fs::metadata(self.path(name)) {
                assert_eq!(metadata.permissions().mode() & 0o077, 0, "{name}");
            }
        }
    }
}

/// Runs a verb under strace, which writes what it sees into `log`.
fn strace(scene: &Scene, log: &str, option: &str, words: &[&str]) -> ExitStatus {
    let mut strace = Command::new("strace");
    strace.current_dir(scene.folder.path());
    strace.args(["-f", "-qq", "-o", log, "-e", option, "--"]);
    strace.arg(&programs::build().unwrap().kdc).args(words);
    strace.stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().expect("`strace` is needed: install it")
}

/// Every moment at which the verb changes a file: the name of a system call, and which one of that name in its thread.
fn moments(scene: &Scene, words: &[&str]) -> BTreeSet<(String, usize)> {
    let status = strace(scene, "calls", &format!("trace={CALLS}"), words);
    assert!(status.success(), "{words:?}");
    let calls = fs::read_to_string(scene.path("calls")).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut moments = BTreeSet::new();
    for line in calls.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        let ordinal = counts.entry((thread, name)).or_default();
        *ordinal += 1;
        // Reading changes nothing.
        let is_reading =
            name == "openat" && !arguments.contains("O_RDWR") && !arguments.contains("O_WRONLY");
        if !is_reading {
            moments.insert((name.to_owned(), *ordinal));
        }
    }
    moments
}

/// Kills at the n-th call of that name; returns whether it was still running.
fn kill_at(scene: &Scene, verb: &Verb, (name, ordinal): &(String, usize)) -> bool {
    let inject = format!("inject={name}:signal=KILL:when={ordinal}");
    !strace(scene, "/dev/null", &inject, &verb.words).success()
}

#[test]
fn killed_at_any_system_call_files_are_old_or_new_and_nothing_plain_is_left() {
    let mut report = Report::begin("system calls");
    let original = Scene::new();
    for verb in verbs() {
        let all: Vec<_> = moments(&original.copy(), &verb.words).into_iter().collect();
        let chosen = match report.is_long() {
            true => all.clone(),
            false => (0..FEW).map(|_| report.random.pick(&all).clone()).collect(),
        };
        let mut killed = 0;
        for moment in &chosen {
            let scene = original.copy();
            killed += usize::from(kill_at(&scene, &verb, moment));
            say(&format!(
                "{}, killed at {} {}",
                verb.name, moment.0, moment.1
            ));
            scene.keys_are_private();
            (verb.check)(&scene);
        }
        assert!(killed > 0, "{}: killed in the middle", verb.name);
        let outcome = format!(
            "{killed} in the middle, of {} moments; old or new, nothing plain left",
            all.len()
        );
        report.line(verb.name, chosen.len(), &outcome);
    }
    let verify = ["backup", "verify", "--all"];
    original.succeeds(&[&verify[..], &ON_BUCKET, &KEY].concat());
    report.write();
}
