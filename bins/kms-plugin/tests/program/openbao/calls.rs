//! Encrypt, Decrypt and Status on a key in OpenBao, and what they cost there.

use std::time::{Duration, Instant};

use super::{Backend, SEED, healthy, round_trip};
use crate::fixture::{decrypt, encrypt, eventually, status};
use kdc_envelope_kms::client::check::{self, CheckOptions, Outcome, Verdict};
use kdc_envelope_kms::server::SocketAddress;

#[tokio::test]
async fn the_shortest_command_line_serves() {
    let backend = Backend::start().await;
    let place = &backend.place;
    let token = backend.file("token", &backend.token().await);
    let mut command = crate::fixture::program();
    command.arg("--socket").arg(&place.socket);
    command.args([
        "--bao-address",
        backend.bao.address(),
        "--bao-insecure-http",
    ]);
    command.args([
        "--bao-key",
        "etcd",
        "--bao-auth",
        "token",
        "--bao-token-file",
    ]);
    command.arg(token);
    let running = place.start(command).await;
    let mut client = place.client().await;
    healthy(&mut client).await;
    let wrapped = encrypt(&mut client, &SEED).await.unwrap();
    assert!(wrapped.ciphertext.starts_with(b"vault:v1:"));
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    let answer = status(&mut client).await.unwrap();
    assert_eq!(answer.key_id, wrapped.key_id);
    assert_eq!(
        (answer.healthz.as_str(), answer.version.as_str()),
        ("ok", "v2")
    );
    let log = place.log();
    let line = |words: &str| {
        log.lines()
            .find(|line| line.contains(words))
            .map(str::to_owned)
    };
    let listening = line("kms-plugin listening").unwrap();
    assert!(
        listening.contains(place.socket.to_str().unwrap()),
        "{listening}"
    );
    assert!(!listening.contains("key_id"), "not known yet: {listening}");
    let login = line("OpenBao login ok").unwrap();
    for words in ["role=", "mount=", "ttl_seconds=3"] {
        assert!(login.contains(words), "{login}");
    }
    assert!(running.stop().await.success());
    assert!(!place.socket.exists());
}

#[tokio::test]
async fn the_contract_of_kms_v2_holds() {
    let backend = Backend::start().await;
    let (_running, _client) = backend.serving(&[]).await;
    let socket = SocketAddress::Path(backend.place.socket.clone());
    let report = check::run(&socket, &CheckOptions::default(), |_| {}).await;
    let broken: Vec<_> = report
        .results
        .iter()
        .filter(|result| result.outcome != Outcome::Pass)
        .map(|result| (result.check, result.outcome, &result.observed))
        .collect();
    assert_eq!(report.verdict, Verdict::Conforms, "{broken:?}");
}

