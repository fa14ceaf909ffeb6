//! `kdc encryption` before it has asked any server: what is found in files and folders stops it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::fixture::{Fixture, Run};

const KUBECONFIG: &str = "no/kubeconfig";

/// A folder with a configuration, and with a state that no other user writes.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("enc.yaml", "not looked at yet");
    let state = fixture.path("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    fixture
}

fn enable(fixture: &Fixture, config: &str, state: &str) -> Run {
    fixture.kdc(&[
        "encryption",
        "enable",
        "--provider",
        "aesgcm",
        "--yes",
        "--kubeconfig",
        KUBECONFIG,
        "--config",
        config,
        "--state",
        state,
    ])
}

#[test]
fn a_configuration_that_is_a_mount_is_named_before_anything_is_done() {
    let fixture = fixture();
    let plan = ["encryption", "plan", "rotate", "--kubeconfig", KUBECONFIG];
    for run in [
        enable(&fixture, "/proc", "state"),
        fixture.kdc(&[&plan[..], &["--config", "/proc"]].concat()),
    ] {
        assert_eq!(run.code, 78, "{}", run.stderr);
        for words in ["`/proc`", "mount its folder instead", "nothing was changed"] {
            assert!(run.stderr.contains(words), "{}", run.stderr);
        }
    }
    assert_eq!(fs::read_dir(fixture.path("state")).unwrap().count(), 0);
}

#[test]
fn a_state_folder_that_all_users_write_is_refused_and_no_link_in_it_is_followed() {
    let fixture = fixture();
    fixture.write("precious", "precious");
    let state = fixture.path("state");
    symlink(fixture.path("precious"), state.join("lock")).unwrap();
    let linked = enable(&fixture, "enc.yaml", "state");
    assert_eq!(linked.code, 74, "{}", linked.stderr);
    assert!(linked.stderr.contains("state/lock"), "{}", linked.stderr);
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    let open = enable(&fixture, "enc.yaml", "state");
    assert_eq!(open.code, 77, "{}", open.stderr);
    assert!(open.stderr.contains("mode 0777"), "{}", open.stderr);
    assert_eq!(fixture.read("precious"), b"precious");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
}

#[test]
fn one_run_at_a_time_whatever_state_is_named() {
    let fixture = fixture();
    for (lock, state) in [("state/lock", "state"), (".enc.yaml.lock", "state")] {
        let held = File::create(fixture.path(lock)).unwrap();
        held.lock().unwrap();
        let busy = enable(&fixture, "enc.yaml", state);
        assert_eq!(busy.code, 1, "{}", busy.stderr);
        assert!(busy.stderr.contains(lock), "{}", busy.stderr);
        assert!(
            busy.stderr.contains("is held by another run"),
            "{}",
            busy.stderr
        );
        assert!(!busy.stderr.contains("--state"), "{}", busy.stderr);
    }
    // Once no other process holds them, the next thing that is missing is the kubeconfig.
    assert_eq!(enable(&fixture, "enc.yaml", "state").code, 66);
}

#[test]
fn who_cannot_read_the_configuration_any_more_is_told() {
    let fixture = fixture();
    let told = |run: &Run| run.stderr.contains("has mode 0644 and becomes 0640");
    assert!(!told(&enable(&fixture, "enc.yaml", "state")));
    fs::set_permissions(fixture.path("enc.yaml"), Permissions::from_mode(0o644)).unwrap();
    let run = enable(&fixture, "enc.yaml", "state");
    assert!(told(&run), "{}", run.stderr);
}
