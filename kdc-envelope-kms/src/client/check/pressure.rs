//! Checks of a busy plugin, and of what is left of it afterwards.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::answers::{judge_steadiness, or_return, round_trip_of};
use super::subject::{Sample, Subject, seed_like};
use super::{Finding, Outcome};
use crate::client::{CallError, KmsClient, StatusAnswer};

/// Pause between Status calls under load.
const STATUS_PAUSE: Duration = Duration::from_millis(5);
/// Calls whose deadline passes before they can be answered.
const ABANDONED: usize = 50;
/// Their deadline: too short for anything that does work.
const HASTE: Duration = Duration::from_millis(1);

pub(super) async fn parallel(subject: &mut Subject) -> Finding {
    or_return!(subject.sample());
    let begin = Instant::now();
    let mut pairs = JoinSet::new();
    for _ in 0..subject.pairs {
        let plaintext = or_return!(seed_like());
        let client = subject.client.clone();
        pairs.spawn(async move { round_trip_of(&client, &plaintext).await });
    }
    let is_over = AtomicBool::new(false);
    let work = async {
        let mut failures = Vec::new();
        while let Some(joined) = pairs.join_next().await {
            let outcome = joined.unwrap_or_else(|error| Err(error.to_string()));
            failures.extend(outcome.err());
        }
        is_over.store(true, Ordering::Relaxed);
        (failures, begin.elapsed())
    };
    // The last Status of the watch outlives the work: it may be the slow one.
    let ((failures, elapsed), statuses) = tokio::join!(work, watch(&subject.client, &is_over));
    subject.busy_statuses = statuses;
    let pairs = subject.pairs;
    match failures.first() {
        None => Finding::pass(format_args!("{pairs} pairs in {elapsed:.1?}")),
        Some(first) => Finding::fail(format_args!(
            "{} of {pairs} failed, the first with: {first}",
            failures.len()
        )),
    }
}

type TimedStatus = (Duration, Result<StatusAnswer, CallError>);

/// Calls Status at least once, and until `is_over`.
async fn watch(client: &KmsClient, is_over: &AtomicBool) -> Vec<TimedStatus> {
    let mut statuses = Vec::new();
    loop {
        statuses.push(timed_status(client).await);
        if is_over.load(Ordering::Relaxed) {
            return statuses;
        }
        sleep(STATUS_PAUSE).await;
    }
}

async fn timed_status(client: &KmsClient) -> TimedStatus {
    let begin = Instant::now();
    let status = client.status().await;
    (begin.elapsed(), status)
}

pub(super) fn status_under_load(subject: &Subject) -> Finding {
    let first = or_return!(subject.status());
    if subject.busy_statuses.is_empty() {
        return Finding::skip("there was no load");
    }
    let mut slowest = Duration::ZERO;
    let mut statuses = Vec::new();
    for (elapsed, status) in &subject.busy_statuses {
        match status {
            Ok(status) => statuses.push(status.clone()),
            Err(error) => return Finding::fail(error),
        }
        slowest = slowest.max(*elapsed);
    }
    if let Some(sick) = statuses
        .iter()
        .find(|status| status.healthz != "ok" && first.healthz == "ok")
    {
        return Finding::fail(format_args!("healthz `{}`", sick.healthz.escape_debug()));
    }
    let steadiness = judge_steadiness(first, &statuses);
    if steadiness.outcome != Outcome::Pass {
        return steadiness;
    }
    let observed = format!("slowest of {}: {slowest:.1?}", statuses.len());
    if slowest > subject.leisurely() {
        return Finding::warn(observed);
    }
    Finding::pass(observed)
}

pub(super) async fn abandoned(subject: &Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let hasty = subject.client.with_timeout(HASTE);
    let mut calls = JoinSet::new();
    for index in 0..ABANDONED {
        let (client, sample) = (hasty.clone(), sample.clone());
        calls.spawn(async move {
            if index % 2 == 0 {
                client.encrypt(&sample.plaintext).await.is_ok()
            } else {
                client.decrypt(&sample.wrapped).await.is_ok()
            }
        });
    }
    let answered = calls.join_all().await.into_iter().filter(|ok| *ok).count();
    let begin = Instant::now();
    if let Err(error) = subject.client.encrypt(&sample.plaintext).await {
        return Finding::fail(format_args!("the first call after them: {error}"));
    }
    let elapsed = begin.elapsed();
    let observed = format!(
        "{} of {ABANDONED} calls ran out of {HASTE:?}; the next took {elapsed:.1?}",
        ABANDONED - answered
    );
    if elapsed > subject.leisurely() {
        return Finding::warn(observed);
    }
    Finding::pass(observed)
}

pub(super) async fn alive(subject: &Subject) -> Finding {
    or_return!(subject.status());
    let Sample { plaintext, wrapped } = or_return!(subject.sample());
    let client = KmsClient::new(&subject.socket).with_timeout(subject.client.timeout());
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) => return Finding::fail(error),
    };
    match client.decrypt(&wrapped).await {
        Ok(unwrapped) if unwrapped.expose() == plaintext => Finding::pass(format_args!(
            "healthz `{}`, key id `{}`",
            status.healthz.escape_debug(),
            status.key_id.escape_debug()
        )),
        Ok(_) => Finding::fail("Decrypt gave back other bytes"),
        Err(error) => Finding::fail(error),
    }
}
