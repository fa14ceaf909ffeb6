//! Writing a large object in parts.
//!
//! Parts are cut at fixed lengths, whatever the writes were. Each is kept until the server has acknowledged it, so that one that fails is
//! sent again as it is: what is sealed is never sealed twice.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    Error as StoreError, MultipartId, ObjectStore as _, PutMode, PutOptions, PutPayload,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::failure::Kind;
use super::{RETRY_BUDGET, S3};
use crate::error::{BackupError, BackupErrorKind as ErrorKind};
use crate::store::DataSink;

/// Parts under way; one more waits, and one is being filled.
const IN_FLIGHT: usize = 3;
/// How often the client's own tries are repeated.
const ATTEMPTS: u32 = 4;
/// How long aborting may take. A lifecycle rule of the bucket does it, too.
const ABORT_LIMIT: Duration = Duration::from_secs(10);
/// How long parts that are on their way before that may take to arrive.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
const PART_LEN: usize = 8 << 20;
/// Of the parts after [`SMALL_PARTS`], so that the number of parts that S3 allows is enough.
const LARGE_PART_LEN: usize = 64 << 20;
/// 64 GiB.
const SMALL_PARTS: usize = 8192;
const HEAD_LEN: usize = 1024;
/// Of S3.
const MAX_PARTS: usize = 10_000;

/// An object that grows, for a thread that may wait. A task of its own sends the parts; what it fails with is told by the next call.
pub(super) struct Upload {
    key: String,
    buffer: Vec<u8>,
    parts: usize,
    len: u64,
    /// The first bytes. A sealed snapshot begins with random ones, which tell ours from another's.
    head: Vec<u8>,
    /// Closed without [`Message::Finish`], the task aborts the upload by itself.
    sender: mpsc::Sender<Message>,
    /// Taken when it was told.
    outcome: Option<oneshot::Receiver<Result<(), BackupError>>>,
}

