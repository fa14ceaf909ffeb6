//! SHA-256 of content, on a thread of its own where there are several cores: it takes longer than reading, AES and writing, which
//! must not take time from it.
//!
//! The bytes are copied into pieces from a small pool. A copy spares the digest any tie to the blocks of the pipeline:
//! it works the same on content that is compressed, and in both directions.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use zeroize::Zeroizing;

use crate::digest::BulkSha256;

/// Bytes at the end that may be the SHA-256 of all before them.
pub(super) const HELD_LEN: usize = 32;
/// Large enough that hashing a piece takes far longer than handing it over.
const PIECE_LEN: usize = 512 * 1024;
/// Pieces in the pool, the one that is being filled included.
const PIECES: usize = 3;

type Piece = Zeroizing<Vec<u8>>;

/// SHA-256 of all but the last 32 bytes, which are held back.
#[derive(Debug)]
pub(super) struct Digest {
    sha256: BulkSha256,
    held: Vec<u8>,
}

impl Digest {
    pub(super) fn new() -> Self {
        Self {
            sha256: BulkSha256::new(),
            held: Vec::with_capacity(2 * HELD_LEN),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        // All of `bytes` but its end is hashed where it is; only the seam is copied.
        let Some((head, tail)) = bytes.split_last_chunk::<HELD_LEN>() else {
            self.held.extend_from_slice(bytes);
            let ready = self.held.len().saturating_sub(HELD_LEN);
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

    /// Whether the last 32 bytes are the SHA-256 of all before them.
    pub(super) fn ends_in_own_sum(&self) -> bool {
        self.sha256.clone().finish().as_slice() == self.held
    }

    /// The SHA-256 of all bytes.
    pub(super) fn finish(mut self) -> [u8; 32] {
        self.sha256.update(&self.held);
        self.sha256.finish()
    }
}

/// A [`Digest`] that lags behind its input by at most the pool. After an early drop its thread ends by itself.
#[derive(Debug)]
pub(super) struct DigestThread {
    current: Piece,
    free: Receiver<Piece>,
    full: Sender<Piece>,
    thread: JoinHandle<Digest>,
}

impl DigestThread {
    /// Starts the thread; `None` if the system has none left.
    pub(super) fn start() -> Option<Self> {
        let (full, to_hash) = mpsc::channel::<Piece>();
        let (free_in, free) = mpsc::channel();
        for _ in 1..PIECES {
            // The receiver is alive: it is in this very function.
            let _ = free_in.send(empty_piece());
        }
        let hash = move || {
            let mut digest = Digest::new();
            while let Ok(mut piece) = to_hash.recv() {
                digest.update(&piece);
                piece.clear();
                // At the end nothing takes it any more.
                let _ = free_in.send(piece);
            }
            digest
        };
        let thread = thread::Builder::new().spawn(hash).ok()?;
        Some(Self {
            current: empty_piece(),
            free,
            full,
            thread,
        })
    }

    /// Hashes `bytes` after all before. Waits while the pool is empty.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = PIECE_LEN.saturating_sub(self.current.len());
            let (head, rest) = bytes.split_at(room.min(bytes.len()));
            self.current.extend_from_slice(head);
            bytes = rest;
            if self.current.len() >= PIECE_LEN {
                // Neither fails unless the thread panicked, which `finish` passes on.
                let next = self.free.recv().unwrap_or_default();
                let _ = self.full.send(core::mem::replace(&mut self.current, next));
            }
        }
    }

    /// Waits until all is hashed.
    pub(super) fn finish(self) -> Digest {
        let Self {
            current,
            full,
            thread,
            ..
        } = self;
        let _ = full.send(current);
        drop(full);
        match thread.join() {
            Ok(digest) => digest,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn empty_piece() -> Piece {
    Zeroizing::new(Vec::with_capacity(PIECE_LEN))
}
