//! Files of nodes and of the state: private, replaced as a whole, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{Chain, LocalKey, LocalProvider, Transformer};
use kdc_envelope_k8s::files::{EarlierVersions, FilesError, NodeFolder, Passes, StateFolder};
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::{
    Binding, Change, ConfigHash, Pass, RowWriters, Timestamp, history::KeyHistory,
};
use kdc_envelope_k8s::{GroupResource, Layout};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn key(name: &str, byte: u8) -> LocalKey {
    let name = KeyName::new(name).unwrap();
    LocalKey::new(
        LocalProvider::Aesgcm,
        name,
        SecretBytes::new(vec![byte; 32]),
    )
    .unwrap()
}

fn layout(keys: &[&LocalKey]) -> Layout {
    let keys = keys.iter().map(|key| Transformer::Local((*key).clone()));
    let chain = Chain::from_all(keys).unwrap();
    [(GroupResource::from_text("secrets"), chain)]
        .into_iter()
        .collect()
}

/// Over what is there.
fn write(node: &NodeFolder, layout: &Layout) {
    let over = node.read().unwrap().hash;
    node.write(layout, over).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_missing_file_is_an_empty_layout_and_a_missing_folder_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    let file = node.read().unwrap();
    assert_eq!(file.hash, ConfigHash::NO_FILE);
    assert!(file.layout.is_plain());
    assert!(node.keys().unwrap().is_empty());
    let nowhere = NodeFolder::of(folder.path().join("no/config"));
    let error = nowhere.read().unwrap_err();
    assert!(matches!(error, FilesError::Io { .. }), "{error}");
}

#[test]
fn what_is_written_is_private_and_what_was_there_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    let (a, b) = (key("a", 1), key("b", 2));
    write(&node, &layout(&[&a]));
    assert_eq!(mode(node.config()), 0o600);
    let first = node.read().unwrap();
    write(&node, &layout(&[&b, &a]));
    assert_eq!(*node.read().unwrap().layout, layout(&[&b, &a]));
    // What is there now is among them, so that it is still known when an operator takes the file away.
    let hashes = |node: &NodeFolder| -> Vec<ConfigHash> {
        let earlier = node.earlier().unwrap();
        earlier.into_iter().map(|(hash, _)| hash).collect()
    };
    let second = node.read().unwrap();
    assert_eq!(hashes(&node), [first.hash, second.hash]);
    // What another writer put there meanwhile is left alone.
    let changed = node.write(&layout(&[&a]), first.hash).unwrap_err();
    assert!(matches!(changed, FilesError::Changed { .. }), "{changed}");
    let gone = node.write(&layout(&[&a]), ConfigHash::NO_FILE).unwrap_err();
    assert!(matches!(gone, FilesError::Changed { .. }), "{gone}");
    assert_eq!(node.read().unwrap().hash, second.hash);
    // The same again is no new version, and neither is one that is known already.
    write(&node, &layout(&[&b, &a]));
    write(&node, &layout(&[&a]));
    write(&node, &layout(&[&b, &a]));
    assert_eq!(node.earlier().unwrap().len(), 2);
    let bak = folder.path().join("encryption-provider-bak");
    assert_eq!(mode(&bak), 0o700);
    for entry in fs::read_dir(bak).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_foreign_file_keeps_its_group_and_loses_the_rights_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    let text = layout(&[&key("a", 1)]).render().unwrap();
    fs::write(node.config(), text.as_bytes()).unwrap();
    fs::set_permissions(node.config(), fs::Permissions::from_mode(0o644)).unwrap();
    write(&node, &layout(&[&key("b", 2), &key("a", 1)]));
    assert_eq!(mode(node.config()), 0o640);
}

