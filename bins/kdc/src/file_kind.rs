//! What a file is that is not what was asked for, by its first bytes.

use kdc_envelope::snapshot;

/// As many bytes as tell.
pub(crate) const HEAD_LEN: usize = 1024;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileKind {
    /// The end of "this is …".
    pub(crate) what: &'static str,
    /// What to do.
    pub(crate) cure: &'static str,
}

const UNPACK: &str = "unpack it first";
const DECRYPT: &str = "decrypt it first";

/// Magic numbers with their places.
const KINDS: [(usize, &[u8], &str, &str); 21] = [
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
    (0, &[0x04, 0x22, 0x4d, 0x18], "packed with lz4", UNPACK),
    (0, b"BZh", "packed with bzip2", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (
        0,
        b"SQLite format 3\0",
        "a database of SQLite, as k3s has instead of etcd",
        "only etcd is supported",
    ),
    (0, b"kdc-keyring ", "a keyring", "name another file"),
    (0, b"age-encryption.org/", "encrypted with age", DECRYPT),
    (
        0,
        b"-----BEGIN AGE ENCRYPTED",
        "encrypted with age",
        DECRYPT,
    ),
    (0, b"-----BEGIN PGP MESSAGE", "encrypted with gpg", DECRYPT),
    // Packets of OpenPGP: a session key for a public key (RSA, elliptic curves), or under a passphrase.
    (0, &[0x85, 0x01, 0x0c, 0x03], "encrypted with gpg", DECRYPT),
    (0, &[0x85, 0x01, 0x8c, 0x03], "encrypted with gpg", DECRYPT),
    (0, &[0x85, 0x02, 0x0c, 0x03], "encrypted with gpg", DECRYPT),
    (0, &[0x84, 0x5e, 0x03], "encrypted with gpg", DECRYPT),
    (0, b"Salted__", "encrypted with openssl", DECRYPT),
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
