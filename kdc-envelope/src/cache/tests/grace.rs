//! What is given while the backend is away, and what is not.

use super::*;

#[tokio::test]
async fn an_outage_shorter_than_the_time_to_live_goes_unnoticed_whatever_the_age() {
    for begin in 0..TTL {
        let setup = setup(8);
        let key = setup.wrapped(1).await;
        assert_eq!(setup.read(&key).await, Ok(1));
        setup.fail(KekErrorKind::Unavailable);
        for second in begin..begin + TTL {
            setup.at(second);
            assert_eq!(setup.read(&key).await, Ok(1), "{begin} to {second}");
        }
    }
}

#[tokio::test]
async fn nothing_is_given_beyond_time_to_live_and_grace_together() {
    for grace in [0, 1, 7, 10, 25] {
        let setup = limited(limits(8, TTL).with_grace(Duration::from_secs(grace)));
        let key = setup.wrapped(1).await;
        setup.read(&key).await.unwrap();
        setup.fail(KekErrorKind::Unavailable);
        setup.at(TTL + grace - 1);
        assert_eq!(setup.read(&key).await, Ok(1), "grace {grace}");
        setup.at(TTL + grace);
        let refused = setup.read(&key).await;
        assert_eq!(refused, Err(KekErrorKind::Unavailable), "grace {grace}");
    }
}

#[tokio::test]
async fn the_backend_is_asked_each_time_beyond_the_time_to_live_and_only_then() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    setup.fail(KekErrorKind::Unavailable);
    for (second, calls) in [(9, 1), (10, 2), (11, 3), (19, 4)] {
        setup.at(second);
        assert_eq!(setup.read(&key).await, Ok(1));
        assert_eq!(setup.calls(), calls, "at second {second}");
    }
    let stats = setup.cached.stats();
    assert_eq!((stats.hits, stats.misses, stats.stale), (1, 4, 3));
}

#[tokio::test]
async fn whatever_else_the_backend_answers_passes_through_and_ends_the_trust() {
    for kind in KekErrorKind::ALL {
        let kind = error(kind).kind();
        if kind == KekErrorKind::Unavailable {
            continue;
        }
        let setup = setup(8);
        let key = setup.wrapped(1).await;
        setup.read(&key).await.unwrap();
        setup.at(10);
        setup.fail(kind);
        assert_eq!(setup.read(&key).await, Err(kind));
        assert!(setup.cached.is_empty(), "{kind:?}");
        setup.fail(KekErrorKind::Unavailable);
        let refused = setup.read(&key).await;
        assert_eq!(refused, Err(KekErrorKind::Unavailable), "after {kind:?}");
    }
}

#[tokio::test]
async fn an_error_within_the_time_to_live_is_not_even_seen() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    setup.fail(KekErrorKind::Denied);
    setup.at(9);
    assert_eq!(setup.read(&key).await, Ok(1));
    assert_eq!(setup.calls(), 1);
}

#[tokio::test]
async fn an_error_of_a_key_never_seen_is_not_remembered() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    for kind in [KekErrorKind::Unavailable, KekErrorKind::Denied] {
        setup.fail(kind);
        assert_eq!(setup.read(&key).await, Err(kind));
    }
    setup.fail(None);
    assert_eq!(setup.read(&key).await, Ok(1));
    assert_eq!(setup.calls(), 3);
}

#[tokio::test]
async fn after_an_outage_a_key_is_as_good_as_new() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    setup.fail(KekErrorKind::Unavailable);
    setup.at(15);
    assert_eq!(setup.read(&key).await, Ok(1));
    setup.fail(None);
    setup.at(18);
    assert_eq!(setup.read(&key).await, Ok(1));
    setup.fail(KekErrorKind::Unavailable);
    setup.at(37);
    assert_eq!(setup.read(&key).await, Ok(1), "18 and 19 seconds");
    setup.at(38);
    assert!(setup.read(&key).await.is_err());
}

#[tokio::test]
async fn the_age_counts_when_the_backend_has_answered() {
    let setup = Arc::new(setup(8));
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    setup.fail(KekErrorKind::Unavailable);
    setup.at(19);
    setup.hold(true);
    let mut waits = core::pin::pin!(setup.read(&key));
    assert!(
        tokio::time::timeout(Duration::ZERO, &mut waits)
            .await
            .is_err()
    );
    setup.at(20);
    setup.hold(false);
    assert_eq!(waits.await, Err(KekErrorKind::Unavailable));
}
