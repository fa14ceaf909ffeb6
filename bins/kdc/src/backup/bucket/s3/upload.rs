//! Writing a large object in parts.
//!
//! Parts are cut at fixed lengths, whatever the writes were. Each is kept until the server has acknowledged it, so that one that fails is
//! sent again as it is: what is sealed is never sealed twice.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    Error as StoreError, MultipartId, ObjectStore as _, PutMode, PutOptions, PutPayload,
};
use tokio::task::JoinHandle;

use super::failure::Kind;
use super::{PATIENCE, S3};
use crate::failure::{Exit, Failure};

/// Parts under way; one more is being filled.
const IN_FLIGHT: usize = 3;
/// How often the client's own tries are repeated.
const ATTEMPTS: u32 = 4;
/// How long aborting may take. A lifecycle rule of the bucket does it, too.
const ABORT_LIMIT: Duration = Duration::from_secs(10);
const PART_LEN: usize = 8 << 20;
/// Of the parts after [`SMALL_PARTS`], so that the number of parts that S3 allows is enough.
const LARGE_PART_LEN: usize = 64 << 20;
/// 64 GiB.
const SMALL_PARTS: usize = 8192;
const HEAD_LEN: usize = 1024;
/// Of S3.
const MAX_PARTS: usize = 10_000;

/// An object that grows.
pub(in crate::backup::bucket) struct Upload {
    s3: Arc<S3>,
    key: String,
    path: Path,
    /// Once the first part is full.
    id: Option<MultipartId>,
    buffer: Vec<u8>,
    in_flight: VecDeque<JoinHandle<Result<PartId, StoreError>>>,
    done: Vec<PartId>,
    len: u64,
    /// The first bytes. A sealed snapshot begins with random ones, which tell ours from another's.
    head: Vec<u8>,
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
    pub(in crate::backup::bucket) fn new(s3: &Arc<S3>, key: &str) -> Result<Self, Failure> {
        let path = s3.path(key)?;
        // Completing refuses as well, but only after everything was sent; and not every server does. Whoever may only write is not told
        // whether there is one.
        match s3.len(key) {
            Ok(None) => {}
            Ok(Some(_)) => {
                return Err(s3.failure("create", key, &already_exists(&path)));
            }
            Err(failure) if failure.exit() == Exit::Denied => {}
            Err(failure) => return Err(failure),
        }
        Ok(Self {
            s3: Arc::clone(s3),
            key: key.to_owned(),
            path,
            id: None,
            buffer: Vec::new(),
            in_flight: VecDeque::new(),
            done: Vec::new(),
            len: 0,
            head: Vec::new(),
        })
    }

