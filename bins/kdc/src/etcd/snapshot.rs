//! The stream of etcd's `Maintenance.Snapshot`: the database as of one moment, and the SHA-256 of it.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Connection;
use super::messages::{SnapshotRequest, SnapshotResponse};
use crate::failure::{Exit, Failure};

/// Pieces of 32 KiB on their way from etcd to the reader.
const PIECES: usize = 64;

type Piece = io::Result<Option<Vec<u8>>>;

/// A source that ends without an error only if etcd ended the stream.
pub(crate) struct SnapshotStream {
    pieces: Receiver<Piece>,
    piece: io::Cursor<Vec<u8>>,
    has_ended: bool,
}

impl Connection {
    /// Asks etcd for a snapshot. It is read on a thread of its own, only as fast as it is taken.
    pub(crate) fn snapshot(self) -> Result<SnapshotStream, Failure> {
        let answers = self.runtime.block_on(self.begin());
        let answers = answers.map_err(|status| self.snapshot_refusal(&status))?;
        let (sender, pieces) = sync_channel(PIECES);
        thread::spawn(move || {
            let outcome = self.runtime.block_on(self.pass_on(answers, &sender));
            let failed = |status: &Status| {
                let failure = self.snapshot_refusal(status);
                io::Error::other(failure.line().unwrap_or_default().to_owned())
            };
            // Whoever no longer listens needs no end.
            let _ = sender.send(outcome.map(|()| None).map_err(|status| failed(&status)));
        });
        Ok(SnapshotStream {
            pieces,
            piece: io::Cursor::default(),
            has_ended: false,
        })
    }

    /// Beside what every call may meet: a snapshot is for administrators alone.
    fn snapshot_refusal(&self, status: &Status) -> Failure {
        if status.code() != Code::PermissionDenied {
            return self.refusal(status);
        }
        let line = format_args!(
            "etcd at `{}` gives snapshots to users with the role root alone",
            self.endpoint
        );
        Failure::new(Exit::Denied, line).hint("name one with --etcd-user")
    }

    async fn begin(&self) -> Result<Streaming<SnapshotResponse>, Status> {
        let caller = &self.caller;
        match self
            .ask_once(caller.request(SnapshotRequest {}).await?)
            .await
        {
            Err(status) if caller.is_outdated(&status) => {
                let again = caller.request_again(SnapshotRequest {}).await?;
                self.ask_once(again).await
            }
            answers => answers,
        }
    }

    async fn ask_once(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Streaming<SnapshotResponse>, Status> {
        let mut grpc = Grpc::new(self.caller.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        let codec = ProstCodec::<SnapshotRequest, SnapshotResponse>::default();
        let answers = grpc.server_streaming(request, path, codec).await?;
        Ok(answers.into_inner())
    }

    async fn pass_on(
        &self,
        mut answers: Streaming<SnapshotResponse>,
        sender: &SyncSender<Piece>,
    ) -> Result<(), Status> {
        loop {
            let next = tokio::time::timeout(self.caller.timeout, answers.message()).await;
            let next = next.unwrap_or_else(|_| {
                let words =
                    "the snapshot stopped in the middle; --etcd-timeout allows longer pauses";
                Err(Status::deadline_exceeded(words))
            })?;
            let Some(answer) = next else {
                return Ok(());
            };
            if sender.send(Ok(Some(answer.blob))).is_err() {
                return Ok(());
            }
        }
    }
}

impl Read for SnapshotStream {
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