/// What the task is told.
enum Message {
    Part(Vec<u8>),
    /// The rest: make the object appear.
    Finish {
        rest: Vec<u8>,
        head: Vec<u8>,
        len: u64,
    },
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("key", &self.key)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) async fn new(s3: &Arc<S3>, key: &str) -> Result<Self, BackupError> {
        let path = s3.path(key)?;
        // Completing refuses as well, but only after everything was sent; and not every server does. A caller who may only write is not told
        // whether there is one.
        match s3.len(key).await {
            Ok(None) => {}
            Ok(Some(_)) => {
                return Err(s3.failure("create", key, &already_exists(&path)));
            }
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) => return Err(error),
        }
        let (sender, receiver) = mpsc::channel(1);
        let (tell, outcome) = oneshot::channel();
        let sending = Sending {
            s3: Arc::clone(s3),
            key: key.to_owned(),
            path,
            id: None,
            in_flight: VecDeque::new(),
            done: Vec::new(),
        };
        tokio::spawn(async move {
            // The caller may be gone.
            let _ = tell.send(sending.run(receiver).await);
        });
        Ok(Self {
            key: key.to_owned(),
            buffer: Vec::new(),
            parts: 0,
            len: 0,
            head: Vec::new(),
            sender,
            outcome: Some(outcome),
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize, BackupError> {
        let part_len = part_len(self.parts);
        if self.buffer.capacity() < part_len {
            self.buffer.reserve_exact(part_len - self.buffer.len());
        }
        let room = part_len.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        let missing = HEAD_LEN.saturating_sub(self.head.len()).min(taken.len());
        self.head
            .extend_from_slice(taken.get(..missing).unwrap_or_default());
        self.len += u64::try_from(taken.len()).unwrap_or_default();
        if self.buffer.len() >= part_len {
            if self.parts >= MAX_PARTS {
                let line = format!("cannot write {}: it is longer than 10,000 parts", self.key);
                return Err(BackupError::new(ErrorKind::Io, line));
            }
            self.parts += 1;
            let part = Message::Part(std::mem::take(&mut self.buffer));
            if self.sender.blocking_send(part).is_err() {
                self.outcome()?;
            }
        }
        Ok(taken.len())
    }

    /// Waits for the task to end.
    fn outcome(&mut self) -> Result<(), BackupError> {
        let ended = || BackupError::new(ErrorKind::Io, "the upload has ended already");
        let outcome = self.outcome.take().ok_or_else(ended)?;
        outcome.blocking_recv().unwrap_or_else(|_| Err(ended()))
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.take(bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DataSink for Upload {
    fn finish(mut self: Box<Self>) -> Result<u64, BackupError> {
        let finish = Message::Finish {
            rest: std::mem::take(&mut self.buffer),
            head: std::mem::take(&mut self.head),
            len: self.len,
        };
        // What does not arrive is told by the outcome.
        let _ = self.sender.blocking_send(finish);
        self.outcome()?;
        Ok(self.len)
    }

    fn abort(self: Box<Self>) -> Result<(), BackupError> {
        let Self {
            sender, outcome, ..
        } = *self;
        drop(sender);
        // An error that was told before is not told again.
        let outcome = outcome.map(oneshot::Receiver::blocking_recv);
        outcome.and_then(Result::ok).unwrap_or(Ok(()))
    }
}

/// The task's side of an upload.
struct Sending {
    s3: Arc<S3>,
    key: String,
    path: Path,
    /// Once the first part is full.
    id: Option<MultipartId>,
    in_flight: VecDeque<JoinHandle<Result<PartId, StoreError>>>,
    done: Vec<PartId>,
}

impl Sending {
    /// Sends what comes, until it is told to finish, or nothing more can come.
    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) -> Result<(), BackupError> {
        let sent = self.send_all(&mut receiver).await;
        // After a failure the writer is told at its next part.
        let aborted = self.abort().await;
        match (sent, aborted) {
            (Err(error), Err(left)) => Err(error.and(left.message())),
            (Err(error), Ok(())) => Err(error),
            (Ok(()), aborted) => aborted,
        }
    }

    async fn send_all(
        &mut self,
        receiver: &mut mpsc::Receiver<Message>,
    ) -> Result<(), BackupError> {
        while let Some(message) = receiver.recv().await {
            match message {
                Message::Part(part) => self.send_part(part).await?,
                Message::Finish { rest, head, len } => {
                    return self.finish(rest, &Whole { head, len }).await;
                }
            }
        }
        Ok(())
    }

    /// Sends what is left, and makes the object appear, unless there is one.
    async fn finish(&mut self, rest: Vec<u8>, whole: &Whole) -> Result<(), BackupError> {
        if self.id.is_none() {
            return self.put_whole(rest, whole).await;
        }
        if !rest.is_empty() {
            self.send_part(rest).await?;
        }
        while !self.in_flight.is_empty() {
            self.settle().await?;
        }
        self.complete(whole).await
    }

    async fn send_part(&mut self, part: Vec<u8>) -> Result<(), BackupError> {
        let index = self.done.len() + self.in_flight.len();
        let id = self.begin().await?;
        while self.in_flight.len() >= IN_FLIGHT {
            self.settle().await?;
        }
        let payload = PutPayload::from(part);
        let part = put_part(Arc::clone(&self.s3), self.path.clone(), id, index, payload);
        self.in_flight.push_back(tokio::spawn(part));
        Ok(())
    }

    async fn begin(&mut self) -> Result<MultipartId, BackupError> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let id = match self.s3.store().create_multipart(&self.path).await {
            Ok(id) => id,
            Err(error) => return Err(self.s3.failure("create", &self.key, &error)),
        };
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Waits for the oldest part under way.
    async fn settle(&mut self) -> Result<(), BackupError> {
        let Some(part) = self.in_flight.pop_front() else {
            return Ok(());
        };
        match part.await {
            Ok(Ok(part)) => self.done.push(part),
            Ok(Err(error)) => return Err(self.s3.failure("write", &self.key, &error)),
            Err(error) => return Err(BackupError::at(ErrorKind::Io, "cannot send a part", error)),
        }
        Ok(())
    }

    /// What is shorter than a part needs no parts.
    async fn put_whole(&self, bytes: Vec<u8>, whole: &Whole) -> Result<(), BackupError> {
        let payload = PutPayload::from(bytes);
        let options = PutOptions::from(PutMode::Create);
        match self.s3.store().put_opts(&self.path, payload, options).await {
            Ok(_) => self.confirm(whole).await,
            Err(error) => self.check_after(&error, whole).await,
        }
    }

    async fn complete(&mut self, whole: &Whole) -> Result<(), BackupError> {
        let Some(id) = self.id.clone() else {
            return Ok(());
        };
        let parts = std::mem::take(&mut self.done);
        let creator = &self.s3.clients.creator;
        match creator.complete_multipart(&self.path, &id, parts).await {
            Ok(_) => {
                // Nothing is left to abort, whatever is there.
                self.id = None;
                self.confirm(whole).await?;
            }
            Err(error) => self.check_after(&error, whole).await?,
        }
        self.id = None;
        Ok(())
    }

    /// Checks that what the server says it stored is there, and is ours: not every server heeds `If-None-Match` when an upload is
    /// completed, and then another run may have put its own there.
    async fn confirm(&self, whole: &Whole) -> Result<(), BackupError> {
        let is_there = self.s3.len(&self.key).await? == Some(whole.len);
        match is_there && (whole.len == 0 || self.has_head(whole).await) {
            true => Ok(()),
            false => Err(self.s3.not_kept(&self.key)),
        }
    }

    /// After an answer that was lost, the object may be there, and be ours.
    async fn check_after(&self, error: &StoreError, whole: &Whole) -> Result<(), BackupError> {
        let len = self.s3.len(&self.key).await;
        let is_ours = len.is_ok_and(|len| len == Some(whole.len)) && self.has_head(whole).await;
        match is_ours {
            true => Ok(()),
            false => Err(self.s3.failure("create", &self.key, error)),
        }
    }

    async fn has_head(&self, whole: &Whole) -> bool {
        let len = u64::try_from(whole.head.len()).unwrap_or_default();
        let Ok(reader) = S3::reader(&self.s3, &self.key, Some(0..len)).await else {
            return false;
        };
        reader.collect().await.is_ok_and(|head| head == whole.head)
    }

    /// Removes the parts of an upload that was not completed, if there are any.
    async fn abort(&mut self) -> Result<(), BackupError> {
        self.let_parts_arrive().await;
        let Some(id) = self.id.take() else {
            return Ok(());
        };
        let aborted = self.s3.store().abort_multipart(&self.path, &id);
        let abort = timeout(ABORT_LIMIT, aborted);
        let Ok(Err(error)) = abort.await else {
            return Ok(());
        };
        // That a server keeps failing is told already by what failed before this.
        let is_told = matches!(
            Kind::of(&error),
            Kind::NoObject | Kind::Aborted | Kind::Server | Kind::Silent
        );
        match is_told {
            true => Ok(()),
            false => Err(self.s3.failure("abort the upload of", &self.key, &error)),
        }
    }

    /// A server may store a part after the upload was aborted, and keep it, also one whose request was cut off. So parts on their way are
    /// waited for, as long as that makes sense.
    async fn let_parts_arrive(&mut self) {
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let all = async {
            for part in &mut in_flight {
                let _ = part.await;
            }
        };
        if timeout(ARRIVAL_LIMIT, all).await.is_err() {
            for part in in_flight {
                part.abort();
            }
        }
    }
}

/// What must be there in the end.
struct Whole {
    head: Vec<u8>,
    len: u64,
}

/// Sends one part until the server has it, or says why it does not want it.
async fn put_part(
    s3: Arc<S3>,
    path: Path,
    id: MultipartId,
    index: usize,
    payload: PutPayload,
) -> Result<PartId, StoreError> {
    let begin = Instant::now();
    let mut attempt = 1;
    loop {
        let sent = s3.store().put_part(&path, &id, index, payload.clone());
        let error = match sent.await {
            Ok(part) => return Ok(part),
            Err(error) => error,
        };
        let is_transient = matches!(Kind::of(&error), Kind::Server | Kind::Silent);
        if !is_transient || attempt >= ATTEMPTS || begin.elapsed() >= RETRY_BUDGET {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_secs(1) * 2_u32.pow(attempt)).await;
        attempt += 1;
    }
}

const fn part_len(index: usize) -> usize {
    match index < SMALL_PARTS {
        true => PART_LEN,
        false => LARGE_PART_LEN,
    }
}

fn already_exists(path: &Path) -> StoreError {
    StoreError::AlreadyExists {
        path: path.to_string(),
        source: "it was there before".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_are_enough_for_any_etcd() {
        let most: u64 = (0..MAX_PARTS).map(|index| part_len(index) as u64).sum();
        assert!(most > 170 << 30);
        // Servers refuse shorter ones.
        assert!(part_len(0) >= 5 << 20);
    }
}