    pub(in crate::backup::bucket) fn write(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let part_len = part_len(self.done.len() + self.in_flight.len());
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
            self.send_part()?;
        }
        Ok(taken.len())
    }

    /// Sends what is left, and makes the object appear, unless there is one.
    pub(in crate::backup::bucket) fn finish(mut self) -> Result<u64, Failure> {
        if self.id.is_none() {
            return self.put_whole();
        }
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        while !self.in_flight.is_empty() {
            self.settle()?;
        }
        self.complete()?;
        Ok(self.len)
    }

    fn send_part(&mut self) -> Result<(), Failure> {
        let index = self.done.len() + self.in_flight.len();
        if index >= MAX_PARTS {
            let line = format!("cannot write {}: it is longer than 10,000 parts", self.key);
            return Err(Failure::new(Exit::Io, line));
        }
        let id = self.begin()?;
        while self.in_flight.len() >= IN_FLIGHT {
            self.settle()?;
        }
        let payload = PutPayload::from(std::mem::take(&mut self.buffer));
        let part = put_part(Arc::clone(&self.s3), self.path.clone(), id, index, payload);
        self.in_flight.push_back(self.s3.runtime()?.spawn(part));
        Ok(())
    }

    fn begin(&mut self) -> Result<MultipartId, Failure> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let begun = self.s3.store().create_multipart(&self.path);
        let id = match self.s3.wait(begun)? {
            Ok(id) => id,
            Err(error) => return Err(self.s3.failure("create", &self.key, &error)),
        };
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Waits for the oldest part under way.
    fn settle(&mut self) -> Result<(), Failure> {
        let Some(part) = self.in_flight.pop_front() else {
            return Ok(());
        };
        match self.s3.wait(part)? {
            Ok(Ok(part)) => self.done.push(part),
            Ok(Err(error)) => return Err(self.s3.failure("write", &self.key, &error)),
            Err(error) => return Err(Failure::at(Exit::Io, "cannot send a part", &error)),
        }
        Ok(())
    }

    /// What is shorter than a part needs no parts.
    fn put_whole(&mut self) -> Result<u64, Failure> {
        let payload = PutPayload::from(std::mem::take(&mut self.buffer));
        let options = PutOptions::from(PutMode::Create);
        let put = self.s3.store().put_opts(&self.path, payload, options);
        match self.s3.wait(put)? {
            Ok(_) => self.confirm()?,
            Err(error) => self.look_after(&error)?,
        }
        Ok(self.len)
    }

    fn complete(&mut self) -> Result<(), Failure> {
        let Some(id) = self.id.clone() else {
            return Ok(());
        };
        let parts = std::mem::take(&mut self.done);
        let creator = &self.s3.clients.creator;
        let completed = creator.complete_multipart(&self.path, &id, parts);
        match self.s3.wait(completed)? {
            Ok(_) => {
                // Nothing is left to abort, whatever is there.
                self.id = None;
                self.confirm()?;
            }
            Err(error) => self.look_after(&error)?,
        }
        self.id = None;
        Ok(())
    }

    /// Looks whether what the server says it stored is there, and is ours: not every server heeds `If-None-Match` when an upload is
    /// completed, and then another run may have put its own there.
    fn confirm(&self) -> Result<(), Failure> {
        let is_there = self.s3.len(&self.key)? == Some(self.len);
        match is_there && (self.len == 0 || self.has_our_head()) {
            true => Ok(()),
            false => Err(self.s3.not_kept(&self.key)),
        }
    }

    /// After an answer that was lost, the object may be there, and be ours.
    fn look_after(&self, error: &StoreError) -> Result<(), Failure> {
        let is_ours = self
            .s3
            .len(&self.key)
            .is_ok_and(|len| len == Some(self.len))
            && self.has_our_head();
        match is_ours {
            true => Ok(()),
            false => Err(self.s3.failure("create", &self.key, error)),
        }
    }

    fn has_our_head(&self) -> bool {
        let len = u64::try_from(self.head.len()).unwrap_or_default();
        let mut head = Vec::new();
        S3::reader(&self.s3, &self.key, Some(0..len))
            .is_ok_and(|mut reader| reader.read_to_end(&mut head).is_ok())
            && head == self.head
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        for part in &self.in_flight {
            part.abort();
        }
        let Some(id) = self.id.take() else {
            return;
        };
        // A part that is still on its way could arrive after the abort, and would be kept.
        let in_flight = std::mem::take(&mut self.in_flight);
        let abort = async {
            for part in in_flight {
                let _ = part.await;
            }
            let aborted = self.s3.store().abort_multipart(&self.path, &id);
            tokio::time::timeout(ABORT_LIMIT, aborted).await
        };
        let Ok(Ok(Err(error))) = self.s3.wait(abort) else {
            return;
        };
        // That a server keeps failing is told already by what failed before this.
        let is_told = matches!(
            Kind::of(&error),
            Kind::NoObject | Kind::Aborted | Kind::Server | Kind::Silent
        );
        if !is_told {
            let failure = self.s3.failure("abort the upload of", &self.key, &error);
            crate::output::note(failure.line().unwrap_or_default());
        }
    }
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
        if !is_transient || attempt >= ATTEMPTS || begin.elapsed() >= PATIENCE {
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