#[tokio::test]
async fn cached_seeds_status_and_probes_cost_no_backend_call() {
    let backend = Backend::start().await;
    let (_running, mut client) = backend.serving(&[]).await;
    let mut seeds = Vec::new();
    for _ in 0..10 {
        let wrapped = encrypt(&mut client, &SEED).await.unwrap();
        assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
        seeds.push(wrapped);
    }
    backend.proxy.reset_counts();
    let start = Instant::now();
    let mut calls = 0;
    while calls < 200 || start.elapsed() < Duration::from_secs(3) {
        for wrapped in &seeds {
            assert_eq!(decrypt(&mut client, wrapped).await.unwrap(), SEED);
        }
        status(&mut client).await.unwrap();
        assert!(backend.probe("/readyz").starts_with("HTTP/1.1 200"));
        calls += seeds.len();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counts = backend.proxy.counts();
    let reads = counts.requests("GET /v1/transit/keys/etcd");
    assert_eq!(
        counts.requests(""),
        reads,
        "nothing but reading the key: {counts:?}"
    );
    // Once in an interval, which is shortened to 1 s here, and by up to two fifths by the jitter. So by default it is
    // less than two a minute.
    let longest = start.elapsed().as_secs_f64();
    assert!(
        (reads as f64) <= longest / 0.6 + 1.0,
        "{reads} in {longest} s"
    );
    assert!(backend.metric("kdc_kms_cache_hits_total{") >= calls as f64);
}

#[tokio::test]
async fn without_cache_each_decrypt_asks_openbao() {
    let backend = Backend::start().await;
    let (_running, mut client) = backend.serving(&["--cache-ttl", "0"]).await;
    let wrapped = encrypt(&mut client, &SEED).await.unwrap();
    backend.proxy.reset_counts();
    for _ in 0..3 {
        assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    }
    assert_eq!(backend.proxy.counts().requests("transit/decrypt/etcd"), 3);
}

#[tokio::test]
async fn a_rotated_key_wraps_after_the_hold_and_old_seeds_open() {
    let backend = Backend::start().await;
    let (_running, mut client) = backend
        .serving(&["--bao-hold", "0", "--cache-ttl", "0"])
        .await;
    let old = encrypt(&mut client, &SEED).await.unwrap();
    backend
        .bao
        .root()
        .rotate_key("transit", "etcd")
        .await
        .unwrap();
    eventually("the new version wraps", async || {
        status(&mut client)
            .await
            .is_ok_and(|answer| answer.key_id != old.key_id)
    })
    .await;
    let new = encrypt(&mut client, &SEED).await.unwrap();
    assert!(new.ciphertext.starts_with(b"vault:v2:"));
    assert_eq!(status(&mut client).await.unwrap().key_id, new.key_id);
    assert_eq!(decrypt(&mut client, &old).await.unwrap(), SEED);
    let latest = "kdc_kms_bao_key_latest_version{key=\"kube-dc-kms-plugin\"}";
    assert_eq!(backend.metric(latest), 2.0);
}

#[tokio::test]
async fn metrics_tell_what_was_asked_of_openbao() {
    let backend = Backend::start().await;
    let (_running, mut client) = backend.serving(&[]).await;
    round_trip(&mut client).await;
    let text = backend.probe("/metrics");
    let key = "key=\"kube-dc-kms-plugin\"";
    for (start, least) in [
        (
            format!("kdc_kms_bao_requests_total{{{key},operation=\"encrypt\",outcome=\"ok\"}}"),
            2.0,
        ),
        (
            format!("kdc_kms_bao_requests_total{{{key},operation=\"read_key\",outcome=\"ok\"}}"),
            1.0,
        ),
        (
            format!("kdc_kms_bao_requests_total{{{key},operation=\"token\",outcome=\"ok\"}}"),
            1.0,
        ),
        (
            format!("kdc_kms_bao_request_seconds_total{{{key},operation=\"decrypt\"}}"),
            1e-6,
        ),
        (format!("kdc_kms_bao_batched_keys_total{{{key}}}"), 4.0),
        (format!("kdc_kms_bao_token_ttl_seconds{{{key}}}"), 3_000.0),
        (
            format!("kdc_kms_bao_logins_total{{{key},result=\"ok\"}}"),
            1.0,
        ),
        (
            format!("kdc_kms_bao_logins_total{{{key},result=\"failed\"}}"),
            0.0,
        ),
        (
            format!("kdc_kms_bao_token_renewals_total{{{key},result=\"ok\"}}"),
            0.0,
        ),
        (
            format!("kdc_kms_bao_token_renewals_total{{{key},result=\"failed\"}}"),
            0.0,
        ),
        (format!("kdc_kms_bao_breaker_state{{{key}}}"), 0.0),
        (format!("kdc_kms_bao_key_latest_version{{{key}}}"), 1.0),
        (format!("kdc_kms_bao_key_wrapping_version{{{key}}}"), 1.0),
        (format!("kdc_kms_bao_tls_reloads_total{{{key}}}"), 0.0),
        (format!("kdc_kms_healthy{{{key}}}"), 1.0),
    ] {
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{start} not in\n{text}"));
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value >= least, "{line}");
    }
    assert!(text.ends_with("# EOF\n"), "one exposition");
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn requests_to_openbao_become_spans_without_the_token() {
    use crate::telemetry::{collector, holds};

    let (address, exports) = collector();
    let backend = Backend::start().await;
    let (running, mut client) = backend.serving(&["--otel-endpoint", &address]).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
    let first = exports.recv_timeout(Duration::from_secs(30)).unwrap();
    let all = [first, exports.try_iter().flatten().collect()].concat();
    for part in ["openbao", "read_key", "encrypt", "decrypt", "outcome"] {
        assert!(holds(&all, part.as_bytes()), "{part}");
    }
    let token = std::fs::read(backend.place.path("token")).unwrap();
    assert!(!holds(&all, &token) && !holds(&all, &SEED));
}
