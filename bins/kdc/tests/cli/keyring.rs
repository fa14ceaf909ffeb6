//! `kdc keyring`: the good path, and everything that can be wrong with a keyring file.

use std::os::unix::fs::PermissionsExt as _;

use std::fs::File;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use kdc_envelope::local::{Keyring, MAX_LIVING_VERSIONS, keyring_file};

use crate::fixture::{Fixture, forged, set_mode};

fn key_ids(fixture: &Fixture) -> Vec<String> {
    let listing = fixture.kdc(&["keyring", "list", "keyring", "--output", "json"]);
    let listing = listing.succeeds().json();
    let versions = listing["versions"].as_array().unwrap();
    versions
        .iter()
        .map(|version| version["keyId"].as_str().unwrap().to_owned())
        .collect()
}

fn states(fixture: &Fixture) -> Vec<String> {
    let listing = fixture
        .kdc(&["keyring", "list", "keyring", "--output", "json"])
        .json();
    let versions = listing["versions"].as_array().unwrap();
    versions
        .iter()
        .map(|version| version["state"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_keyring_lives_from_init_to_retire() {
    let fixture = Fixture::with_keyring();
    let mode = fixture
        .path("keyring")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);

    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    assert_eq!(states(&fixture), ["current", "readable"]);
    fixture.kdc(&["keyring", "promote", "keyring"]).succeeds();
    assert_eq!(states(&fixture), ["readable", "current"]);
    let verified = fixture.kdc(&["keyring", "verify", "keyring"]);
    assert!(verified.succeeds().text().contains("2 living version(s)"));

    let first = &key_ids(&fixture)[0];
    fixture
        .kdc(&[
            "keyring",
            "retire",
            "keyring",
            "--version",
            "1",
            "--confirm",
            first,
        ])
        .succeeds();
    assert_eq!(states(&fixture), ["retired", "current"]);
    assert_eq!(
        &key_ids(&fixture)[0],
        first,
        "a retired version keeps its name"
    );
    let listing = fixture
        .kdc(&["keyring", "list", "keyring"])
        .succeeds()
        .text();
    assert!(listing.starts_with("VERSION  STATE"), "{listing}");
    assert!(listing.contains(first));
}

#[test]
fn promote_takes_the_version_that_is_named() {
    let fixture = Fixture::with_keyring();
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    fixture
        .kdc(&["keyring", "promote", "keyring", "--version", "2"])
        .succeeds();
    assert_eq!(states(&fixture), ["readable", "current", "readable"]);
}

#[test]
fn init_leaves_an_existing_file_alone() {
    let fixture = Fixture::new();
    fixture.write("keyring", "mine");
    fixture
        .kdc(&["keyring", "init", "keyring"])
        .fails(73, "exists already");
    assert_eq!(fixture.read("keyring"), b"mine");
    assert_eq!(fixture.snapshot().len(), 1, "no temporary file is left");
    fixture
        .kdc(&["keyring", "init", "missing/keyring"])
        .fails(73, "missing/keyring");
}

#[test]
fn retire_wants_the_key_id_and_says_what_is_lost() {
    let fixture = Fixture::with_keyring();
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    let ids = key_ids(&fixture);
    let before = fixture.snapshot();
    let retire = |arguments: &[&str]| {
        let all = [&["keyring", "retire", "keyring", "--version"], arguments].concat();
        fixture.kdc(&all)
    };
    retire(&["2"]).fails(64, "can never be read again");
    retire(&["2"]).fails(64, &format!("--confirm {}", ids[1]));
    retire(&["2", "--confirm", &ids[0]]).fails(64, "nothing was changed");
    retire(&["1", "--confirm", &ids[0]]).fails(1, "is the current one");
    retire(&["7", "--confirm", &ids[0]]).fails(1, "no version 7");
    assert_eq!(fixture.snapshot(), before);
}

#[test]
fn steps_that_make_no_sense_change_nothing() {
    let fixture = Fixture::with_keyring();
    let before = fixture.snapshot();
    fixture
        .kdc(&["keyring", "promote", "keyring"])
        .fails(1, "not newer than the current version 1");
    fixture
        .kdc(&["keyring", "promote", "keyring", "--version", "9"])
        .fails(1, "no version 9");
    fixture
        .kdc(&["keyring", "promote", "keyring", "--version", "x"])
        .fails(64, "--version");
    fixture.kdc(&["keyring", "promote"]).fails(64, "<FILE>");
    assert_eq!(fixture.snapshot(), before);
}

/// Every command that reads a keyring says the same about a bad one, and none changes it.
#[test]
fn a_bad_keyring_is_refused_by_every_command() {
    let good = Fixture::with_keyring().read("keyring");
    let two = {
        let fixture = Fixture::with_keyring();
        fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
        fixture.read("keyring")
    };
    let text = String::from_utf8(good.clone()).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", b"".to_vec(), "not a keyring"),
        ("binary", vec![0xff; 64], "not a keyring"),
        ("truncated", good[..good.len() / 2].to_vec(), "truncated"),
        (
            "without its last byte",
            good[..good.len() - 1].to_vec(),
            "truncated",
        ),
        (
            "changed",
            text.replacen("current 1", "current 2", 1).into_bytes(),
            "damaged",
        ),
        (
            "of a later format",
            text.replacen("kdc-keyring 1", "kdc-keyring 2", 1)
                .into_bytes(),
            "format `2`",
        ),
        (
            "with an unknown line",
            forged(&good, |body| body.replace("current 1", "present 1")).into(),
            "line 4",
        ),
        (
            "with a duplicate version",
            forged(&two, |body| body.replace("version 2", "version 1")).into(),
            "duplicate",
        ),
        (
            "without a current version",
            forged(&good, |body| body.replace("current 1", "current 3")).into(),
            "current version 3",
        ),
        (
            "with a short key",
            forged(&good, short_key).into(),
            "31 bytes instead of 32",
        ),
        (
            "with a key that is no base64",
            forged(&good, |body| body.replace('=', "%")).into(),
            "not base64",
        ),
    ];
    for (name, content, words) in cases {
        let fixture = Fixture::new();
        fixture.write("keyring", &content);
        for command in ["list", "verify", "add", "promote"] {
            fixture
                .kdc(&["keyring", command, "keyring"])
                .fails(65, words);
        }
        fixture
            .kdc(&["keyring", "retire", "keyring", "--version", "1"])
            .fails(65, words);
        assert_eq!(
            fixture.snapshot(),
            [(fixture.path("keyring"), content)],
            "{name}"
        );
    }
}

fn short_key(body: String) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let line = body
        .lines()
        .find(|line| line.starts_with("version "))
        .unwrap();
    let key = line.rsplit(' ').next().unwrap();
    body.replace(key, &STANDARD.encode([7; 31]))
}

