//! Version 1: one AES-256-GCM message, as it lies in users' buckets.
//!
//! `nonce(12) ‖ ciphertext ‖ tag(16)`, without associated data. Nothing is authentic before the last byte was read, so what is
//! opened goes to a place that no other program reads until then. GCM is put together here from CTR and GHASH (NIST SP 800-38D §7), because
//! no implementation of the whole takes a message in pieces.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use ctr::Ctr32BE;
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use zeroize::Zeroizing;

use super::content::{ContentCheck, ContentSummary, Trailer};
use super::error::{OpenError, SealError};
use crate::aead::{MAX_MESSAGE_LEN, NONCE_LEN, Nonce, TAG_LEN};
use crate::{Key256, random};

/// What a sealed object has beside its content, in bytes.
pub const OVERHEAD: u64 = (NONCE_LEN + TAG_LEN) as u64;
/// A multiple of the block of AES, and small enough for a core's cache.
const PIECE_LEN: usize = 128 * 1024;
/// Pieces on their way from the one thread to the other.
const PIECES: usize = 4;
const BLOCK_LEN: usize = 16;

/// Reads `source` to its end and writes it sealed under `dek`, which must be fresh.
///
/// # Errors
/// [`SealError`]; the destination then holds an incomplete object, which does not open.
pub fn seal(
    mut source: impl Read,
    mut sink: impl Write,
    dek: &Key256,
    trailer: Trailer,
) -> Result<(Nonce, ContentSummary), SealError> {
    let nonce: Nonce = random::array()?;
    sink.write_all(&nonce).map_err(SealError::Sink)?;
    let mut gcm = RunningGcm::new(dek, &nonce);
    let mut check = ContentCheck::new(trailer);
    let mut piece = Zeroizing::new(vec![0; PIECE_LEN]);
    loop {
        let count = fill(&mut source, &mut piece).map_err(SealError::Source)?;
        let piece = piece.get_mut(..count).unwrap_or_default();
        check.update(piece);
        if check.len() > MAX_MESSAGE_LEN {
            return Err(SealError::TooLong {
                limit: MAX_MESSAGE_LEN,
            });
        }
        gcm.encrypt(piece);
        sink.write_all(piece).map_err(SealError::Sink)?;
        if count < PIECE_LEN {
            break;
        }
    }
    if check.len() == 0 {
        return Err(SealError::Empty);
    }
    let content = check.finish()?;
    sink.write_all(&gcm.tag()).map_err(SealError::Sink)?;
    sink.flush().map_err(SealError::Sink)?;
    Ok((nonce, content))
}

/// Opens a sealed object from its first to its last byte. What is decrypted is hashed and written on a second thread.
///
/// **Nothing that was written is authentic before this returns.** Keep it private until then, and throw it away after an error.
///
/// # Errors
/// [`OpenError`]. [`OpenError::Authentication`] for another DEK, and for any change.
pub fn open(
    mut source: impl Read,
    sink: impl Write + Send,
    dek: &Key256,
    trailer: Trailer,
) -> Result<(Nonce, ContentSummary), OpenError> {
    let mut nonce: Nonce = [0; NONCE_LEN];
    let mut held = [0; TAG_LEN];
    let begins = fill(&mut source, &mut nonce).map_err(OpenError::Source)?
        + fill(&mut source, &mut held).map_err(OpenError::Source)?;
    if begins < NONCE_LEN + TAG_LEN {
        return Err(OpenError::Malformed {
            field: "the object is shorter than a nonce and a tag",
            offset: begins as u64,
        });
    }
    let gcm = RunningGcm::new(dek, &nonce);
    let check = thread::scope(|scope| {
        let (free_in, free) = mpsc::channel();
        let (opened, to_write) = mpsc::channel();
        for _ in 0..PIECES {
            // The receiver is alive: it is in this very function.
            let _ = free_in.send(Zeroizing::new(Vec::new()));
        }
        let writer = scope.spawn(move || write_all(&to_write, &free_in, sink, trailer));
        let decrypted = decrypt_all(source, gcm, held, &free, &opened);
        drop(opened);
        let written = match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // If the writer failed, it is the reason why the rest stopped.
        written.and_then(|check| decrypted.map(|()| check))
    })?;
    Ok((nonce, check.finish()?))
}

type Piece = Zeroizing<Vec<u8>>;

/// Decrypts piece after piece, and compares the tag at the end.
fn decrypt_all(
    mut source: impl Read,
    mut gcm: RunningGcm,
    mut held: [u8; TAG_LEN],
    free: &Receiver<Piece>,
    opened: &Sender<Piece>,
) -> Result<(), OpenError> {
    let stopped = || OpenError::Sink(io::ErrorKind::BrokenPipe.into());
    loop {
        // The last 16 bytes that were read may be the tag; they wait in front of the next piece.
        let mut piece = free.recv().map_err(|_| stopped())?;
        piece.resize(TAG_LEN + PIECE_LEN, 0);
        let (front, room) = piece.split_at_mut(TAG_LEN);
        front.copy_from_slice(&held);
        let count = fill(&mut source, room).map_err(OpenError::Source)?;
        piece.truncate(TAG_LEN + count);
        if let Some((ciphertext, tail)) = piece.split_last_chunk_mut::<TAG_LEN>() {
            held = *tail;
            gcm.decrypt(ciphertext);
        }
        piece.truncate(count);
        if gcm.len > MAX_MESSAGE_LEN {
            return Err(OpenError::Malformed {
                field: "the object is longer than one message of AES-GCM may be",
                offset: MAX_MESSAGE_LEN,
            });
        }
        opened.send(piece).map_err(|_| stopped())?;
        if count < PIECE_LEN {
            break;
        }
    }
    match ctutils::CtEq::ct_eq(&gcm.tag(), &held).to_bool() {
        true => Ok(()),
        false => Err(OpenError::Authentication { offset: 0 }),
    }
}

