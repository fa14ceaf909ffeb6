//! `kdc quickstart`.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::Fixture;

#[test]
fn the_whole_path_works_and_leaves_nothing() {
    let fixture = Fixture::new();
    let run = fixture
        .command(&["quickstart"])
        .env("TMPDIR", fixture.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(run.stderr, b"");
    assert!(text.contains("|k8s:enc:kms:v2:k|"), "{text}");
    assert!(
        text.contains("password: Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ=="),
        "{text}"
    );
    assert!(text.contains("kind: EncryptionConfiguration"), "{text}");
    assert!(!text.contains('\u{1b}'));
    assert_eq!(
        text.lines().filter(|line| line.starts_with("ok: ")).count(),
        6,
        "{text}"
    );
    assert_eq!(fs::read_dir(fixture.path("")).unwrap().count(), 0);
}

#[test]
fn what_it_keeps_can_be_opened_by_the_commands_it_prints() {
    let fixture = Fixture::new();
    fixture.write("my file.txt", "precious bytes\n");
    let text = fixture
        .kdc(&["quickstart", "--dir", "demo", "my file.txt"])
        .succeeds()
        .text();
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("$ kdc value open --file /"))
        .collect();
    assert_eq!(commands.len(), 3, "{text}");
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').collect();
        let file = format!("/{}", arguments[0]);
        let open = [&["value", "open", "--file", &file][..], &arguments[1..]].concat();
        let yaml = fixture.kdc(&open).succeeds().text();
        assert!(yaml.contains("kind: Secret"), "{yaml}");
        if command.contains("from-file") {
            assert!(yaml.contains("my_file.txt: cHJlY2lvdXMgYnl0ZXMK"), "{yaml}");
        }
    }
    fixture
        .kdc(&["quickstart", "--dir", "demo"])
        .fails(73, "exists already");
}

#[test]
fn a_file_that_cannot_be_stored_is_refused() {
    let fixture = Fixture::new();
    fixture
        .kdc(&["quickstart", "none"])
        .fails(66, "FILE: cannot read `none`");
    fixture.write("large", vec![0; (1 << 20) + 1]);
    fixture
        .kdc(&["quickstart", "large"])
        .fails(65, "more than 1 MiB");
    fixture
        .kdc(&["quickstart", "--dir", "large/inner"])
        .fails(73, "--dir: cannot make `large/inner`");
    let long = "x".repeat(100);
    fixture
        .kdc(&["quickstart", "--dir", &long])
        .fails(73, "choose a shorter path");
}

/// With the real servers of the testbed, for which it waits up to a minute and a half.
#[cfg(feature = "testbed")]
#[test]
fn a_real_api_server_tells_the_same_story() {
    let text = Fixture::new()
        .kdc(&["quickstart", "--with-apiserver"])
        .succeeds()
        .text();
    assert!(
        text.contains("stored by kube-apiserver 1.36 in etcd"),
        "{text}"
    );
    assert!(text.contains("|k8s:enc:kms:v2:k|"), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("ok: ")).count(),
        6,
        "{text}"
    );
}

/// It holds a key, if only one for a demonstration.
#[test]
fn a_signal_leaves_no_temporary_folder() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let fixture = Fixture::new();
        let (_reader, stdout) = full();
        let mut child = fixture
            .command(&["quickstart"])
            .env("TMPDIR", fixture.path(""))
            .stdout(stdout)
            .spawn()
            .unwrap();
        let has_folder = || fs::read_dir(fixture.path("")).unwrap().next().is_some();
        for _ in 0..1_000 {
            if has_folder() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert!(has_folder());
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!has_folder());
    }
}

/// A standard output that takes nothing, so that the program stays where it first says something. Full for as long as the other end, which comes first, is kept.
fn full() -> (UnixStream, OwnedFd) {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    writer.set_nonblocking(false).unwrap();
    (reader, writer.into())
}
