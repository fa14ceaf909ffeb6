//! Which keys the rows inside a snapshot need, by reading what is needed of it.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use kdc_envelope::Key256;
use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError, ReadAt};
use kdc_envelope::snapshot::metadata::RowsInside;
use kdc_envelope::snapshot::{Expected, OpenError, SealedRange};
use tokio::sync::{mpsc, oneshot};

use crate::blocking::blocking;
use crate::error::{BackupError, BackupErrorKind};
use crate::store::SnapshotFiles;

/// Counts the rows of a snapshot that lies in a store. `None` if it is compressed, so that it can only be read from its start.
pub(crate) async fn of_stored(
    files: &SnapshotFiles,
    dek: Arc<Key256>,
) -> Result<Option<RowsInside>, BackupError> {
    const WHAT: &str = "cannot read what was sealed";
    let Some(len) = files.data_len().await? else {
        return Err(BackupError::new(BackupErrorKind::Io, WHAT).and("it went away"));
    };
    let (requests, mut asked) = mpsc::channel::<Request>(1);
    let counted = blocking(move || {
        let stored = Stored { requests, len };
        match SealedRange::new(stored, &dek, &Expected::default()) {
            Ok(content) => count(content).map(Some),
            Err(OpenError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(BackupError::of_open(WHAT, error)),
        }
    });
    let serve = async {
        while let Some(Request { range, reply }) = asked.recv().await {
            // What no longer waits needs no reply.
            let _ = reply.send(files.data(Some(range)).await);
        }
    };
    // The requests end with the count.
    futures_util::future::join(counted, serve).await.0
}

/// All rows, whatever prefix they have: what was not counted would look as if no key were needed for it.
pub(crate) fn count(content: impl ReadAt) -> Result<RowsInside, BackupError> {
    const WHAT: &str = "cannot count the rows of the snapshot";
    let usage = EtcdFile::open(content).and_then(|file| file.key_usage(b"", |_| ()));
    let usage = usage.map_err(|error| match error {
        EtcdFileError::Read {
            offset,
            len,
            source,
        } => match BackupError::carried(source) {
            Ok(error) => error,
            Err(source) => {
                let error = EtcdFileError::Read {
                    offset,
                    len,
                    source,
                };
                BackupError::at(BackupErrorKind::Io, WHAT, error)
            }
        },
        error => BackupError::at(BackupErrorKind::Damaged, WHAT, error),
    })?;
    Ok(RowsInside::from(&usage.rows))
}

/// A range of bytes that the counting thread needs next.
struct Request {
    range: Range<u64>,
    reply: oneshot::Sender<Result<Box<dyn Read + Send>, BackupError>>,
}

/// The sealed object, for a thread that may wait.
struct Stored {
    requests: mpsc::Sender<Request>,
    len: u64,
}

impl ReadAt for Stored {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        let (reply, answer) = oneshot::channel();
        let request = Request {
            range: offset..end,
            reply,
        };
        let gone = || io::Error::other("the count was given up");
        self.requests.blocking_send(request).map_err(|_| gone())?;
        let mut data = answer.blocking_recv().map_err(|_| gone())??;
        data.read_exact(buffer)
    }
}