#[test]
fn every_truncation_of_a_keyring_is_one_line() {
    let fixture = Fixture::with_keyring();
    let good = fixture.read("keyring");
    for len in 0..good.len() {
        fixture.write("cut", &good[..len]);
        fixture
            .kdc(&["keyring", "verify", "cut"])
            .fails(65, "`cut` is no usable keyring");
    }
}

#[test]
fn a_keyring_that_is_missing_or_open_to_others_is_refused() {
    let fixture = Fixture::with_keyring();
    fixture
        .kdc(&["keyring", "list", "none"])
        .fails(66, "cannot open `none`");
    fixture.kdc(&["keyring", "add", "none"]).fails(66, "`none`");
    fixture
        .kdc(&["keyring", "list", "."])
        .fails(66, "not a regular file");
    for mode in [0o604, 0o620, 0o644, 0o666] {
        set_mode(&fixture.path("keyring"), mode);
        let words = format!("mode {mode:04o}");
        fixture
            .kdc(&["keyring", "verify", "keyring"])
            .fails(77, &words);
        fixture
            .kdc(&["keyring", "promote", "keyring"])
            .fails(77, "chmod 600");
    }
    set_mode(&fixture.path("keyring"), 0o640);
    fixture.kdc(&["keyring", "verify", "keyring"]).succeeds();
}

