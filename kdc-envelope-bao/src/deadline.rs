//! The deadline of the caller, as [`kdc_envelope::deadline`] hands it down, on the clock of tokio.

use kdc_envelope::deadline;
use tokio::time::{Instant, timeout_at};

use crate::error::BaoError;

/// When the caller gives up, if ever.
pub(crate) fn current() -> Option<Instant> {
    deadline::current().map(Instant::from_std)
}

/// Whether the caller still waits at `moment`.
pub(crate) fn allows(moment: Instant) -> bool {
    current().is_none_or(|deadline| moment < deadline)
}

/// The output of `future`, or an error when the caller gives up before. It is not begun after that.
pub(crate) async fn wait<T>(future: impl Future<Output = T> + Send) -> Result<T, BaoError> {
    let Some(deadline) = current() else {
        return Ok(future.await);
    };
    if Instant::now() >= deadline {
        return Err(BaoError::DeadlineExceeded);
    }
    timeout_at(deadline, future)
        .await
        .map_err(|_| BaoError::DeadlineExceeded)
}

/// [`wait`] for work that other callers need too: it is given up with its last caller, and does not fail because this one gives up.
pub(crate) async fn wait_for_shared<T>(
    future: impl Future<Output = T> + Send,
) -> Result<T, BaoError> {
    wait(deadline::without(future)).await
}
