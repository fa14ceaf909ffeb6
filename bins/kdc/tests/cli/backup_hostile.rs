//! What another process does to a bucket, or to a run, at the worst moment: nothing is lost, nothing outside is touched, and what was not
//! looked at is told.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use kdc_testbed::Proxy;
use kdc_testbed::proxy::{Fault, Rule};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

use crate::backup_fixture::{BackupFixture, Place};
use crate::fixture::Run;

/// A bucket with `saved.db` sealed under some ids of cluster `prod`.
fn sealed(place: Place, ids: &[&str]) -> BackupFixture {
    let backups = BackupFixture::new(place);
    backups.save_snapshot();
    for id in ids {
        seal(&backups, "saved.db", id).succeeds();
    }
    backups
}

fn seal(backups: &BackupFixture, file: &str, id: &str) -> Run {
    backups.on_prod("seal", &[file, "--snapshot", id])
}

fn metadata(backups: &BackupFixture, id: &str) -> serde_json::Value {
    serde_json::from_slice(&backups.read(&format!("prod/{id}/metadata.json"))).unwrap()
}

/// Makes a snapshot look as if it had been taken then.
fn date(backups: &BackupFixture, id: &str, created: &str) {
    let mut json = metadata(backups, id);
    json["createdAt"] = created.into();
    let file = backups.file(&format!("prod/{id}/metadata.json"));
    fs::write(file, json.to_string()).unwrap();
}

/// Snapshots `old`, `mid` and `new`, of three years.
fn three(place: Place) -> BackupFixture {
    let backups = sealed(place, &["old", "mid", "new"]);
    for (id, year) in [("old", 2021), ("mid", 2022), ("new", 2023)] {
        date(&backups, id, &format!("{year}-01-01T00:00:00Z"));
    }
    backups
}

fn ends_with(run: &Run, code: i32, words: &str) {
    assert_eq!(run.code, code, "{}", run.stderr);
    assert!(run.stderr.contains(words), "`{words}`: {}", run.stderr);
}

/// With the signals in effect that end programs: what runs the tests may have been started with some of them ignored, as by `nohup` or
/// in the background of a shell, and `kdc` leaves those ignored.
fn start(backups: &BackupFixture, words: &[String]) -> Child {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let kdc = backups.fixture.command(&words);
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT,TERM,HUP")
        .arg(kdc.get_program())
        .args(kdc.get_args());
    if let Some(folder) = kdc.get_current_dir() {
        command.current_dir(folder);
    }
    for (name, value) in kdc.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Asks again until there is an answer.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it never happened");
}

#[test]
fn prune_does_not_delete_what_was_sealed_after_it_looked() {
    let backups = three(Place::Folder);
    let lock = fs::File::open(backups.file("prod/.lock")).unwrap();
    lock.lock().unwrap();
    let mut prune = start(
        &backups,
        &backups.words("prune", &["--keep-last", "1", "--yes"]),
    );
    let mut lines = BufReader::new(prune.stderr.take().unwrap()).lines();
    // It has looked, and waits.
    let line = lines.next().unwrap().unwrap();
    assert!(
        line.contains("prod/.lock` is locked by another process"),
        "{line}"
    );
    date(&backups, "old", "2026-01-01T00:00:00Z");
    drop(lock);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(
        rest,
        ["kdc: note: prod/old was changed meanwhile and stays"]
    );
    assert!(prune.wait().unwrap().success());
    assert!(backups.has("prod/old/snapshot.db.enc") && backups.has("prod/old/metadata.json"));
    assert!(!backups.has("prod/mid") && backups.has("prod/new"));
}

#[test]
fn a_cluster_that_is_a_link_is_told_by_every_verb_and_followed_by_none() {
    let backups = sealed(Place::Folder, &["one"]);
    let outside = backups.fixture.path("outside");
    fs::rename(backups.file("prod"), &outside).unwrap();
    symlink(&outside, backups.file("prod")).unwrap();
    let link = "`prod`";
    let list = backups.run("list", &[]);
    ends_with(&list, 1, link);
    assert!(list.text().contains("not looked at"), "{}", list.text());
    let inventory = backups.run("inventory", &["--output", "json"]);
    ends_with(&inventory, 1, link);
    assert_eq!(inventory.json()["outerKeyUnknown"]["snapshots"], 1);
    assert_eq!(inventory.json()["innerKeysUnknown"]["snapshots"], 1);
    ends_with(&backups.run_with_key("rewrap", &[]), 1, link);
    let prune = ["--keep-last", "1", "--orphans", "--yes"];
    ends_with(&backups.run("prune", &prune), 1, link);
    for verb in ["list", "inventory"] {
        let run = backups.run(verb, &["--cluster", "prod"]);
        run.fails(65, "prod`: it is a symbolic link");
    }
    for (verb, more) in [
        ("verify", &["--all"][..]),
        ("open", &["--out", "out.db"]),
        ("rewrap", &[]),
    ] {
        backups.on_prod(verb, more).fails(65, "a symbolic link");
    }
    seal(&backups, "saved.db", "two").fails(65, "a symbolic link");
    let inside: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(!inside.contains(&"two".into()), "{inside:?}");
}