/// Root reads every file, so the refusal is provoked by a folder that is a file.
#[test]
fn an_unreadable_path_is_named() {
    let fixture = Fixture::with_keyring();
    fixture
        .kdc(&["keyring", "list", "keyring/inner"])
        .fails(74, "keyring/inner");
}

#[test]
fn too_many_living_versions_take_no_other() {
    let fixture = Fixture::new();
    let mut keyring = Keyring::generate(1).unwrap();
    for _ in 1..MAX_LIVING_VERSIONS {
        keyring.add(2).unwrap();
    }
    keyring_file::create(&fixture.path("keyring"), &keyring).unwrap();
    let before = fixture.read("keyring");
    let refused = fixture.kdc(&["keyring", "add", "keyring"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("64 living versions; retire"),
        "{}",
        refused.stderr
    );
    assert_eq!(fixture.read("keyring"), before);
    fixture.kdc(&["keyring", "verify", "keyring"]).succeeds();
}

/// Who only sees a failure tries again, and would add a version each time.
#[test]
fn a_change_whose_report_cannot_be_written_says_that_it_was_made() {
    let fixture = Fixture::new();
    for (verb, done) in [
        ("init", "`keyring` was made"),
        ("add", "version 2 was added to `keyring`"),
        ("promote", "version 2 was promoted in `keyring`"),
        ("retire", "the key of version 1 in `keyring` was wiped"),
    ] {
        let mut command = fixture.command(&["keyring", verb, "keyring"]);
        if verb == "retire" {
            let first = key_ids(&fixture).remove(0);
            command.args(["--version", "1", "--confirm", &first]);
        }
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run = command.stdout(full).output().unwrap();
        let line = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(74), "{line}");
        assert!(line.contains("cannot write to standard output"), "{line}");
        assert!(
            line.contains(&format!("but {done}: do not repeat it")),
            "{line}"
        );
    }
    assert_eq!(states(&fixture), ["retired", "current"]);
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let fixture = Fixture::new();
    for arguments in [&["--help"][..], &["keyring", "--help"], &["--version"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run = fixture.command(arguments).stdout(full).output().unwrap();
        assert_eq!(run.status.code(), Some(74), "{arguments:?}");
    }
}

#[test]
fn the_name_of_a_file_commands_no_terminal() {
    let fixture = Fixture::new();
    let name = "key\u{1b}]0;title\u{7}\u{202e}ring";
    for arguments in [
        &["init"][..],
        &["add"],
        &["promote"],
        &["list"],
        &["verify"],
    ] {
        let arguments = [&["keyring"], arguments, &[name]].concat();
        let text = fixture.kdc(&arguments).succeeds().text();
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
}

/// While it waits for another editor, as it may for long, its memory is its own.
#[test]
fn its_keys_are_in_no_core_dump() {
    let fixture = Fixture::with_keyring();
    let held = File::open(fixture.path("keyring")).unwrap();
    held.lock().unwrap();
    let mut command = fixture.command(&["keyring", "add", "keyring"]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let limits = format!("/proc/{}/limits", child.id());
    let core = || {
        let limits = std::fs::read_to_string(&limits).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let fields = line.unwrap().split_whitespace().skip(4).take(2);
        fields.map(str::to_owned).collect::<Vec<_>>()
    };
    for _ in 0..1_000 {
        if core() == ["0", "0"] {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(core(), ["0", "0"]);
    held.unlock().unwrap();
    assert!(child.wait().unwrap().success());
}
