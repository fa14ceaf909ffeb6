//! Calls at the same time share one backend call.

use core::future::Future;
use core::pin::pin;

use super::*;

/// Lets `call` go as far as it comes by itself, which must not be the end.
async fn start(call: &mut (impl Future + Unpin)) {
    let ended = tokio::time::timeout(Duration::ZERO, call).await;
    assert!(ended.is_err(), "it waits for the backend");
}

/// How many wait for backend calls.
fn waiting(setup: &Setup) -> usize {
    let state = setup.cached.state();
    state.flights.values().map(|flight| flight.callers).sum()
}

/// What `callers` tasks get that call while no backend call ends.
async fn at_once(setup: &Setup, key: &WrappedKey, callers: usize) -> Vec<Result<u8, KekErrorKind>> {
    setup.hold(true);
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (cached, key) = (Arc::clone(&setup.cached), key.clone());
            tokio::spawn(async move {
                let secret = cached.unwrap(&key, Aad::EMPTY).await;
                secret
                    .map(|secret| secret.expose()[0])
                    .map_err(|error| error.kind())
            })
        })
        .collect();
    while waiting(setup) < callers {
        tokio::task::yield_now().await;
    }
    setup.hold(false);
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert_eq!(waiting(setup), 0);
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_share_one_backend_call_and_its_error() {
    for time_to_live in [TTL, 0] {
        let setup = limited(limits(8, time_to_live));
        let key = setup.wrapped(1).await;
        for (kind, calls) in [
            (Some(KekErrorKind::UnknownKey), 1),
            (Some(KekErrorKind::Unavailable), 2),
            (None, 3),
        ] {
            setup.fail(kind);
            let expected = kind.map_or(Ok(1), Err);
            assert_eq!(at_once(&setup, &key, 50).await, vec![expected; 50]);
            assert_eq!(setup.calls(), calls);
        }
        let stats = setup.cached.stats();
        assert_eq!((stats.misses, stats.shared, stats.stale), (3, 3 * 49, 0));
        assert_eq!(setup.cached.len(), usize::from(time_to_live > 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_in_the_grace_share_one_backend_call_too() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    setup.at(12);
    setup.fail(KekErrorKind::Unavailable);
    assert_eq!(at_once(&setup, &key, 50).await, vec![Ok(1); 50]);
    assert_eq!(setup.calls(), 2);
    let stats = setup.cached.stats();
    assert_eq!((stats.misses, stats.shared, stats.stale), (2, 49, 50));
    setup.fail(None);
    assert_eq!(at_once(&setup, &key, 50).await, vec![Ok(1); 50]);
    assert_eq!(setup.calls(), 3);
    assert_eq!(setup.cached.stats().stale, 50);
}

#[tokio::test]
async fn calls_for_different_keys_do_not_wait_for_each_other() {
    let setup = setup(8);
    let (a, b) = (setup.wrapped(1).await, setup.wrapped(2).await);
    setup.read(&b).await.unwrap();
    setup.hold(true);
    let mut waits = pin!(setup.read(&a));
    start(&mut waits).await;
    assert_eq!(setup.read(&b).await, Ok(2));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_call_to_the_next() {
    for fails in [None, Some(KekErrorKind::Unavailable)] {
        let setup = setup(8);
        let key = setup.wrapped(1).await;
        setup.read(&key).await.unwrap();
        setup.at(11);
        setup.fail(fails);
        setup.hold(true);
        let mut impatient = Box::pin(setup.read(&key));
        let mut patient = pin!(setup.read(&key));
        start(&mut impatient).await;
        start(&mut patient).await;
        assert_eq!((setup.calls(), waiting(&setup)), (2, 2));
        drop(impatient);
        start(&mut patient).await;
        assert_eq!((setup.calls(), waiting(&setup)), (3, 1));
        setup.hold(false);
        assert_eq!(patient.await, Ok(1));
        let stats = setup.cached.stats();
        assert_eq!((stats.misses, stats.shared), (3, 0), "it asked itself");
    }
}

#[tokio::test]
async fn a_call_that_all_callers_gave_up_leaves_nothing_behind() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.hold(true);
    let mut first = Box::pin(setup.read(&key));
    let mut second = Box::pin(setup.read(&key));
    start(&mut first).await;
    start(&mut second).await;
    drop(second);
    drop(first);
    setup.hold(false);
    assert!(setup.cached.state().flights.is_empty());
    assert_eq!(setup.read(&key).await, Ok(1));
}

#[tokio::test]
async fn a_key_given_up_in_the_grace_can_still_be_given() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    setup.at(12);
    setup.fail(KekErrorKind::Unavailable);
    setup.hold(true);
    let mut call = Box::pin(setup.read(&key));
    start(&mut call).await;
    drop(call);
    setup.hold(false);
    assert_eq!(setup.read(&key).await, Ok(1));
}

#[tokio::test]
async fn a_key_evicted_while_it_is_asked_for_is_kept_again() {
    let setup = setup(1);
    let (a, b) = (setup.wrapped(1).await, setup.wrapped(2).await);
    setup.read(&a).await.unwrap();
    setup.at(10);
    setup.hold(true);
    let mut call_a = pin!(setup.read(&a));
    let mut call_b = pin!(setup.read(&b));
    start(&mut call_a).await;
    start(&mut call_b).await;
    setup.hold(false);
    assert_eq!(call_b.await, Ok(2));
    assert_eq!(call_a.await, Ok(1));
    assert_eq!(setup.cached.stats().evicted, 2);
    let calls = setup.calls();
    assert_eq!(setup.read(&a).await, Ok(1));
    assert_eq!(
        setup.calls(),
        calls,
        "the last one asked for is the one kept"
    );
}
