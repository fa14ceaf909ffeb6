//! The load generator counts what happens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::double::{Fault, Served};
use crate::own_plugin::OwnPlugin;
use kdc_envelope_kms::client::KmsClient;
use kdc_envelope_kms::client::load::{
    self, ColdStartOptions, LoadError, LoadOptions, LoadReport, Rpc, Stop, WrappedSeeds,
};
use kdc_envelope_kms::server::SocketAddress;

async fn run(socket: &SocketAddress, options: &LoadOptions) -> LoadReport {
    load::run(socket, options, |_| {}).await.unwrap()
}

fn counts(served: &Served) -> [u64; 3] {
    let journal = served.journal();
    [&journal.statuses, &journal.encrypts, &journal.decrypts]
        .map(|counter| counter.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_count_is_kept_exactly_for_every_kind_of_call() {
    // Each connection begins with one Status; three seeds are wrapped where Decrypt needs them.
    for (rpc, expected) in [
        (Rpc::Status, [302, 0, 0]),
        (Rpc::Encrypt, [2, 300, 0]),
        (Rpc::Decrypt, [2, 3, 300]),
        (Rpc::Mixed, [102, 103, 100]),
    ] {
        let served = Served::new(Fault::None);
        let mut options = LoadOptions::new(rpc, Stop::Calls(300));
        options.concurrency = 7;
        options.connections = 2;
        options.seeds = 3;
        let report = run(&served.socket, &options).await;
        assert_eq!(report.measured.calls, 300);
        assert_eq!(counts(&served), expected, "{rpc:?}");
        assert!(
            report.measured.errors.is_empty(),
            "{:?}",
            report.measured.errors
        );
        let latency = report.measured.latency_seconds.unwrap();
        assert!(Duration::ZERO < latency.p50 && latency.p50 <= latency.p99);
        assert!(latency.p99 <= latency.p999 && latency.p999 <= latency.max);
    }
}

#[tokio::test]
async fn a_duration_ends_the_run_and_progress_is_reported() {
    let served = Served::new(Fault::None);
    let mut options = LoadOptions::new(Rpc::Status, Stop::After(Duration::from_millis(700)));
    options.concurrency = 4;
    let mut progress = Vec::new();
    let report = load::run(&served.socket, &options, |now| progress.push(now))
        .await
        .unwrap();
    let measured = &report.measured;
    assert!(measured.elapsed >= Duration::from_millis(700));
    assert!(
        measured.elapsed < Duration::from_secs(3),
        "{:?}",
        measured.elapsed
    );
    assert_eq!(counts(&served)[0], measured.calls + 1);
    assert!(progress.len() >= 3, "{progress:?}");
    assert!(progress.is_sorted_by_key(|now| now.calls));
    let rate = measured.calls_per_second * measured.elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a test's few calls")]
    let calls = measured.calls as f64;
    assert!((rate - calls).abs() < 1.0);
}

#[tokio::test]
async fn concurrency_is_what_was_asked_for() {
    let served = Served::new(Fault::None);
    *served.journal().delay.lock().unwrap() = Duration::from_millis(50);
    let mut options = LoadOptions::new(Rpc::Encrypt, Stop::Calls(40));
    options.concurrency = 20;
    let report = run(&served.socket, &options).await;
    let latency = report.measured.latency_seconds.unwrap();
    assert!(
        latency.p50 >= Duration::from_millis(50),
        "the double takes that long"
    );
    assert!(
        report.measured.elapsed < Duration::from_millis(50 * 40 / 2),
        "not one after the other: {:?}",
        report.measured.elapsed
    );
}

#[tokio::test]
async fn errors_are_counted_by_code_and_not_as_calls() {
    let served = Served::new(Fault::EncryptError);
    let report = run(
        &served.socket,
        &LoadOptions::new(Rpc::Encrypt, Stop::Calls(10)),
    )
    .await;
    assert_eq!(report.measured.calls, 0);
    assert_eq!(report.measured.latency_seconds, None);
    assert_eq!(report.measured.errors, [("Internal".to_owned(), 10)].into());

    let served = Served::new(Fault::WrongPlaintext);
    let report = run(
        &served.socket,
        &LoadOptions::new(Rpc::Decrypt, Stop::Calls(10)),
    )
    .await;
    assert_eq!(
        report.measured.errors,
        [("WrongPlaintext".to_owned(), 10)].into()
    );
}

#[tokio::test]
async fn a_cold_start_asks_for_each_seed_as_often_as_told() {
    let served = Served::new(Fault::None);
    let timeout = KmsClient::DEFAULT_TIMEOUT;
    let seeds = WrappedSeeds::prepare(&served.socket, 100, timeout)
        .await
        .unwrap();
    assert_eq!(seeds.len(), 100);
    assert_eq!(counts(&served), [1, 100, 0]);
    let mut options = ColdStartOptions::default();
    options.duplicates = 3;
    let report = load::cold_start(&served.socket, seeds, &options, |_| {})
        .await
        .unwrap();
    assert_eq!(counts(&served), [2, 100, 300]);
    assert_eq!(report.measured.calls, 300);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["seeds"], &json["duplicates"]),
        (&100.into(), &3.into())
    );
    assert_eq!(
        (&json["concurrency"], &json["connections"]),
        (&32.into(), &1.into())
    );
    assert!(json["latency_seconds"]["p99.9"].is_f64() && json["seconds"].is_f64());
}

#[tokio::test]
async fn what_cannot_begin_is_an_error() {
    let served = Served::new(Fault::EncryptError);
    let mut options = LoadOptions::new(Rpc::Decrypt, Stop::Calls(1));
    let refused = load::run(&served.socket, &options, |_| {})
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the plugin cannot be measured: Encrypt: Internal: the double cannot encrypt"
    );
    options.concurrency = 0;
    let refused = load::run(&served.socket, &options, |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LoadError::Zero("concurrency")),
        "{refused}"
    );
    let refused = WrappedSeeds::prepare(&served.socket, 0, KmsClient::DEFAULT_TIMEOUT).await;
    assert!(matches!(refused, Err(LoadError::Zero("seeds"))));
}

#[tokio::test]
async fn our_own_plugin_takes_the_load() {
    let plugin = OwnPlugin::start().await;
    let socket = &plugin.socket;
    let mut options = LoadOptions::new(Rpc::Mixed, Stop::Calls(900));
    options.concurrency = 32;
    options.seeds = 10;
    let report = run(socket, &options).await;
    assert_eq!(report.measured.calls, 900);
    let seeds = WrappedSeeds::prepare(socket, 50, options.timeout)
        .await
        .unwrap();
    let report = load::cold_start(socket, seeds, &ColdStartOptions::default(), |_| {}).await;
    let measured = report.unwrap().measured;
    assert_eq!(measured.calls, 200);
    assert!(measured.errors.is_empty(), "{:?}", measured.errors);
}
