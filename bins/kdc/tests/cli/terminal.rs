//! What differs between a terminal and a pipe.

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::fixture::{ETCD_KEY, Fixture};

/// Runs with a terminal as standard output; gives what appeared there, standard error, and the exit code.
fn on_terminal(fixture: &Fixture, arguments: &[&str], no_color: bool) -> (String, String, i32) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut command = fixture.command(arguments);
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let child = command
        .stdout(terminal)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command held the terminal open too.
    drop(command);
    let mut shown = Vec::new();
    // At the end a terminal answers with an error instead of an end of file.
    let _ = File::from(controller).read_to_end(&mut shown);
    let output = child.wait_with_output().unwrap();
    (
        String::from_utf8(shown).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap(),
    )
}

#[test]
fn colours_are_for_terminals_and_can_be_turned_off() {
    let fixture = Fixture::with_keyring();
    let list = ["keyring", "list", "keyring"];
    let (coloured, _, _) = on_terminal(&fixture, &list, false);
    assert!(
        coloured.contains("\u{1b}[32m1        current"),
        "{coloured:?}"
    );
    let (plain, _, _) = on_terminal(&fixture, &list, true);
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(!fixture.kdc(&list).text().contains('\u{1b}'));
}

#[test]
fn binary_goes_to_a_terminal_only_by_force() {
    let fixture = Fixture::with_keyring();
    fixture.write("binary", fixture.row(b"k8s\0\x01"));
    fixture.write("text", fixture.row(b"plain text\n"));
    let open = |file, more: &[&str]| {
        let arguments = [
            "value",
            "open",
            "--keyring",
            "keyring",
            "--etcd-key",
            ETCD_KEY,
            "--file",
            file,
        ];
        on_terminal(&fixture, &[&arguments[..], more].concat(), false)
    };
    let (shown, error, code) = open("binary", &[]);
    assert_eq!((shown.as_str(), code), ("", 64));
    assert!(error.contains("insist with --force"), "{error}");
    assert_eq!(open("binary", &["--force"]).0, "k8s\0\x01");
    assert_eq!(open("text", &[]).0, "plain text\r\n");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let fixture = Fixture::new();
    let mut child = fixture
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn a_full_disk_is_an_error() {
    let fixture = Fixture::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = fixture
        .command(&["completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.starts_with("kdc: error: cannot write to standard output"),
        "{line}"
    );
}
