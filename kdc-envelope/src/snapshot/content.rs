//! The content of a snapshot as it passes: its digest, and the checksum that etcd appends.
//!
//! etcd ends the stream of a snapshot with the SHA-256 of all bytes before (`Maintenance.Snapshot` in
//! `server/etcdserver/api/v3rpc/maintenance.go`). A stream without it ended early, so the last chunk is sealed only when it is right.

use core::num::NonZeroUsize;

use super::digest::{Digest, DigestThread, HELD_LEN};

/// Length of the checksum at the end, in bytes.
pub const TRAILER_LEN: usize = HELD_LEN;
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
    hashing: Hashing,
    is_trailer: bool,
    len: u64,
}

/// Where SHA-256 is computed. It takes longer than all the rest, so with several cores it has a thread of its own; and the rest
/// has no more threads than the other cores, or they would take turns with it.
#[derive(Debug)]
enum Hashing {
    Off,
    Here(Digest),
    OnThread(DigestThread),
}

impl ContentCheck {
    /// Hashes on the calling thread.
    pub(super) fn new(trailer: Trailer) -> Self {
        let hashing = match trailer {
            Trailer::Unchecked => Hashing::Off,
            _ => Hashing::Here(Digest::new()),
        };
        Self {
            hashing,
            is_trailer: trailer == Trailer::Etcd,
            len: 0,
        }
    }

    /// Hashes on one of `workers` threads if there are several and it is needed, and tells how many are left for the rest.
    pub(super) fn on_one_of(workers: NonZeroUsize, trailer: Trailer) -> (Self, NonZeroUsize) {
        let mut check = Self::new(trailer);
        let left = NonZeroUsize::new(workers.get() - 1);
        let (Hashing::Here(_), Some(left)) = (&check.hashing, left) else {
            return (check, workers);
        };
        match DigestThread::start() {
            Some(thread) => {
                check.hashing = Hashing::OnThread(thread);
                (check, left)
            }
            None => (check, workers),
        }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len() as u64);
        match &mut self.hashing {
            Hashing::Off => {}
            Hashing::Here(digest) => digest.update(bytes),
            Hashing::OnThread(thread) => thread.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Result<ContentSummary, TrailerError> {
        let len = self.len;
        let digest = match self.hashing {
            Hashing::Off => return Ok(ContentSummary { len, sha256: None }),
            Hashing::Here(digest) => digest,
            Hashing::OnThread(thread) => thread.finish(),
        };
        if self.is_trailer {
            if len % SECTOR_LEN != TRAILER_LEN as u64 || len < SECTOR_LEN {
                return Err(TrailerError::Length { len });
            }
            if !digest.ends_in_own_sum() {
                return Err(TrailerError::Checksum);
            }
        }
        let sha256 = Some(digest.finish());
        Ok(ContentSummary { len, sha256 })
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

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    /// Both ways of hashing, which come to the same.
    fn check(bytes: &[u8], step: usize) -> Result<ContentSummary, TrailerError> {
        let (on_thread, left) = ContentCheck::on_one_of(TWO, Trailer::Etcd);
        assert_eq!(left, NonZeroUsize::MIN);
        let [here, on_thread] = [ContentCheck::new(Trailer::Etcd), on_thread].map(|mut check| {
            bytes.chunks(step).for_each(|piece| check.update(piece));
            check.finish()
        });
        assert_eq!(here, on_thread, "pieces of {step}");
        here
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
        let (mut digest, _) = ContentCheck::on_one_of(TWO, Trailer::Digest);
        digest.update(&bytes[..700]);
        let digest = digest.finish().unwrap().sha256.unwrap();
        assert_eq!(digest.as_slice(), Sha256::digest(&bytes[..700]).as_slice());
        let mut changed = bytes.clone();
        changed[700] ^= 1;
        assert_eq!(check(&changed, 100), Err(TrailerError::Checksum));
    }
}
