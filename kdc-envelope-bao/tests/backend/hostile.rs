//! Answers that OpenBao does not give, or that are not for what was asked: of a proxy in between, of another edition, of a wrong clock.

use std::time::Duration;

use kdc_envelope::{KekErrorKind, KeyEncryptionKey as _};
use kdc_envelope_bao::{BaoError, LoginMethod, TransitKek, TransitOptions};
use kdc_testbed::bao::Bao;
use kdc_testbed::proxy::{Fault, Proxy};
use serde_json::{Value, json};

use crate::fixture::{Files, KEY, config, kek, opens, quick, server, unwrap, wrap};

const READ: &str = "GET /v1/transit/keys/etcd";
const ENCRYPT: &str = "POST /v1/transit/encrypt/etcd";
const DECRYPT: &str = "POST /v1/transit/decrypt/etcd";
const DAY: u64 = 24 * 3_600;

/// A server behind a proxy, and a token for it.
struct Between {
    bao: Bao,
    proxy: Proxy,
    files: Files,
}

impl Between {
    async fn new(bao: Bao) -> Self {
        let (proxy, files) = (Proxy::start(bao.address()).await.unwrap(), Files::new());
        files.put("token", bao.root_token());
        Self { bao, proxy, files }
    }

    fn kek(&self, options: TransitOptions) -> TransitKek {
        let login = LoginMethod::TokenFile(self.files.path("token"));
        kek(config(&[&self.proxy.address()], None), login, options)
    }

    /// The key as the server shows it.
    async fn key(&self) -> Value {
        let path = format!("transit/keys/{KEY}");
        self.bao.root().call("GET", &path, None).await.unwrap()
    }

    /// Answers with this key, and with these headers alone.
    fn show(&self, key: &Value, headers: &[(&str, &str)]) {
        self.proxy
            .set(Fault::answer(200, headers, &key.to_string()).on(READ));
    }

    /// The key with five versions, made a day apart, the last of them a day ago; and what time it is.
    async fn daily(&self) -> (Value, u64) {
        for _ in 1..5 {
            self.bao.root().rotate_key("transit", KEY).await.unwrap();
        }
        let mut key = self.key().await;
        let now = key["data"]["keys"]["5"].as_u64().unwrap();
        for version in 1..=5 {
            key["data"]["keys"][version.to_string()] = json!(now - DAY * (6 - version));
        }
        (key, now)
    }
}

