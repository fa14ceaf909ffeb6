//! The content of a snapshot as it passes: its digest, and the checksum that etcd appends.
//!
//! etcd ends the stream of a snapshot with the SHA-256 of all bytes before (`Maintenance.Snapshot` in
//! `server/etcdserver/api/v3rpc/maintenance.go`). A stream without it ended early, so the last chunk is sealed only when it is right.

use crate::digest::BulkSha256;

/// Length of the checksum at the end, in bytes.
pub const TRAILER_LEN: usize = 32;
/// bbolt files are whole disk sectors.
const SECTOR_LEN: u64 = 512;

/// What the end of the content must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trailer {
    /// The SHA-256 of all that comes before, as etcd appends it.
    #[default]
    Etcd,
    /// Anything; a digest is made of the content, to be compared with one that is known.
    Digest,
    /// Anything, and no digest is made.
    Unchecked,
}

/// Facts about content that passed completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentSummary {
    /// Length in bytes.
    pub len: u64,
    /// SHA-256 of all bytes, the checksum at the end included; `None` with [`Trailer::Unchecked`].
    pub sha256: Option<[u8; 32]>,
}

/// The end of the content does not show that it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrailerError {
    /// The length is not that of an etcd database and a SHA-256.
    #[error(
        "{len} bytes are not a snapshot of etcd: its length is a multiple of 512 and 32 for the checksum; was the file cut off, or copied from a member's directory?"
    )]
    Length {
        /// The length that was found, in bytes.
        len: u64,
    },
    /// The last 32 bytes are not the SHA-256 of all others.
    #[error(
        "the checksum at the end of the snapshot does not match the rest; take the snapshot again"
    )]
    Checksum,
}

/// Follows the content.
#[derive(Debug)]
pub(super) struct ContentCheck {
    digest: Option<Digest>,
    len: u64,
}

/// SHA-256 of all but the last 32 bytes, which are held back.
#[derive(Debug)]
struct Digest {
    sha256: BulkSha256,
    held: Vec<u8>,
    is_trailer: bool,
}

impl ContentCheck {
    pub(super) fn new(trailer: Trailer) -> Self {
        let digest = (trailer != Trailer::Unchecked).then(|| Digest {
            sha256: BulkSha256::new(),
            held: Vec::with_capacity(2 * TRAILER_LEN),
            is_trailer: trailer == Trailer::Etcd,
        });
        Self { digest, len: 0 }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len() as u64);
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Result<ContentSummary, TrailerError> {
        let len = self.len;
        let sha256 = self.digest.map(|digest| digest.finish(len)).transpose()?;
        Ok(ContentSummary { len, sha256 })
    }
}

impl Digest {
    fn update(&mut self, bytes: &[u8]) {
        // All of `bytes` but its end is hashed where it is; only the seam is copied.
        let Some((head, tail)) = bytes.split_last_chunk::<TRAILER_LEN>() else {
            self.held.extend_from_slice(bytes);
            let ready = self.held.len().saturating_sub(TRAILER_LEN);
            self.sha256
                .update(self.held.get(..ready).unwrap_or_default());
            self.held.drain(..ready);
            return;
        };
        self.sha256.update(&self.held);
        self.sha256.update(head);
        self.held.clear();
        self.held.extend_from_slice(tail);
    }

    fn finish(mut self, len: u64) -> Result<[u8; 32], TrailerError> {
        if self.is_trailer {
            if len % SECTOR_LEN != TRAILER_LEN as u64 || len < SECTOR_LEN {
                return Err(TrailerError::Length { len });
            }
            if self.sha256.clone().finish().as_slice() != self.held {
                return Err(TrailerError::Checksum);
            }
        }
        self.sha256.update(&self.held);
        Ok(self.sha256.finish())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn snapshot(len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        let trailer = Sha256::digest(&bytes);
        bytes.extend_from_slice(&trailer);
        bytes
    }

    fn check(bytes: &[u8], step: usize) -> Result<ContentSummary, TrailerError> {
        let mut check = ContentCheck::new(Trailer::Etcd);
        bytes.chunks(step).for_each(|piece| check.update(piece));
        check.finish()
    }

    #[test]
    fn the_checksum_is_found_whatever_the_pieces() {
        let bytes = snapshot(2048);
        for step in [1, 5, 31, 32, 33, 512, 4096] {
            let summary = check(&bytes, step).unwrap();
            assert_eq!(summary.len, 2080);
            assert_eq!(
                summary.sha256.unwrap().as_slice(),
                Sha256::digest(&bytes).as_slice()
            );
        }
    }

    #[test]
    fn content_without_its_end_is_refused() {
        let bytes = snapshot(2048);
        for len in 0..bytes.len() {
            assert!(check(&bytes[..len], 100).is_err(), "{len}");
        }
        let mut digest = ContentCheck::new(Trailer::Digest);
        digest.update(&bytes[..700]);
        let digest = digest.finish().unwrap().sha256.unwrap();
        assert_eq!(digest.as_slice(), Sha256::digest(&bytes[..700]).as_slice());
        let mut changed = bytes.clone();
        changed[700] ^= 1;
        assert_eq!(check(&changed, 100), Err(TrailerError::Checksum));
    }
}
