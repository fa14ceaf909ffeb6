//! One chunk of version 2: AES-256-GCM under the counter of the chunk.

use super::error::OpenError;
use super::header::Keys;
use crate::aead::{AesGcm, NONCE_LEN, Nonce, TAG_LEN};

/// The most chunks of a snapshot. With chunks of 64 KiB these are 256 TiB.
pub(super) const MAX_CHUNKS: u64 = 1 << 32;

/// What the last chunk authenticates beside its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes that were sealed.
    pub(super) payload: u64,
    /// Bytes before they were compressed; equal to `payload` without compression.
    pub(super) content: u64,
}

impl Totals {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (payload, content) = bytes.split_at_mut(8);
        payload.copy_from_slice(&self.payload.to_be_bytes());
        content.copy_from_slice(&self.content.to_be_bytes());
        bytes
    }
}

/// Seals and opens chunks of one snapshot. A caller that seals must use each index once.
#[derive(Debug)]
pub(super) struct ChunkCipher {
    gcm: AesGcm,
}

impl ChunkCipher {
    pub(super) fn new(keys: &Keys) -> Self {
        Self {
            gcm: AesGcm::new_256(keys.payload.expose()),
        }
    }

    /// Seals `chunk`, the last 16 bytes of which are room for the tag. `last` is given for the last chunk alone.
    pub(super) fn seal(&self, index: u64, last: Option<Totals>, chunk: &mut [u8]) {
        let Some((payload, room)) = chunk.split_last_chunk_mut::<TAG_LEN>() else {
            return debug_assert!(false, "a chunk has room for its tag");
        };
        let aad = last.map(Totals::to_bytes);
        let aad = aad.as_ref().map_or(&[][..], <[u8; 16]>::as_slice);
        *room = self
            .gcm
            .seal_in_place(&nonce(index, last.is_some()), aad, payload)
            .expect("a chunk is shorter than the limit of AES-GCM");
    }

    /// Opens `chunk` in place and gives its payload, which is without the last 16 bytes. `offset` is for the error.
    pub(super) fn open<'c>(
        &self,
        index: u64,
        last: Option<Totals>,
        chunk: &'c mut [u8],
        offset: u64,
    ) -> Result<&'c mut [u8], OpenError> {
        let unauthentic = OpenError::Authentication { offset };
        let Some((payload, tag)) = chunk.split_last_chunk_mut::<TAG_LEN>() else {
            return Err(unauthentic);
        };
        let aad = last.map(Totals::to_bytes);
        let aad = aad.as_ref().map_or(&[][..], <[u8; 16]>::as_slice);
        match self
            .gcm
            .open_in_place(&nonce(index, last.is_some()), aad, payload, tag)
        {
            Ok(()) => Ok(payload),
            Err(_) => Err(unauthentic),
        }
    }
}

/// Counter in eleven bytes, big-endian, and one byte that is 1 for the last chunk.
fn nonce(index: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    if let Some((counter, flag)) = nonce.split_at_mut_checked(NONCE_LEN - 1) {
        if let Some(low) = counter.last_chunk_mut::<8>() {
            *low = index.to_be_bytes();
        }
        flag.fill(u8::from(is_last));
    }
    nonce
}
