//! Reading a large object: some pieces ahead, and on from where it stopped if the connection breaks.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, GetRange, ObjectStore as _};
use tokio::sync::mpsc;

use super::failure::Kind;
use super::{RETRY_BUDGET, S3, get_options};
use crate::error::BackupError;

/// Pieces that wait to be read. They are as long as one read of the connection.
const PIECES_AHEAD: usize = 64;
/// How often in a row the connection may break without a byte in between.
const ATTEMPTS: u32 = 5;

/// The bytes of an object in order, for a thread that may wait.
pub(super) struct Reader {
    s3: Arc<S3>,
    key: String,
    receiver: mpsc::Receiver<Result<Piece, StoreError>>,
    piece: Piece,
    /// How much of it was read.
    offset: usize,
}

/// Bytes of an answer, which the client owns.
type Piece = Vec<u8>;

/// What is still to be read.
struct Rest {
    path: Path,
    start: u64,
    end: Option<u64>,
    /// Of the first answer: the object must not change in between.
    e_tag: Option<String>,
}

impl Reader {
    pub(super) async fn new(
        s3: Arc<S3>,
        key: String,
        path: Path,
        range: Option<Range<u64>>,
    ) -> Result<Self, BackupError> {
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let range = range.map(|range| (range.start, Some(range.end)));
        let (start, end) = range.unwrap_or((0, None));
        let rest = Rest {
            path,
            start,
            end,
            e_tag: None,
        };
        tokio::spawn(fetch(Arc::clone(&s3), rest, sender));
        let mut reader = Self {
            s3,
            key,
            receiver,
            piece: Piece::new(),
            offset: 0,
        };
        // So that an object that is not there is told at once.
        let first = reader.receiver.recv().await;
        reader.accept(first)?;
        Ok(reader)
    }

    /// All that is left.
    pub(super) async fn collect(mut self) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(self.piece.get(self.offset..).unwrap_or_default());
            let next = self.receiver.recv().await;
            if !self.accept(next)? {
                return Ok(bytes);
            }
        }
    }

    /// Whether there is more to read.
    fn accept(&mut self, next: Option<Result<Piece, StoreError>>) -> Result<bool, BackupError> {
        self.offset = 0;
        match next {
            Some(Ok(piece)) => {
                self.piece = piece;
                Ok(true)
            }
            Some(Err(error)) => Err(self.s3.failure("read", &self.key, &error)),
            None => {
                self.piece.clear();
                Ok(false)
            }
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.piece.get(self.offset..).unwrap_or_default();
            if !left.is_empty() || buffer.is_empty() {
                let len = left.len().min(buffer.len());
                if let (Some(target), Some(source)) = (buffer.get_mut(..len), left.get(..len)) {
                    target.copy_from_slice(source);
                }
                self.offset += len;
                return Ok(len);
            }
            let next = self.receiver.blocking_recv();
            if !self.accept(next)? {
                return Ok(0);
            }
        }
    }
}

/// Sends all pieces, however often the connection breaks, unless nothing comes any more.
async fn fetch(s3: Arc<S3>, mut rest: Rest, sender: mpsc::Sender<Result<Piece, StoreError>>) {
    let mut attempt = 0;
    let mut begin = Instant::now();
    loop {
        let start = rest.start;
        let Err(error) = response(&s3, &mut rest, &sender).await else {
            return;
        };
        if rest.start > start {
            (attempt, begin) = (0, Instant::now());
        }
        attempt += 1;
        let is_transient = matches!(Kind::of(&error), Kind::Server | Kind::Silent);
        let is_over = attempt >= ATTEMPTS || begin.elapsed() >= RETRY_BUDGET;
        if !is_transient || rest.e_tag.is_none() || is_over {
            let _ = sender.send(Err(error)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(attempt)).await;
    }
}

/// One answer, to its end.
async fn response(
    s3: &S3,
    rest: &mut Rest,
    sender: &mpsc::Sender<Result<Piece, StoreError>>,
) -> Result<(), StoreError> {
    let range = match rest.end {
        Some(end) if end <= rest.start => return Ok(()),
        Some(end) => Some(GetRange::Bounded(rest.start..end)),
        None if rest.start == 0 => None,
        None => Some(GetRange::Offset(rest.start)),
    };
    let options = get_options(range, rest.e_tag.as_deref());
    let response = s3.store().get_opts(&rest.path, options).await?;
    rest.end.get_or_insert(response.meta.size);
    if rest.e_tag.is_none() {
        rest.e_tag.clone_from(&response.meta.e_tag);
    }
    let mut stream = response.into_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        rest.start += u64::try_from(piece.len()).unwrap_or_default();
        if sender.send(Ok(piece.to_vec())).await.is_err() {
            return Ok(()); // the reader is gone
        }
    }
    Ok(())
}
