//! The stream of etcd's `Maintenance.Snapshot`: the database as of one moment, and the SHA-256 of it.

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::error::{CallFault, STALLED};
use super::messages::{SnapshotRequest, SnapshotResponse};
use super::{EtcdClient, EtcdError};

/// A snapshot that is being received. Dropping it ends the call.
#[derive(Debug)]
pub struct SnapshotStream {
    client: EtcdClient,
    responses: Streaming<SnapshotResponse>,
}

impl EtcdClient {
    /// Asks etcd for a snapshot, which it sends only as fast as it is taken.
    ///
    /// # Errors
    /// [`EtcdError`]. Snapshots are for users with the role `root` alone.
    pub async fn snapshot(&self) -> Result<SnapshotStream, EtcdError> {
        let responses = self.begin_snapshot().await;
        Ok(SnapshotStream {
            responses: responses.map_err(|status| self.snapshot_error(&status))?,
            client: self.clone(),
        })
    }

    fn snapshot_error(&self, status: &Status) -> EtcdError {
        self.failed(CallFault::of_snapshot(status, self.caller.user()))
    }

    async fn begin_snapshot(&self) -> Result<Streaming<SnapshotResponse>, Status> {
        let caller = &self.caller;
        let request = caller.request(SnapshotRequest {}).await?;
        match self.send_snapshot(request).await {
            Err(status) if caller.is_outdated(&status) => {
                let again = caller.request_again(SnapshotRequest {}).await?;
                self.send_snapshot(again).await
            }
            responses => responses,
        }
    }

    async fn send_snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Streaming<SnapshotResponse>, Status> {
        let mut grpc = Grpc::new(self.caller.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        let codec = ProstCodec::<SnapshotRequest, SnapshotResponse>::default();
        let responses = grpc.server_streaming(request, path, codec).await?;
        Ok(responses.into_inner())
    }
}

impl SnapshotStream {
    /// The next piece of the database file, up to 32 KiB by default of etcd, and at last its SHA-256; `None` once etcd has
    /// ended the stream.
    ///
    /// # Errors
    /// [`EtcdError`]: the stream broke off, or paused for longer than [`EtcdOptions::timeout`](super::EtcdOptions::timeout).
    /// What came before is no snapshot then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, EtcdError> {
        let limit = self.client.caller.timeout;
        let next = tokio::time::timeout(limit, self.responses.message()).await;
        let next = next.unwrap_or_else(|_| Err(Status::deadline_exceeded(STALLED)));
        match next {
            Ok(response) => Ok(response.map(|response| response.blob)),
            Err(status) => Err(self.client.snapshot_error(&status)),
        }
    }
}
