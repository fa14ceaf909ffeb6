//! Files that are taken for snapshots of etcd and are something else: what they are, and what to do with them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::file;
use crate::failure::{Exit, Failure};
use crate::file_kind::{self, FileKind, HEAD_LEN};

const SAVE: &str = "a snapshot is what `etcdctl snapshot save` writes";

/// Of bbolt, in the first page, as it lies there on all machines of today (little endian).
const BBOLT: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
const BBOLT_OFFSET: usize = 16;
/// Of a page of bbolt; a snapshot has a SHA-256 behind its pages.
const MIN_PAGE_LEN: u64 = 512;
const SHA256_LEN: u64 = 32;

const METADATA: FileKind = FileKind {
    what: "the metadata of a sealed snapshot",
    cure: "the sealed snapshot is beside it as snapshot.db.enc, and `kdc backup open` opens it",
};
const DATA_FILE: FileKind = FileKind {
    what: "the data file of an etcd, which does not end in the checksum of a snapshot",
    cure: "take a snapshot with `etcdctl snapshot save`, or give --without-checksum if that etcd does not run",
};
const EMPTY: FileKind = FileKind {
    what: "empty",
    cure: "name another file",
};
const CUT_OFF: FileKind = FileKind {
    what: "a part of one: it is cut off, or something was added",
    cure: "take it, or copy it, again",
};

/// Text that people take for a snapshot, or servers give instead of one.
const TEXTS: [(&[u8], FileKind); 5] = [
    (
        b"<",
        FileKind {
            what: "a web page, or the error of a server",
            cure: "fetch the snapshot again",
        },
    ),
    (b"apiVersion:", OBJECTS),
    (b"---\n", OBJECTS),
    (b"{", OBJECTS),
    (b"[", OBJECTS),
];
const OBJECTS: FileKind = FileKind {
    what: "YAML or JSON",
    cure: SAVE,
};

/// What a file is by its start, if it is a well-known kind and no file of etcd.
pub(super) fn by_start(start: &[u8]) -> Option<FileKind> {
    if is_of_etcd(start) {
        return None;
    }
    let is_metadata = start.starts_with(b"{") && contains(start, b"\"wrappedDek\"");
    if is_metadata {
        return Some(METADATA);
    }
    let text = || TEXTS.iter().find(|(text, _)| start.starts_with(text));
    file_kind::of(start).or_else(|| text().map(|(_, kind)| *kind))
}

/// The same of a file that can be read.
pub(super) fn of_path(path: &Path) -> Option<FileKind> {
    let start = file::open(path).and_then(|file| start_of(&file)).ok()?;
    match start.is_empty() {
        true => Some(EMPTY),
        false => by_start(&start),
    }
}

/// Whether it begins as files of etcd do.
pub(super) fn is_of_etcd(start: &[u8]) -> bool {
    let magic = start.get(BBOLT_OFFSET..BBOLT_OFFSET + BBOLT.len());
    magic == Some(BBOLT.as_slice())
}

/// Why a file of `len` bytes cannot be a snapshot of etcd. `takes_data_file` is for who takes one without a checksum.
fn by_start_and_len(start: &[u8], len: u64, takes_data_file: bool) -> Option<FileKind> {
    if !is_of_etcd(start) {
        return by_start(start);
    }
    match len % MIN_PAGE_LEN {
        SHA256_LEN => None,
        0 if takes_data_file => None,
        0 => Some(DATA_FILE),
        _ => Some(CUT_OFF),
    }
}

/// Refuses a file that is no snapshot of etcd, as far as its start and its length tell.
pub(super) fn check_file(
    file: &File,
    path: &Path,
    len: u64,
    takes_data_file: bool,
) -> Result<(), Failure> {
    let shown = format!("FILE: `{}`", path.display());
    if len == 0 {
        let line = format!("{shown}: the snapshot is empty; take it again");
        return Err(Failure::new(Exit::Data, line));
    }
    let start = start_of(file).map_err(|error| Failure::unreadable("FILE", path, &error))?;
    match by_start_and_len(&start, len, takes_data_file) {
        Some(kind) => Err(refused(&shown, kind)),
        None => Ok(()),
    }
}

/// The first bytes of a file.
pub(super) fn start_of(file: &File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; HEAD_LEN];
    let mut len = 0;
    while let Some(rest) = start.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    start.truncate(len);
    Ok(start)
}

/// `shown` is no snapshot but something else.
pub(super) fn refused(shown: &str, kind: FileKind) -> Failure {
    let line = format!("{shown} is not a snapshot of etcd but {}", kind.what);
    Failure::new(Exit::Data, line).hint(kind.cure)
}

/// A path that is no regular file.
pub(super) fn no_file(path: &Path) -> Failure {
    let shown = format!("FILE: `{}` is not a file", path.display());
    let (what, cure) = if path.join("member/snap/db").exists() {
        let cure = "take a snapshot with `etcdctl snapshot save`; of an etcd that does not run, member/snap/db in it with --without-checksum";
        ("but a data directory of etcd", cure)
    } else if path.is_dir() {
        ("but a folder", "name the snapshot in it")
    } else {
        let cure = "`-` reads standard input, which may be a pipe";
        ("but a pipe or device", cure)
    };
    Failure::new(Exit::NoInput, format!("{shown} {what}")).hint(cure)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_start() {
        let what = |start: &[u8]| by_start(start).map_or("", |kind| kind.what);
        assert_eq!(what(b"\x1f\x8b\x08\0"), "packed with gzip");
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(what(&tar), "a tar archive");
        assert_eq!(what(b"kdcs\x02"), "a sealed snapshot");
        assert_eq!(what(b"{\n \"wrappedDek\": \"x\""), METADATA.what);
        assert_eq!(what(b"{\"kind\": \"List\"}"), OBJECTS.what);
        assert_eq!(what(b"no database"), "");
        assert_eq!(what(b""), "");
    }

    #[test]
    fn the_length_tells_a_snapshot_from_a_data_file_and_from_a_part() {
        let mut start = vec![0; 1024];
        start[16..20].copy_from_slice(&BBOLT);
        let by_len = |len, takes_data_file| by_start_and_len(&start, len, takes_data_file);
        assert_eq!(by_len(4096 + 32, false), None);
        assert_eq!(by_len(4096, false), Some(DATA_FILE));
        assert_eq!(by_len(4096, true), None);
        assert_eq!(by_len(4000, true), Some(CUT_OFF));
    }
}