#[test]
fn keys_stay_in_the_history_of_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    let (a, b) = (key("a", 1), key("b", 2));
    for key in [&a, &b, &a] {
        node.keep(key, NOW).unwrap();
    }
    assert_eq!(node.keys().unwrap(), [a, b]);
    assert_eq!(mode(&node.history()), 0o600);
    // Half of it is no history, and nothing is written over it.
    let text = fs::read(node.history()).unwrap();
    let half = text.get(..text.len() / 2).unwrap();
    fs::write(node.history(), half).unwrap();
    let error = node.keep(&key("c", 3), NOW).unwrap_err();
    assert!(matches!(error, FilesError::History { .. }), "{error}");
    assert_eq!(fs::read(node.history()).unwrap(), half);
}

#[test]
fn a_configuration_that_kube_apiserver_refuses_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    for (text, words) in [
        ("kind: Other", "EncryptionConfiguration"),
        ("", "EncryptionConfiguration"),
    ] {
        fs::write(node.config(), text).unwrap();
        let error = node.read().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    fs::write(node.config(), vec![b' '; (1 << 20) + 1]).unwrap();
    let error = node.read().unwrap_err();
    assert!(matches!(error, FilesError::TooLarge { .. }), "{error}");
}

#[test]
fn the_state_is_held_by_one_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    assert!(StateFolder::read_only(&path).change().unwrap().is_none());
    let unheld = StateFolder::read_only(&path).save_passes(&Passes::default());
    assert!(matches!(unheld, Err(FilesError::NotHeld { .. })));
    assert!(!path.exists(), "looking makes nothing");
    let state = StateFolder::hold(&path).unwrap();
    let busy = StateFolder::hold(&path).unwrap_err();
    assert!(matches!(busy, FilesError::Busy { .. }), "{busy}");

    let mut keyring = state.keyring().unwrap();
    keyring.keep(&Transformer::Local(key("a", 1)), false, NOW);
    state.save_keyring(&keyring).unwrap();
    let writers = BTreeMap::from([(
        GroupResource::from_text("secrets"),
        Transformer::Local(key("a", 1)),
    )]);
    let change = Change::new(
        ChangeKind::Enable,
        &writers,
        &[&Layout::default()],
        None,
        NOW,
    );
    state.save_change(&change).unwrap();
    let pass = Pass {
        binding: Binding {
            revision: 3,
            kms: BTreeMap::from([("kdc".into(), "sha256:1".into())]),
        },
        resources: vec![GroupResource::from_text("*.apps")],
        refused: 0,
    };
    let passes = Passes {
        rewritten: Some(pass),
        verified: None,
    };
    state.save_passes(&passes).unwrap();
    drop(state);

    let state = StateFolder::hold(&path).unwrap();
    assert_eq!(state.keyring().unwrap(), keyring);
    assert_eq!(state.change().unwrap(), Some(change));
    assert_eq!(state.passes().unwrap(), passes);
    for name in ["keyring", "wish.json", "passes.json"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
    // Neither of these two holds a key.
    for name in ["wish.json", "passes.json"] {
        let text = fs::read_to_string(path.join(name)).unwrap();
        assert!(!text.contains("AQEB"), "{text}");
    }
    fs::write(path.join("wish.json"), "{}").unwrap();
    let error = state.change().unwrap_err();
    assert!(matches!(error, FilesError::State { .. }), "{error}");
}

#[test]
fn a_configuration_that_is_a_mount_is_found_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    node.check_replaceable().unwrap();
    write(&node, &layout(&[&key("a", 1)]));
    node.check_replaceable().unwrap();
    // The one mount that every Linux has.
    let error = NodeFolder::of("/proc").check_replaceable().unwrap_err();
    assert!(matches!(error, FilesError::MountPoint { .. }), "{error}");
    assert!(error.to_string().contains("mount its folder instead"));
}

