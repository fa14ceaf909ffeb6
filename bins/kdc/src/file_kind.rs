//! What a file is that is not what was asked for, by its first bytes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use kdc_envelope::snapshot;

/// As many bytes as tell.
const HEAD: u64 = 512;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileKind {
    /// The end of "this is …".
    pub(crate) what: &'static str,
    /// What to do.
    pub(crate) cure: &'static str,
}

const UNPACK: &str = "unpack it first";

/// Magic numbers with their places.
const KINDS: [(usize, &[u8], &str, &str); 11] = [
    (
        0,
        &snapshot::MAGIC,
        "a sealed snapshot",
        "open it with `kdc backup open`",
    ),
    (
        16,
        &[0xed, 0xda, 0x0c, 0xed],
        "a snapshot or data file of etcd",
        "count its rows with `kdc backup scan`",
    ),
    (
        0,
        b"vault:v",
        "a wrapped data key",
        "`kdc backup open` takes the snapshot that it belongs to",
    ),
    (0, &[0x1f, 0x8b], "packed with gzip", UNPACK),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "packed with zstd", UNPACK),
    (0, b"\xfd7zXZ", "packed with xz", UNPACK),
    (0, b"BZh", "packed with bzip2", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (
        0,
        b"SQLite format 3\0",
        "a database of SQLite, as k3s has instead of etcd",
        "only etcd is supported",
    ),
    (
        0,
        b"-----BEGIN ",
        "PEM, such as a certificate",
        "name another file",
    ),
];

/// The kind of what begins with these bytes, if it is a known one.
pub(crate) fn of(head: &[u8]) -> Option<FileKind> {
    let fits =
        |at: usize, magic: &[u8]| head.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
    let mut kinds = KINDS.iter();
    let (_, _, what, cure) = kinds.find(|(at, magic, ..)| fits(*at, magic))?;
    Some(FileKind { what, cure })
}

/// The kind of a file, as far as it can be read.
pub(crate) fn of_file(path: &Path) -> Option<FileKind> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    match read.ok()? {
        0 => Some(FileKind {
            what: "empty",
            cure: "name another file",
        }),
        _ => of(&head),
    }
}
