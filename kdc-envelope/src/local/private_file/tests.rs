use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn temporary(folder: &tempfile::TempDir) -> (PathBuf, Temporary) {
    let path = folder.path().join("keyring");
    let temporary = Temporary::beside(&path).unwrap();
    temporary.fill(b"new").unwrap();
    (path, temporary)
}

fn names_in(folder: &tempfile::TempDir) -> Vec<std::ffi::OsString> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}

/// NFS and sshfs answer so to every flag of a rename, kernels and sandboxes without the call with the other.
#[test]
fn a_file_system_without_flags_of_a_rename_makes_new_files_too() {
    for refusal in [Errno::INVAL, Errno::NOSYS] {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = temporary(&folder);
        temporary
            .take_free_name(&path, |_, _| Err(refusal))
            .unwrap();
        drop(temporary);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(names_in(&folder), ["keyring"]);
    }
}

#[test]
fn nor_does_it_replace_anything_there() {
    let folder = tempfile::tempdir().unwrap();
    let (path, temporary) = temporary(&folder);
    fs::write(&path, "old").unwrap();
    let error = temporary.take_free_name(&path, |_, _| Err(Errno::INVAL));
    drop(temporary);
    assert!(matches!(error, Err(PrivateFileError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names_in(&folder), ["keyring"]);
}

#[test]
fn other_refusals_of_a_rename_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, temporary) = temporary(&folder);
    let error = temporary.take_free_name(&path, |_, _| Err(Errno::NOSPC));
    assert!(matches!(error, Err(PrivateFileError::Io { .. })));
    assert!(!path.exists());
}

/// NFS wants a file that may be written.
#[test]
fn a_lock_that_needs_a_writable_file_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring");
    create(&path, b"content").unwrap();
    let locked = lock(&path, |file| {
        let flags = rustix::fs::fcntl_getfl(file)?;
        match flags.contains(OFlags::RDWR) {
            true => Ok(()),
            false => Err(Errno::BADF),
        }
    });
    assert_eq!(locked.unwrap().1.as_slice(), b"content");
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring");
    let largest = vec![b'x'; 1 << 20];
    let larger = vec![b'x'; (1 << 20) + 1];
    let refused = |outcome: Result<(), PrivateFileError>| {
        assert!(matches!(
            outcome,
            Err(PrivateFileError::WouldBeTooLarge { .. })
        ));
    };
    refused(create(&path, &larger));
    assert!(!path.exists());
    create(&path, &largest).unwrap();
    assert_eq!(read(&path).unwrap().len(), largest.len());
    refused(replace(&path, &larger));
    refused(Locked::open(&path).unwrap().replace(&larger));
    assert_eq!(read(&path).unwrap().len(), largest.len());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