#[test]
fn a_configuration_that_loses_readers_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config"));
    assert_eq!(node.open_to_others().unwrap(), None);
    write(&node, &layout(&[&key("a", 1)]));
    assert_eq!(node.open_to_others().unwrap(), None);
    fs::set_permissions(node.config(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(node.open_to_others().unwrap().unwrap().mode, 0o644);
}

#[test]
fn the_lock_of_the_state_follows_no_link_and_cuts_nothing_off() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&precious, state.join("lock")).unwrap();
    let error = StateFolder::hold(&state).unwrap_err();
    assert!(matches!(error, FilesError::Io { .. }), "{error}");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    fs::remove_file(state.join("lock")).unwrap();
    fs::write(state.join("lock"), "a note").unwrap();
    drop(StateFolder::hold(&state).unwrap());
    assert_eq!(fs::read(state.join("lock")).unwrap(), b"a note");
}

#[test]
fn a_state_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    for mode in [0o777, 0o775, 0o1777] {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
        let error = StateFolder::hold(&state).unwrap_err();
        assert!(matches!(error, FilesError::OpenFolder { .. }), "{error}");
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "{mode:o}");
    }
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    drop(StateFolder::hold(&state).unwrap());
}

#[test]
fn a_configuration_is_held_whatever_the_state_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("config"), "").unwrap();
    std::os::unix::fs::symlink(path("config"), path("link")).unwrap();
    let mut first = StateFolder::hold(path("first")).unwrap();
    first.hold_node(&NodeFolder::of(path("config"))).unwrap();
    // Several API servers may share one file.
    first.hold_node(&NodeFolder::of(path("link"))).unwrap();
    // Nothing can be written where no folder is.
    first.hold_node(&NodeFolder::of(path("no/config"))).unwrap();
    let mut second = StateFolder::hold(path("second")).unwrap();
    for name in ["config", "link"] {
        let busy = second.hold_node(&NodeFolder::of(path(name))).unwrap_err();
        assert!(matches!(busy, FilesError::Busy { .. }), "{busy}");
    }
    second.hold_node(&NodeFolder::of(path("other"))).unwrap();
    drop(first);
    second.hold_node(&NodeFolder::of(path("config"))).unwrap();
}

#[test]
fn what_rows_lie_under_is_kept_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::hold(folder.path().join("state")).unwrap();
    let mut keyring = state.keyring().unwrap();
    assert_eq!(state.row_writers(&keyring).unwrap(), None);
    let written = Transformer::Local(key("a", 1));
    keyring.keep(&written, true, NOW);
    let row_writers = RowWriters {
        revision: 4,
        writers: BTreeMap::from([(
            GroupResource::from_text("secrets"),
            vec![written, Transformer::Identity],
        )]),
    };
    state.save_row_writers(&row_writers).unwrap();
    assert_eq!(state.row_writers(&keyring).unwrap(), Some(row_writers));
    let path = state.path().join("row-writers.json");
    assert_eq!(mode(&path), 0o600);
    assert!(!fs::read_to_string(&path).unwrap().contains("AQEB"));
    // With another keyring beside it, its meaning is unknown.
    let error = state.row_writers(&KeyHistory::default()).unwrap_err();
    assert!(matches!(error, FilesError::Rows { .. }), "{error}");
}

#[test]
fn an_earlier_version_is_read_once_and_again_only_when_its_file_changed() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeFolder::of(folder.path().join("config.yaml"));
    let of = |name: &str| layout(&[&key(name, 1)]);
    node.write(&of("a"), ConfigHash::NO_FILE).unwrap();
    let mut versions = EarlierVersions::default();
    let first = versions.read(&node).unwrap();
    assert_eq!(first.len(), 1);
    let kept = folder.path().join("encryption-provider-bak");
    let path = fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    // With the same length and time nothing tells that it changed, so it is not read.
    fs::write(&path, of("b").render().unwrap().as_bytes()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(versions.read(&node).unwrap(), first);
    file.set_modified(time + std::time::Duration::from_secs(1))
        .unwrap();
    let second = versions.read(&node).unwrap();
    assert_eq!(second.len(), 1);
    assert_ne!(second, first);
    fs::remove_file(&path).unwrap();
    assert!(versions.read(&node).unwrap().is_empty());
}