#[test]
fn prune_deletes_nothing_through_a_link() {
    let backups = sealed(Place::Folder, &["one", "two"]);
    let outside = backups.fixture.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::rename(backups.file("prod/one"), outside.join("one")).unwrap();
    fs::remove_file(outside.join("one/metadata.json")).unwrap();
    symlink(&outside, backups.file("evil")).unwrap();
    symlink(outside.join("one"), backups.file("prod/one")).unwrap();
    for cluster in ["evil", "prod"] {
        let prune = [
            "--cluster",
            cluster,
            "--orphans",
            "--keep-last",
            "1",
            "--yes",
        ];
        assert_ne!(backups.run("prune", &prune).code, 0, "{cluster}");
    }
    assert!(outside.join("one/snapshot.db.enc").exists());
    assert!(backups.has("prod/two/metadata.json"));
}

#[test]
fn pipes_and_locks_in_a_folder_make_no_run_wait_for_ever() {
    let backups = three(Place::Folder);
    let pipe = |name: &str| {
        let path = backups.file(name);
        let _ = fs::remove_file(&path);
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    };
    pipe("prod/old/metadata.json");
    let words = "`prod/old/metadata.json`";
    ends_with(&backups.run("list", &[]), 1, words);
    ends_with(&backups.run("inventory", &[]), 1, words);
    ends_with(&backups.run_with_key("rewrap", &[]), 1, words);
    ends_with(
        &backups.run("prune", &["--orphans", "--keep-last", "1", "--yes"]),
        1,
        words,
    );
    assert!(
        backups.has("prod/old/snapshot.db.enc"),
        "its data is no orphan"
    );
    assert!(
        !backups.has("prod/mid"),
        "the others are pruned nevertheless"
    );
    let verify = backups.on_prod("verify", &["--all"]);
    assert_eq!(verify.code, 1);
    assert!(verify.text().contains("`prod/old/metadata.json` is a pipe"));
    pipe("prod/new/snapshot.db.enc");
    backups
        .on_prod("open", &["--snapshot", "new", "--out", "x"])
        .fails(65, "it is a pipe");
    pipe("prod/.lock");
    backups.rotate();
    let run = backups.run_with_key("rewrap", &[]);
    assert_ne!(run.code, 0, "{}", run.stderr);
    pipe("file.db");
    backups
        .on_prod("seal", &[backups.file("file.db").to_str().unwrap()])
        .fails(66, "a pipe or device");
}

#[test]
fn a_time_that_no_clock_can_have_shown_makes_no_snapshot_the_newest() {
    let backups = three(Place::Folder);
    date(&backups, "old", "9999-01-01T00:00:00Z");
    let prune = backups.run("prune", &["--keep-last", "1", "--yes", "--output", "json"]);
    let json = prune.succeeds().json();
    assert_eq!(json["keep"]["keepUnknown"], 1);
    assert!(backups.has("prod/new") && backups.has("prod/old") && !backups.has("prod/mid"));
    // Not by its own time: `new` was dated above, and its metadata is no longer authentic.
    let open = backups.on_prod("open", &["--out", "out.db"]);
    assert_ne!(open.code, 0);
    assert!(
        open.stderr.contains("cannot be compared with `new`"),
        "{}",
        open.stderr
    );
}

#[test]
fn an_id_that_another_run_has_claimed_is_left_alone_in_a_folder() {
    claimed(&sealed(Place::Folder, &[]));
}

#[test]
fn an_id_that_another_run_has_claimed_is_left_alone_in_s3() {
    claimed(&sealed(Place::S3, &[]));
}

fn claimed(backups: &BackupFixture) {
    let folder = backups.file("prod/one");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("dek.wrapped"), "another's").unwrap();
    seal(backups, "saved.db", "one").fails(73, "`one` of `prod` is claimed by another run");
    assert_eq!(backups.read("prod/one/dek.wrapped"), b"another's");
    assert!(!backups.has("prod/one/snapshot.db.enc"));
    // It may yet become a snapshot, under whatever key.
    seal(backups, "saved.db", "two").succeeds();
    ends_with(&backups.run_with_key("rewrap", &[]), 1, "`prod/one`");
}

