//! A snapshot as something to read, for what works on files and streams without a runtime.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use kdc_envelope_k8s::etcd::{EtcdError, SnapshotStream};

use super::{Connection, of_etcd};
use crate::failure::Failure;

/// Pieces of 32 KiB on their way from etcd to the reader.
const PIECES: usize = 64;

type Piece = io::Result<Option<Vec<u8>>>;

/// A source that ends without an error only if etcd ended the stream.
pub(crate) struct SnapshotReader {
    pieces: Receiver<Piece>,
    piece: io::Cursor<Vec<u8>>,
    has_ended: bool,
}

impl Connection {
    /// Asks etcd for a snapshot. It is read on a thread of its own, only as fast as it is taken.
    pub(crate) fn snapshot(self) -> Result<SnapshotReader, Failure> {
        let stream = self.wait(self.client.snapshot())?;
        let (sender, pieces) = sync_channel(PIECES);
        thread::spawn(move || {
            let outcome = self.runtime.block_on(pass_on(stream, &sender));
            let failed = |error: &EtcdError| {
                let failure = of_etcd(error);
                io::Error::other(failure.line().unwrap_or_default().to_owned())
            };
            // A reader that has gone needs no end.
            let _ = sender.send(outcome.map(|()| None).map_err(|error| failed(&error)));
        });
        Ok(SnapshotReader {
            pieces,
            piece: io::Cursor::default(),
            has_ended: false,
        })
    }
}

async fn pass_on(mut stream: SnapshotStream, sender: &SyncSender<Piece>) -> Result<(), EtcdError> {
    while let Some(piece) = stream.next().await? {
        if sender.send(Ok(Some(piece))).is_err() {
            break;
        }
    }
    Ok(())
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.has_ended {
                return Ok(count);
            }
            let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
            match self.pieces.recv().map_err(|_| ended())?? {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => self.has_ended = true,
            }
        }
    }
}