fn write_all(
    pieces: &Receiver<Piece>,
    free: &Sender<Piece>,
    mut sink: impl Write,
    trailer: Trailer,
) -> Result<ContentCheck, OpenError> {
    let mut check = ContentCheck::new(trailer);
    while let Ok(piece) = pieces.recv() {
        check.update(&piece);
        sink.write_all(&piece).map_err(OpenError::Sink)?;
        // At the end the decrypting thread is gone.
        let _ = free.send(piece);
    }
    sink.flush().map_err(OpenError::Sink)?;
    Ok(check)
}

/// Reads until `buffer` is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// AES-256-GCM without associated data, over a message in pieces. All pieces but the last are whole blocks.
struct RunningGcm {
    ctr: Ctr32BE<Aes256>,
    ghash: GHash,
    /// The first block of the key stream, which hides the tag.
    mask: Zeroizing<[u8; BLOCK_LEN]>,
    len: u64,
}

impl RunningGcm {
    fn new(dek: &Key256, nonce: &Nonce) -> Self {
        let aes = Aes256::new(dek.expose().into());
        let mut hash_key = Zeroizing::new([0; BLOCK_LEN]);
        aes.encrypt_block((&mut *hash_key).into());
        let mut counter = [0; BLOCK_LEN];
        for (to, from) in counter
            .iter_mut()
            .zip(nonce.iter().chain(&1_u32.to_be_bytes()))
        {
            *to = *from;
        }
        let mut ctr = Ctr32BE::<Aes256>::new(dek.expose().into(), &counter.into());
        let mut mask = Zeroizing::new([0; BLOCK_LEN]);
        ctr.apply_keystream(mask.as_mut());
        Self {
            ctr,
            ghash: GHash::new((&*hash_key).into()),
            mask,
            len: 0,
        }
    }

    fn encrypt(&mut self, piece: &mut [u8]) {
        self.ctr.apply_keystream(piece);
        self.absorb(piece);
    }

    fn decrypt(&mut self, piece: &mut [u8]) {
        self.absorb(piece);
        self.ctr.apply_keystream(piece);
    }

    fn absorb(&mut self, ciphertext: &[u8]) {
        self.ghash.update_padded(ciphertext);
        self.len += ciphertext.len() as u64;
    }

    fn tag(mut self) -> [u8; TAG_LEN] {
        let mut lengths = [0; BLOCK_LEN];
        if let Some(low) = lengths.last_chunk_mut::<8>() {
            *low = (self.len * 8).to_be_bytes();
        }
        self.ghash.update_padded(&lengths);
        let mut tag = [0; TAG_LEN];
        let hash = self.ghash.finalize();
        for ((to, hash), mask) in tag.iter_mut().zip(hash.iter()).zip(self.mask.iter()) {
            *to = hash ^ mask;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::AesGcm;

    #[test]
    fn is_the_gcm_of_the_other_implementation() {
        let dek = Key256::new([3; 32]);
        for len in [
            1,
            15,
            16,
            17,
            PIECE_LEN - 1,
            PIECE_LEN,
            PIECE_LEN + 1,
            3 * PIECE_LEN,
        ] {
            let content: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
            let mut sealed = Vec::new();
            let (nonce, summary) =
                seal(content.as_slice(), &mut sealed, &dek, Trailer::Unchecked).unwrap();
            assert_eq!(summary.len, len as u64);
            let mut expected = content.clone();
            let tag = AesGcm::new_256(dek.expose())
                .seal_in_place(&nonce, &[], &mut expected)
                .unwrap();
            assert_eq!(
                sealed,
                [nonce.as_slice(), &expected, &tag].concat(),
                "{len}"
            );

            let mut opened = Vec::new();
            open(sealed.as_slice(), &mut opened, &dek, Trailer::Unchecked).unwrap();
            assert_eq!(opened, content);
        }
    }

    #[test]
    fn any_change_and_any_other_key_is_found() {
        let dek = Key256::new([3; 32]);
        let mut sealed = Vec::new();
        seal(&[7; 100][..], &mut sealed, &dek, Trailer::Unchecked).unwrap();
        let opens =
            |bytes: &[u8], dek: &Key256| open(bytes, io::sink(), dek, Trailer::Unchecked).is_ok();
        assert!(opens(&sealed, &dek));
        assert!(!opens(&sealed, &Key256::new([4; 32])));
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 0x10;
            assert!(!opens(&changed, &dek), "byte {position}");
            assert!(!opens(&sealed[..position], &dek), "cut at {position}");
        }
        sealed.push(0);
        assert!(!opens(&sealed, &dek));
    }

    #[test]
    fn nothing_is_not_sealed() {
        let sealed = seal(
            io::empty(),
            io::sink(),
            &Key256::new([3; 32]),
            Trailer::Unchecked,
        );
        assert!(matches!(sealed, Err(SealError::Empty)));
    }
}