#[test]
fn a_refused_deletion_leaves_a_snapshot_whole_and_the_others_go() {
    let backups = three(Place::S3);
    let endpoint = backups.endpoint().unwrap();
    let proxy = backups.runtime.block_on(Proxy::start(endpoint)).unwrap();
    let held = "DELETE /backups/etcd/daily/prod/old/snapshot.db.enc";
    let refused = "<Error><Code>AccessDenied</Code><Message>held</Message></Error>";
    let fault = Fault::answer(403, &[("content-type", "application/xml")], refused);
    proxy.set(Rule::from(fault).on(held));
    let address = proxy.address();
    let prune = [
        "--keep-last",
        "1",
        "--yes",
        "--output",
        "json",
        "--s3-endpoint",
        &address,
    ];
    let run = backups.run("prune", &prune);
    ends_with(&run, 77, "prod/old stays: ");
    let json = run.json();
    assert_eq!(json["refused"][0]["snapshot"], "old");
    assert_eq!(json["delete"][0]["snapshot"], "mid");
    assert!(!backups.has("prod/mid"));
    let listed = backups.run("list", &["--output", "json"]).succeeds().json();
    let states: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["completeV2", "completeV2"]);
}

#[test]
fn nothing_and_something_unknown_are_no_proof() {
    let backups = sealed(Place::Folder, &["one"]);
    for (verb, more) in [("inventory", &[][..]), ("prune", &["--keep-last", "1"])] {
        let run = backups.run(verb, &[&["--cluster", "none"], more].concat());
        ends_with(&run, 66, "nothing was found in `bucket/none`");
    }
    let none = ["--cluster", "none", "--all"];
    ends_with(
        &backups.run_with_key("verify", &none),
        66,
        "nothing was found",
    );
    // Another keyring, none of whose keys wraps anything here.
    backups
        .fixture
        .kdc(&["keyring", "init", "other"])
        .succeeds();
    let rewrap = backups.run("rewrap", &["--keyring", "other"]);
    ends_with(
        &rewrap,
        1,
        "prod/one: cannot rewrap data keys: unknown key id",
    );
    // A snapshot that lies where the catalogue expects none: the prefix is too short.
    let up = backups.fixture.path("bucket-above");
    fs::create_dir(&up).unwrap();
    fs::rename(backups.fixture.path("bucket"), up.join("bucket")).unwrap();
    let list = ["backup", "inventory", "--bucket", "bucket-above"];
    ends_with(
        &backups.fixture.kdc(&list),
        1,
        "`bucket/prod/one/metadata.json`",
    );
}

#[test]
fn verify_of_all_tells_what_is_damaged_and_what_is_not_looked_at() {
    let backups = sealed(Place::Folder, &["bad", "good"]);
    fs::write(backups.file("prod/bad/metadata.json"), "{").unwrap();
    let run = backups.on_prod("verify", &["--all", "--output", "json"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let verdicts: BTreeSet<(String, bool)> = run
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| {
            (
                verdict["snapshot"].as_str().unwrap().to_owned(),
                verdict["isGood"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        verdicts,
        [("bad".to_owned(), false), ("good".to_owned(), true)].into()
    );
}

/// What is in the folder beside the files that were there before.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn open_leaves_no_plaintext_whatever_ends_it() {
    let backups = sealed(Place::S3, &["one"]);
    let endpoint = backups.endpoint().unwrap();
    let proxy = backups.runtime.block_on(Proxy::start(endpoint)).unwrap();
    proxy.set(Rule::from(Fault::SlowBytes(Duration::from_secs(1))).on("snapshot.db.enc"));
    let address = proxy.address();
    let before = names(&backups.fixture.path("."));
    for how in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let open = [
            "--cluster",
            "prod",
            "--keyring",
            "keyring",
            "--out",
            "out.db",
            "--s3-endpoint",
            &address,
        ];
        let mut child = start(&backups, &backups.words("open", &open));
        let files = format!("/proc/{}/fd", child.id());
        let folder = backups.fixture.path("").canonicalize().unwrap();
        until(|| {
            let mut files = fs::read_dir(&files).ok()?.flatten();
            files.find(|file| {
                let target = fs::read_link(file.path()).unwrap_or_default();
                let is_unnamed = target.to_string_lossy().ends_with(" (deleted)");
                is_unnamed && target.starts_with(&folder)
            })
        });
        signal(&child, how);
        assert!(!child.wait().unwrap().success());
        assert_eq!(names(&backups.fixture.path(".")), before, "{how:?}");
    }
}

#[test]
fn restore_leaves_no_plaintext_whatever_ends_it() {
    let backups = sealed(Place::Folder, &["one"]);
    let program = backups.fixture.path("etcdutl");
    let script = "#!/bin/sh\nwc -c <\"$3\" >length.new\nmv length.new length\nexec sleep 600\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let length = backups.fixture.read("saved.db").len();
    let before = names(&backups.fixture.path("."));
    for how in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let restore = [
            "--cluster",
            "prod",
            "--keyring",
            "keyring",
            "--data-dir",
            "data",
            "--etcdutl",
            program.to_str().unwrap(),
        ];
        let mut child = start(&backups, &backups.words("restore", &restore));
        // The program has the whole snapshot, and no other program can find it.
        let seen = until(|| fs::read_to_string(backups.fixture.path("length")).ok());
        assert_eq!(seen.trim(), length.to_string());
        fs::remove_file(backups.fixture.path("length")).unwrap();
        assert_eq!(names(&backups.fixture.path(".")), before, "{how:?}");
        let sleeper =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        signal(&child, how);
        let code = child.wait().unwrap().code();
        assert_eq!(names(&backups.fixture.path(".")), before, "{how:?}");
        if how == Signal::KILL {
            let sleeper = sleeper.trim().parse().unwrap();
            kill_process(Pid::from_raw(sleeper).unwrap(), Signal::KILL).unwrap();
            continue;
        }
        assert_eq!(code, Some(1), "{how:?}");
        let mut words = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut words)
            .unwrap();
        assert!(words.contains("stopped by SIG"), "{words}");
    }
}

