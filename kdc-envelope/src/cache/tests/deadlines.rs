//! Callers of one backend call with deadlines of their own, on a clock that the tests turn.

use std::time::Instant;

use tokio::time::{sleep_until, timeout_at};

use super::*;

/// Answers at a moment, and gives up at the deadline of the caller.
#[derive(Debug)]
struct Slow {
    inner: LocalKek,
    calls: AtomicUsize,
    answers_at: tokio::time::Instant,
}

#[async_trait::async_trait]
impl KeyEncryptionKey for Slow {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.inner.wrap(plaintext, aad).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        self.calls.fetch_add(1, SeqCst);
        let answer = sleep_until(self.answers_at);
        match deadline::current() {
            None => answer.await,
            Some(deadline) => timeout_at(deadline.into(), answer).await.map_err(|late| {
                KekError::DeadlineExceeded {
                    source: late.into(),
                }
            })?,
        }
        self.inner.unwrap(wrapped, aad).await
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        self.inner.status()
    }
}

/// How calls end that begin one after the other and give up after so many seconds, if the backend answers after two; and how many
/// calls it got.
async fn outcomes(limits: &[Option<u64>]) -> (Vec<Result<(), KekErrorKind>>, usize) {
    let start = tokio::time::Instant::now();
    let backend = Arc::new(Slow {
        inner: LocalKek::new(Keyring::generate(1).unwrap()).unwrap(),
        calls: AtomicUsize::new(0),
        answers_at: start + Duration::from_secs(2),
    });
    let inner: Arc<dyn KeyEncryptionKey> = backend.clone();
    let cached = Arc::new(CachedKek::new(inner, super::limits(8, TTL), || {
        Duration::ZERO
    }));
    let key = cached.wrap(&[1; 32], Aad::EMPTY).await.unwrap();
    let mut calls = Vec::new();
    for limit in limits {
        let deadline: Option<Instant> =
            limit.map(|seconds| (start + Duration::from_secs(seconds)).into_std());
        let (cached, key) = (Arc::clone(&cached), key.clone());
        calls.push(tokio::spawn(async move {
            let call = cached.unwrap(&key, Aad::EMPTY);
            let ended = match deadline {
                Some(deadline) => deadline::within(deadline, call).await,
                None => call.await,
            };
            ended.map(drop).map_err(|error| error.kind())
        }));
        tokio::task::yield_now().await;
    }
    let mut ended = Vec::new();
    for call in calls {
        ended.push(call.await.unwrap());
    }
    (ended, backend.calls.load(SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_more_time_does_not_fail_with_the_one_that_asked() {
    let late = Err(KekErrorKind::Unavailable);
    let (ended, calls) = outcomes(&[Some(1), Some(3), Some(1), None]).await;
    assert_eq!(ended, [late, Ok(()), late, Ok(())]);
    assert_eq!(calls, 2, "those with more time share one more call");
    let (ended, calls) = outcomes(&[Some(1), Some(1)]).await;
    assert_eq!((ended, calls), (vec![late, late], 1));
    let (ended, calls) = outcomes(&[Some(3), Some(1)]).await;
    assert_eq!(ended[0], Ok(()));
    assert_eq!(calls, 1);
}
