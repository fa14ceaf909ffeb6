use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::error::{CredentialError, Place};

const LENGTH: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

fn address() -> Arc<str> {
    "https://bao:8200".into()
}

fn text() -> String {
    "words".to_owned()
}

fn place() -> Place {
    Place {
        path: "transit/keys/k".into(),
        namespace: None,
        address: address(),
    }
}

fn sealed() -> BaoError {
    BaoError::Sealed { address: address() }
}

fn open_after(cause: Option<BaoError>) -> BaoError {
    BaoError::CircuitOpen {
        retry_in: SECOND,
        cause: cause.map(Arc::new),
    }
}

/// What tells nothing about the key.
fn away() -> Vec<BaoError> {
    let unready = |status| BaoError::Unready {
        address: address(),
        status,
        message: text(),
    };
    let timeout = BaoError::Timeout {
        address: address(),
        limit: SECOND,
    };
    vec![
        BaoError::Unreachable {
            address: address(),
            source: Arc::new(std::io::Error::other("refused")),
        },
        timeout.clone(),
        BaoError::DeadlineExceeded,
        unready(500),
        unready(502),
        unready(503),
        BaoError::Throttled {
            address: address(),
            retry_after: None,
            message: text(),
        },
        BaoError::Lagging { message: text() },
        open_after(None),
        open_after(Some(timeout)),
    ]
}

/// What tells that the key cannot be used, or was not asked of OpenBao at all.
fn refusals() -> Vec<BaoError> {
    let garbage = BaoError::Unintelligible {
        what: "the body",
        address: address(),
    };
    let login = |status| BaoError::LoginRefused {
        mount: "k8s-host".into(),
        role: "tcp".into(),
        status,
        message: text(),
    };
    let (key, path): (Arc<str>, Arc<str>) = ("transit/k".into(), "/token".into());
    vec![
        BaoError::Unauthenticated {
            address: address(),
            message: text(),
        },
        BaoError::Forbidden {
            operation: "GET",
            place: place(),
        },
        BaoError::NotFound {
            place: place(),
            message: text(),
        },
        BaoError::Rejected {
            status: 400,
            place: place(),
            message: text(),
        },
        BaoError::Conflict { place: place() },
        BaoError::Redirected { host: text() },
        garbage.clone(),
        open_after(Some(garbage)),
        BaoError::WrongAnswer { message: text() },
        BaoError::KeyFailed { message: text() },
        BaoError::Credential(CredentialError::Content {
            what: "token",
            path,
            expected: "a word",
        }),
        login(400),
        login(403),
        BaoError::TokenRefused {
            mount: "k8s-host".into(),
            role: "tcp".into(),
        },
        BaoError::Profile {
            key: Arc::clone(&key),
            reason: text(),
        },
        BaoError::WentBack {
            key: Arc::clone(&key),
            from: 2,
            to: 1,
        },
        BaoError::Canary {
            key: Arc::clone(&key),
            version: 1,
        },
        BaoError::NotAskedYet,
        BaoError::Stale { key, ago: SECOND },
    ]
}

fn proven(length: Duration) -> Grace {
    let mut grace = Grace::new(length);
    grace.begin(Instant::now());
    grace
}

#[tokio::test(start_paused = true)]
async fn what_tells_nothing_about_the_key_is_covered_until_the_grace_is_over() {
    for trouble in away() {
        let mut grace = proven(LENGTH);
        advance(Duration::from_secs(60)).await;
        grace.note(&trouble, Instant::now());
        let left = grace.left(&trouble, Instant::now());
        assert_eq!(left, Some(Duration::from_secs(240)), "{trouble}");
        advance(Duration::from_secs(239)).await;
        assert_eq!(grace.left(&trouble, Instant::now()), Some(SECOND));
        advance(SECOND).await;
        assert_eq!(grace.left(&trouble, Instant::now()), None, "{trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_no_grace_and_leaves_none_for_an_outage_after_it() {
    for refusal in refusals() {
        let mut grace = proven(LENGTH);
        grace.note(&refusal, Instant::now());
        assert_eq!(grace.left(&refusal, Instant::now()), None, "{refusal}");
        for trouble in away() {
            grace.note(&trouble, Instant::now());
            assert_eq!(grace.left(&trouble, Instant::now()), None, "{refusal}");
        }
        grace.begin(Instant::now());
        let left = grace.left(&BaoError::DeadlineExceeded, Instant::now());
        assert_eq!(left, Some(LENGTH), "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_none_before_the_first_proof_and_none_of_no_length() {
    for trouble in away() {
        let mut unproven = Grace::new(LENGTH);
        unproven.note(&trouble, Instant::now());
        assert_eq!(unproven.left(&trouble, Instant::now()), None, "{trouble}");
        let none = proven(Duration::ZERO);
        assert_eq!(none.left(&trouble, Instant::now()), None, "{trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_server_is_covered_for_seconds_only() {
    let mut grace = proven(LENGTH);
    grace.note(&sealed(), Instant::now());
    assert_eq!(grace.left(&sealed(), Instant::now()), Some(SEALED_LIMIT));
    advance(SEALED_LIMIT - SECOND).await;
    let open = open_after(Some(sealed()));
    grace.note(&open, Instant::now());
    assert_eq!(grace.left(&open, Instant::now()), Some(SECOND));
    advance(SECOND).await;
    assert_eq!(grace.left(&sealed(), Instant::now()), None);
    // Going away afterwards makes nothing better.
    let trouble = BaoError::DeadlineExceeded;
    assert_eq!(grace.left(&trouble, Instant::now()), None);
    grace.begin(Instant::now());
    assert_eq!(grace.left(&trouble, Instant::now()), Some(LENGTH));
}

#[derive(Debug, Clone)]
enum Event {
    Works,
    Away(usize),
    Sealed,
    Refused(usize),
    Seconds(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Works),
        (0..away().len()).prop_map(Event::Away),
        Just(Event::Sealed),
        (0..refusals().len()).prop_map(Event::Refused),
        (1..200u64).prop_map(Event::Seconds),
    ]
}

proptest! {
    /// No grace without a proof, none after a refusal, and none beyond its length.
    #[test]
    fn a_grace_follows_a_proof_and_no_refusal(events in prop::collection::vec(event(), 0..40)) {
        let mut grace = Grace::new(LENGTH);
        let mut now = Instant::now();
        // When it last worked, if nothing was refused since.
        let mut worked: Option<Instant> = None;
        for event in events {
            match event {
                Event::Works => {
                    grace.begin(now);
                    worked = Some(now);
                }
                Event::Away(index) => grace.note(&away()[index], now),
                Event::Sealed => grace.note(&sealed(), now),
                Event::Refused(index) => {
                    grace.note(&refusals()[index], now);
                    worked = None;
                }
                Event::Seconds(seconds) => now += Duration::from_secs(seconds),
            }
            let most = worked.and_then(|worked| LENGTH.checked_sub(now - worked));
            for trouble in away() {
                let left = grace.left(&trouble, now);
                prop_assert!(left <= most, "{left:?} of {most:?}");
            }
            for refusal in refusals() {
                prop_assert_eq!(grace.left(&refusal, now), None);
            }
        }
    }
}