fn date(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    httpdate::fmt_http_date(time)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_time_of_the_server_does_not_go_back_to_an_old_version() {
    let between = Between::new(server(Bao::options()).await).await;
    let (key, now) = between.daily().await;
    let (long_ago, before) = (date(0), date(now - DAY - 90));
    for headers in [
        vec![],
        vec![("date", "yesterday")],
        vec![("date", long_ago.as_str())],
        vec![("date", before.as_str())],
    ] {
        between.show(&key, &headers);
        let kek = between.kek(TransitOptions::default());
        kek.connect().await.unwrap();
        assert_eq!(kek.wrapping_version(), 5, "{headers:?}");
        assert!(wrap(&kek).await.ciphertext.starts_with(b"vault:v5:"));
        // Not even if this machine knows no better.
        let mut lost = TransitOptions::default();
        lost.clock = || std::time::UNIX_EPOCH;
        let kek = between.kek(lost);
        kek.connect().await.unwrap();
        assert_eq!(kek.wrapping_version(), 4, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_far_ahead_does_not_end_the_hold() {
    let between = Between::new(server(Bao::options()).await).await;
    let (mut key, now) = between.daily().await;
    between.bao.root().rotate_key("transit", KEY).await.unwrap();
    key["data"]["keys"]["6"] = json!(now);
    key["data"]["latest_version"] = json!(6);
    between.show(&key, &[("date", &date(now + 3 * 3_600))]);
    let kek = between.kek(TransitOptions::default());
    kek.connect().await.unwrap();
    assert_eq!((kek.wrapping_version(), kek.latest_version()), (5, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_times_that_change_while_the_key_stays_are_not_believed() {
    let between = Between::new(server(Bao::options()).await).await;
    let kek = between.kek(quick());
    kek.connect().await.unwrap();
    let wrapped = wrap(&kek).await;
    for made in [1_780_000_000, u64::MAX >> 1] {
        let mut key = between.key().await;
        key["data"]["keys"]["1"] = json!(made);
        between.show(&key, &[]);
        let refused = kek.connect().await.unwrap_err();
        assert!(
            matches!(refused, BaoError::Unintelligible { .. }),
            "{refused:?}"
        );
        // What is written meanwhile stays readable.
        assert_eq!(wrap(&kek).await.key_id, wrapped.key_id);
        assert!(opens(&kek, &wrapped).await);
        between.proxy.clear();
        kek.connect().await.unwrap();
        assert!(kek.status().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_the_server_does_not_take_is_forgotten() {
    // Only with a raft log does it know of indexes; to one that is none of its own it answers 400.
    let between = Between::new(server(Bao::options().persistent()).await).await;
    let key = between.key().await.to_string();
    let foreign = Fault::answer(200, &[("x-vault-index", "garbage")], &key);
    between.proxy.set(foreign.on(READ).times(1));
    let kek = between.kek(quick());
    kek.connect().await.unwrap();
    assert!(opens(&kek, &wrap(&kek).await).await);
    kek.connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_finds_the_headers_too_long_is_asked_without_an_index() {
    let between = Between::new(server(Bao::options().persistent()).await).await;
    let kek = between.kek(quick());
    kek.connect().await.unwrap();
    let wrapped = wrap(&kek).await;
    for status in [400, 431] {
        kek.connect().await.unwrap();
        between.proxy.reset_counts();
        let refusal = Fault::status(status, "request header fields too large");
        between.proxy.set(refusal.on(DECRYPT).times(1));
        assert!(opens(&kek, &wrapped).await, "{status}");
        assert_eq!(between.proxy.counts().requests(DECRYPT), 2, "{status}");
    }
    // Without an index there is nothing else to try.
    between.proxy.reset_counts();
    between
        .proxy
        .set(Fault::status(431, "too large").on(DECRYPT));
    assert!(!opens(&kek, &wrapped).await);
    assert_eq!(between.proxy.counts().requests(DECRYPT), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_another_request_is_no_answer() {
    let between = Between::new(server(Bao::options()).await).await;
    let kek = between.kek(quick());
    kek.connect().await.unwrap();
    let wrapped = wrap(&kek).await;
    let other = json!({"data": {"batch_results": [
        {"plaintext": "AAAAAAAAAAAAAAAAAAAAAA==", "reference": "0123456789abcdef-0"},
    ]}});
    between
        .proxy
        .set(Fault::answer(200, &[], &other.to_string()).on(DECRYPT));
    let refused = unwrap(&kek, &wrapped).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::Unavailable);
    let other = json!({"data": {"batch_results": [
        {"ciphertext": "vault:v1:AAAA", "key_version": 1, "reference": "0123456789abcdef-0"},
    ]}});
    between
        .proxy
        .set(Fault::answer(200, &[], &other.to_string()).on(ENCRYPT));
    assert!(kek.wrap(&[1; 32], crate::fixture::AAD).await.is_err());
    between.proxy.clear();
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_no_key_has_is_not_believed() {
    let between = Between::new(server(Bao::options()).await).await;
    let good = between.key().await;
    let created = good["data"]["keys"]["1"].clone();
    let kek = between.kek(quick());
    for (latest, newest) in [(u32::MAX, u32::MAX), (1, u32::MAX), (1_000_001, 1_000_001)] {
        let mut key = good.clone();
        key["data"]["latest_version"] = json!(latest);
        key["data"]["keys"][newest.to_string()] = created.clone();
        between.show(&key, &[]);
        let refused = kek.connect().await.unwrap_err();
        let is_told = matches!(refused, BaoError::Unintelligible { .. });
        assert!(is_told, "{refused:?}");
        assert_eq!(kek.latest_version(), 0);
    }
    between.proxy.clear();
    kek.connect().await.unwrap();
    assert_eq!(kek.status().unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_to_live_is_too_long_to_calculate_with() {
    let between = Between::new(server(Bao::options()).await).await;
    for ttl in [1u64 << 62, 1 << 63, u64::MAX] {
        let told = json!({"data": {"ttl": ttl, "renewable": true}}).to_string();
        between
            .proxy
            .set(Fault::answer(200, &[], &told).on("lookup-self"));
        let kek = between.kek(quick());
        kek.connect().await.unwrap();
        let keeping = kek.session().clone();
        let mut keeping = tokio::spawn(async move { keeping.maintain().await });
        let ended = tokio::time::timeout(Duration::from_millis(600), &mut keeping).await;
        assert!(ended.is_err(), "{ttl}: {ended:?}");
        assert!(kek.session().status().ttl_left.unwrap() > Duration::from_secs(DAY));
        keeping.abort();
    }
}
