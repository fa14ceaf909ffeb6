use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use rustix::fs::{CWD, Mode};

use super::*;

fn directory_with_keyring() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring");
    create(&path, &Keyring::generate(1).unwrap()).unwrap();
    (directory, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names_in(directory: &tempfile::TempDir) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}

#[test]
fn a_new_keyring_is_private_and_nothing_else_is_left() {
    let (directory, path) = directory_with_keyring();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(load(&path).unwrap().current(), 1);
    assert_eq!(names_in(&directory), ["keyring"]);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (directory, path) = directory_with_keyring();
    let before = fs::read(&path).unwrap();
    let error = create(&path, &Keyring::generate(2).unwrap()).unwrap_err();
    assert!(
        matches!(
            error,
            KeyringFileError::File(PrivateFileError::Exists { .. })
        ),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names_in(&directory), ["keyring"]);
}

#[test]
fn an_edit_replaces_the_file_and_keeps_its_mode() {
    let (directory, path) = directory_with_keyring();
    set_mode(&path, 0o640);
    assert_eq!(edit(&path, |keyring| keyring.add(2)).unwrap(), 2);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert_eq!(load(&path).unwrap().versions().count(), 2);
    assert_eq!(names_in(&directory), ["keyring"]);
}

#[test]
fn a_refused_edit_changes_nothing() {
    let (directory, path) = directory_with_keyring();
    let before = fs::read(&path).unwrap();
    let error = edit(&path, |keyring| keyring.promote(9)).unwrap_err();
    assert!(matches!(error, KeyringFileError::Edit { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names_in(&directory), ["keyring"]);
}

#[test]
fn concurrent_edits_lose_nothing() {
    let (_directory, path) = directory_with_keyring();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    edit(&path, |keyring| keyring.add(3)).unwrap();
                }
            });
        }
    });
    assert_eq!(load(&path).unwrap().versions().count(), 41);
}

#[test]
fn an_edit_through_a_link_replaces_the_file_behind_it() {
    let (directory, path) = directory_with_keyring();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    edit(&link, |keyring| keyring.add(2)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(load(&path).unwrap().versions().count(), 2);
}

#[test]
fn files_open_to_others_are_refused() {
    let (_directory, path) = directory_with_keyring();
    for mode in [0o604, 0o602, 0o601, 0o620, 0o666] {
        set_mode(&path, mode);
        let error = load(&path).unwrap_err();
        assert!(
            matches!(
                error,
                KeyringFileError::File(PrivateFileError::TooOpen { .. })
            ),
            "{error}"
        );
    }
    set_mode(&path, 0o440);
    assert!(load(&path).is_ok());
}

#[test]
fn what_is_no_file_or_no_keyring_is_refused() {
    let (directory, path) = directory_with_keyring();
    let at = |name: &str| directory.path().join(name);
    let error = load(&at("missing")).unwrap_err();
    assert!(
        matches!(error, KeyringFileError::File(PrivateFileError::Io { .. })),
        "{error}"
    );
    let error = load(directory.path()).unwrap_err();
    assert!(
        matches!(
            error,
            KeyringFileError::File(PrivateFileError::NotAFile { .. })
        ),
        "{error}"
    );
    fs::write(at("large"), vec![0; 1 << 21]).unwrap();
    set_mode(&at("large"), 0o600);
    let error = load(&at("large")).unwrap_err();
    assert!(
        matches!(
            error,
            KeyringFileError::File(PrivateFileError::TooLarge { .. })
        ),
        "{error}"
    );
    fs::write(&path, [0xff; 40]).unwrap();
    let error = load(&path).unwrap_err();
    assert!(matches!(error, KeyringFileError::Parse { .. }), "{error}");
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let error = load(&pipe).unwrap_err();
    assert!(
        matches!(
            error,
            KeyringFileError::File(PrivateFileError::NotAFile { .. })
        ),
        "{error}"
    );
}

#[test]
fn a_root_secret_is_exactly_32_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root-key");
    for (len, good) in [(31, false), (32, true), (33, false), (0, false)] {
        fs::write(&path, vec![7; len]).unwrap();
        set_mode(&path, 0o400);
        assert_eq!(
            crate::local::root_secret::load(&path).is_ok(),
            good,
            "{len}"
        );
        set_mode(&path, 0o600);
    }
}
