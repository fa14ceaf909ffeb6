//! Files that are taken for snapshots of etcd and are something else: what they are, and what to do with them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::failure::{Exit, Failure};

/// So much of a file tells what it is.
pub(super) const START_LEN: usize = 1024;

/// What a file is: a noun with its article; and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) what: &'static str,
    pub(super) cure: &'static str,
}

/// Where a kind has its mark.
struct Mark {
    offset: usize,
    bytes: &'static [u8],
    kind: Kind,
}

const fn mark(bytes: &'static [u8], what: &'static str, cure: &'static str) -> Mark {
    let kind = Kind { what, cure };
    Mark {
        offset: 0,
        bytes,
        kind,
    }
}

const UNPACK: &str = "unpack it first";
const DECRYPT: &str = "decrypt it first";
const SAVE: &str = "a snapshot is what `etcdctl snapshot save` writes";

/// Of bbolt, in the first page, as it lies there on all machines of today (little endian).
const BBOLT: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
const BBOLT_OFFSET: usize = 16;
/// Of a page of bbolt; a snapshot has a SHA-256 behind its pages.
const MIN_PAGE_LEN: u64 = 512;
const SHA256_LEN: u64 = 32;

const METADATA: Kind = Kind {
    what: "the metadata of a sealed snapshot",
    cure: "the sealed snapshot lies beside it as snapshot.db.enc, and `kdc backup open` opens it",
};
const DATA_FILE: Kind = Kind {
    what: "the data file of an etcd, which does not end in the checksum of a snapshot",
    cure: "take a snapshot with `etcdctl snapshot save`, or give --without-checksum if that etcd does not run",
};
const CUT_OFF: Kind = Kind {
    what: "a part of one: it is cut off, or something was added",
    cure: "take it, or copy it, again",
};

const MARKS: [Mark; 27] = [
    mark(b"\x1f\x8b", "a file packed by gzip", UNPACK),
    mark(b"\x28\xb5\x2f\xfd", "a file packed by zstd", UNPACK),
    mark(b"\xfd7zXZ\0", "a file packed by xz", UNPACK),
    mark(b"BZh", "a file packed by bzip2", UNPACK),
    mark(b"\x04\x22\x4d\x18", "a file packed by lz4", UNPACK),
    mark(b"PK\x03\x04", "a zip archive", UNPACK),
    Mark {
        offset: 257,
        ..mark(
            b"ustar",
            "a tar archive",
            "take the snapshot out of it first",
        )
    },
    mark(
        b"SQLite format 3\0",
        "a database of SQLite, as k3s has it in place of etcd",
        "back it up with the tools of SQLite",
    ),
    mark(
        b"kdcs",
        "a sealed snapshot",
        "`kdc backup open` opens it in its place in a bucket, `<cluster>/<id>/snapshot.db.enc`",
    ),
    mark(
        b"vault:v",
        "a wrapped data key",
        "the sealed snapshot lies beside it as snapshot.db.enc",
    ),
    mark(b"kdc-keyring ", "a keyring", "keep it apart from snapshots"),
    mark(b"age-encryption.org/", "a file encrypted by age", DECRYPT),
    mark(
        b"-----BEGIN AGE ENCRYPTED FILE",
        "a file encrypted by age",
        DECRYPT,
    ),
    mark(
        b"-----BEGIN PGP MESSAGE",
        "a file encrypted by gpg",
        DECRYPT,
    ),
    // Packets of OpenPGP: a session key for a public key (RSA, elliptic curves), or under a passphrase.
    mark(b"\x85\x01\x0c\x03", "a file encrypted by gpg", DECRYPT),
    mark(b"\x85\x01\x8c\x03", "a file encrypted by gpg", DECRYPT),
    mark(b"\x85\x02\x0c\x03", "a file encrypted by gpg", DECRYPT),
    mark(b"\x84\x5e\x03", "a file encrypted by gpg", DECRYPT),
    mark(b"\x8c\x0d\x04", "a file encrypted by gpg", DECRYPT),
    mark(b"Salted__", "a file encrypted by openssl", DECRYPT),
    mark(b"-----BEGIN ", "a key or certificate in PEM", SAVE),
    mark(b"\x7fELF", "a program", SAVE),
    mark(
        b"<",
        "a web page, or the error of a server",
        "fetch the snapshot again",
    ),
    mark(b"apiVersion:", "YAML with objects of Kubernetes", SAVE),
    mark(b"---\n", "YAML", SAVE),
    mark(b"{", "JSON", SAVE),
    mark(b"[", "JSON", SAVE),
];

/// What a file is by its start, if it is a well-known kind and no file of etcd.
pub(super) fn by_start(start: &[u8]) -> Option<Kind> {
    let is_marked = |mark: &&Mark| {
        let rest = start.get(mark.offset..);
        rest.is_some_and(|rest| rest.starts_with(mark.bytes))
    };
    if is_of_etcd(start) {
        return None;
    }
    let is_metadata = start.starts_with(b"{") && contains(start, b"\"wrappedDek\"");
    if is_metadata {
        return Some(METADATA);
    }
    MARKS.iter().find(is_marked).map(|mark| mark.kind)
}

/// Whether it begins as files of etcd do.
pub(super) fn is_of_etcd(start: &[u8]) -> bool {
    let magic = start.get(BBOLT_OFFSET..BBOLT_OFFSET + BBOLT.len());
    magic == Some(BBOLT.as_slice())
}

/// Why a file of `len` bytes cannot be a snapshot of etcd. `takes_data_file` is for who takes one without a checksum.
fn by_start_and_len(start: &[u8], len: u64, takes_data_file: bool) -> Option<Kind> {
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
    let mut start = vec![0; START_LEN];
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
pub(super) fn refused(shown: &str, kind: Kind) -> Failure {
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
        assert_eq!(what(b"\x1f\x8b\x08\0"), "a file packed by gzip");
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(what(&tar), "a tar archive");
        assert_eq!(what(b"kdcs\x02"), "a sealed snapshot");
        assert_eq!(what(b"{\n \"wrappedDek\": \"x\""), METADATA.what);
        assert_eq!(what(b"{\"kind\": \"List\"}"), "JSON");
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
