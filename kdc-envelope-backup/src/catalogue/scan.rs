//! One pass over a store that inspects every entry, several at once, in bounded memory.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, Stream, StreamExt as _};

use super::state::{self, CatalogueEntry};
use crate::error::BackupError;
use crate::store::{Entries, Entry, SnapshotStore};

/// Items that are worked on at a time: reads and writes that wait for a disk or a server.
pub(crate) const WORKERS: usize = 16;

/// What a pass cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Entries that were inspected.
    pub entries: u64,
    /// Reads of `metadata.json`.
    pub reads: u64,
}

/// Hands every entry of the store, or of one cluster, to `each`, in no order. `now` is in seconds since 1970-01-01 UTC.
///
/// # Errors
/// [`BackupError`] of the store; the first one ends the pass, and nothing may be concluded from what was handed over before.
pub async fn scan(
    store: &Arc<dyn SnapshotStore>,
    cluster: Option<&str>,
    now: u64,
    mut each: impl FnMut(CatalogueEntry),
) -> Result<Cost, BackupError> {
    let mut cost = Cost::default();
    let inspect = |entry: Entry| async move {
        let reads = u64::from(entry.metadata.is_some());
        let inspected = state::inspect(store, entry, now).await?;
        Ok((inspected, reads))
    };
    in_parallel(entries(store, cluster), inspect, |(inspected, reads)| {
        cost.entries += 1;
        cost.reads += reads;
        inspected.map(&mut each);
        Ok(())
    })
    .await?;
    Ok(cost)
}

/// Everything in a store, or of one cluster.
pub(crate) fn entries(
    store: &Arc<dyn SnapshotStore>,
    cluster: Option<&str>,
) -> impl Stream<Item = Result<Entry, BackupError>> + use<> {
    let below: Vec<&str> = cluster.into_iter().collect();
    let entries = Entries::new(store.list(&below));
    stream::try_unfold(entries, |mut entries| async move {
        let entry = entries.next().await?;
        Ok(entry.map(|entry| (entry, entries)))
    })
}

/// Does `work` with every item, several at once, and hands each result to `each`, one at a time and in no order. After the first failure,
/// also one of `items`, nothing more is begun, and what was begun ends.
pub(crate) async fn in_parallel<T, R, F>(
    items: impl Stream<Item = Result<T, BackupError>>,
    work: impl Fn(T) -> F,
    mut each: impl FnMut(R) -> Result<(), BackupError>,
) -> Result<(), BackupError>
where
    F: Future<Output = Result<R, BackupError>>,
{
    let has_failed = AtomicBool::new(false);
    let work = &work;
    let begun = items
        .take_while(|_| ready(!has_failed.load(Ordering::Relaxed)))
        .map(|item| async move { work(item?).await });
    let mut results = pin!(begun.buffer_unordered(WORKERS));
    let mut failure = None;
    while let Some(result) = results.next().await {
        if let Err(error) = result.and_then(&mut each) {
            has_failed.store(true, Ordering::Relaxed);
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::BackupErrorKind;
    use crate::store::tests::wait;

    #[test]
    fn after_a_failure_nothing_is_begun_and_what_was_begun_ends() {
        let begun = Cell::new(0);
        let mut ended = 0;
        let outcome = wait(in_parallel(
            stream::iter((0..1000).map(Ok)),
            |number| {
                begun.set(begun.get() + 1);
                async move {
                    tokio::task::yield_now().await;
                    match number {
                        3 => Err(BackupError::new(BackupErrorKind::Io, "third")),
                        number => Ok(number),
                    }
                }
            },
            |_: i32| {
                ended += 1;
                Ok(())
            },
        ));
        assert_eq!(outcome.unwrap_err().message(), "third");
        assert_eq!(ended + 1, begun.get());
        assert!(begun.get() <= 2 * WORKERS);
    }
}
