//! Work that waits for a disk, or keeps a processor busy, beside async code.

use crate::error::{BackupError, BackupErrorKind};

/// Does `work` on a thread that may wait. It goes on to its end even if nothing waits for it any more.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let what = "a thread of the runtime ended before its work";
        Err(BackupError::at(BackupErrorKind::Io, what, error))
    })
}