#[test]
fn files_that_are_no_snapshots_are_called_what_they_are() {
    let backups = sealed(Place::Folder, &["one"]);
    let fixture = &backups.fixture;
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let saved = fixture.read("saved.db");
    let sealed = backups.read("prod/one/snapshot.db.enc");
    let cases: [(&[u8], &str); 12] = [
        (b"\x1f\x8b\x08\0rest", "packed with gzip; unpack it first"),
        (b"\x28\xb5\x2f\xfdrest", "packed with zstd"),
        (&tar, "a tar archive; unpack it first"),
        (b"SQLite format 3\0rest", "a database of SQLite"),
        (
            b"age-encryption.org/v1\n",
            "encrypted with age; decrypt it first",
        ),
        (b"-----BEGIN PGP MESSAGE-----\n", "encrypted with gpg"),
        (&sealed, "a sealed snapshot; open it with `kdc backup open`"),
        (
            &backups.read("prod/one/metadata.json"),
            "the metadata of a sealed snapshot",
        ),
        (b"<!DOCTYPE html>", "a web page"),
        (&fixture.read("keyring"), "a keyring"),
        (&saved[..saved.len() - 32], "the data file of an etcd"),
        (&saved[..saved.len() - 100], "a part of one: it is cut off"),
    ];
    for (content, words) in cases {
        fixture.write("file", content);
        seal(&backups, "file", "bad")
            .fails(65, "FILE: `file` is not a snapshot of etcd but")
            .fails(65, words);
        if !words.contains("etcd") && !words.contains("part of one") {
            fixture.kdc(&["backup", "scan", "file"]).fails(65, words);
            let piped = ["-", "--cluster", "prod", "--keyring", "keyring"];
            let piped = backups.words("seal", &piped);
            let piped: Vec<&str> = piped.iter().map(String::as_str).collect();
            fixture.kdc_with_input(&piped, content).fails(65, words);
        }
    }
    fs::create_dir_all(fixture.path("etcd/member/snap")).unwrap();
    fixture.write("etcd/member/snap/db", "");
    seal(&backups, "etcd", "bad").fails(66, "a data directory of etcd");
    assert!(!backups.has("prod/bad"));
    let data = backups.file("prod/one/snapshot.db.enc");
    let open = [
        "backup",
        "open",
        "--bucket",
        data.to_str().unwrap(),
        "--cluster",
        "prod",
        "--out",
        "x",
        "--keyring",
        "keyring",
    ];
    fixture
        .kdc(&open)
        .fails(66, "is no folder but a sealed snapshot");
    fs::write(&data, &saved).unwrap();
    backups
        .on_prod("open", &["--out", "x"])
        .fails(65, "a file of etcd that nothing encrypts");
}

#[test]
fn runs_of_one_second_get_ids_of_their_own() {
    let backups = sealed(Place::Folder, &[]);
    let seal = ["saved.db", "--cluster", "prod", "--keyring", "keyring"];
    let words = backups.words("seal", &seal);
    let mut children: Vec<Child> = (0..4).map(|_| start(&backups, &words)).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let verify = backups.on_prod("verify", &["--all", "--full", "--output", "json"]);
    assert_eq!(verify.succeeds().json().as_array().unwrap().len(), 4);
}
