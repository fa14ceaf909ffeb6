//! The proxy before a real OpenBao counts, and each fault does what it says.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::time::{Duration, Instant};

use kdc_testbed::proxy::Fault;
use kdc_testbed::{Bao, Proxy};
use serde_json::{Value, json};

const ENCRYPT: &str = "/v1/transit/encrypt/k";

struct Fixture {
    bao: Bao,
    proxy: Proxy,
    client: reqwest::Client,
}

impl Fixture {
    async fn start() -> Self {
        let bao = Bao::start().await.unwrap();
        bao.root().enable_transit("transit").await.unwrap();
        bao.root().create_key("transit", "k").await.unwrap();
        let proxy = Proxy::start(bao.address()).await.unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .retry(reqwest::retry::never())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self { bao, proxy, client }
    }

    async fn post(&self, path: &str, body: Value) -> reqwest::Result<reqwest::Response> {
        self.client
            .post(format!("{}{path}", self.proxy.address()))
            .header("X-Vault-Token", self.bao.root_token())
            .json(&body)
            .send()
            .await
    }

    async fn encrypt(&self) -> reqwest::Result<reqwest::Response> {
        self.post(ENCRYPT, json!({"plaintext": "c2VjcmV0"})).await
    }

    async fn encrypt_well(&self) {
        let answer: Value = self.encrypt().await.unwrap().json().await.unwrap();
        assert_eq!(answer["data"]["key_version"], 1, "{answer}");
    }
}

#[tokio::test]
async fn connections_requests_and_batch_items_are_counted() {
    let fixture = Fixture::start().await;
    fixture.encrypt_well().await;
    fixture.encrypt_well().await;
    for size in [2, 3] {
        let items = vec![json!({"plaintext": "YQ=="}); size];
        let body = json!({"batch_input": items});
        fixture
            .post(ENCRYPT, body)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
    let health = format!("{}/v1/sys/health?standbyok=true", fixture.proxy.address());
    fixture
        .client
        .get(health)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();

    let counts = fixture.proxy.counts();
    assert_eq!(counts.requests("POST /v1/transit/encrypt/k"), 4);
    assert_eq!(counts.requests("GET /v1/sys/health?standbyok=true"), 1);
    assert_eq!(counts.requests(""), 5);
    assert_eq!(counts.batch_items("encrypt"), 5);
    assert_eq!(counts.largest_batch("encrypt"), 3);
    assert_eq!((counts.connections, counts.open), (1, 1), "one is kept");

    fixture.proxy.reset_counts();
    // Long enough that neither can follow the other on one connection.
    fixture.proxy.set(Fault::Delay(Duration::from_millis(300)));
    let (one, other) = tokio::join!(fixture.encrypt(), fixture.encrypt());
    one.unwrap().bytes().await.unwrap();
    other.unwrap().bytes().await.unwrap();
    let counts = fixture.proxy.counts();
    assert_eq!(counts.requests(""), 2);
    assert_eq!((counts.connections, counts.most_open), (1, 2));
}

#[tokio::test]
async fn a_refused_connection_is_accepted_again_later_on_the_same_port() {
    let mut fixture = Fixture::start().await;
    fixture.encrypt_well().await;
    let address = fixture.proxy.address();
    fixture.proxy.refuse_connections().await;
    assert_eq!(fixture.proxy.counts().open, 0, "connections are closed");
    assert!(fixture.encrypt().await.unwrap_err().is_connect());
    fixture.proxy.accept_connections().await.unwrap();
    assert_eq!(fixture.proxy.address(), address);
    fixture.encrypt_well().await;
}

#[tokio::test]
async fn a_request_hangs_until_the_client_gives_up() {
    let fixture = Fixture::start().await;
    fixture.proxy.set(Fault::Hang);
    tokio::time::timeout(Duration::from_millis(200), fixture.encrypt())
        .await
        .unwrap_err();
    fixture.proxy.clear();
    fixture.encrypt_well().await;
    assert_eq!(fixture.proxy.counts().requests(ENCRYPT), 2);
    assert_eq!(fixture.proxy.counts().connections, 2);
    // The client closes the first one when its runtime finds the time.
    while fixture.proxy.counts().open > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_fault_befalls_the_chosen_requests_as_often_as_told() {
    let fixture = Fixture::start().await;
    let sealed = Fault::status(503, "Vault is sealed");
    fixture.proxy.set(sealed.on("/encrypt/").times(2));
    for _ in 0..2 {
        let health = fixture
            .client
            .get(format!("{}/v1/sys/health", fixture.proxy.address()));
        assert_eq!(health.send().await.unwrap().status(), 200);
        let refused = fixture.encrypt().await.unwrap();
        assert_eq!(refused.status(), 503);
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body, json!({"errors": ["Vault is sealed"]}));
    }
    fixture.encrypt_well().await;
}

#[tokio::test]
async fn an_answer_is_canned_with_its_headers() {
    let fixture = Fixture::start().await;
    fixture.proxy.set(Fault::answer(
        429,
        &[("Retry-After", "7")],
        "{\"errors\":[]}",
    ));
    let answer = fixture.encrypt().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
    assert_eq!(answer.text().await.unwrap(), "{\"errors\":[]}");

    fixture.proxy.set(Fault::html());
    let answer = fixture.encrypt().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html");
    assert!(answer.text().await.unwrap().starts_with("<!DOCTYPE html>"));

    fixture.proxy.set(Fault::garbage());
    let answer = fixture.encrypt().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(answer.json::<Value>().await.unwrap_err().is_decode());
}

#[tokio::test]
async fn an_answer_comes_late_or_byte_by_byte_but_whole() {
    let fixture = Fixture::start().await;
    fixture.proxy.set(Fault::Delay(Duration::from_millis(300)));
    let start = Instant::now();
    fixture.encrypt_well().await;
    assert!(start.elapsed() >= Duration::from_millis(300));

    fixture
        .proxy
        .set(Fault::SlowBytes(Duration::from_millis(1)));
    let start = Instant::now();
    let answer = fixture.encrypt().await.unwrap();
    let length = answer.content_length().unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["data"]["key_version"], 1);
    assert!(start.elapsed() >= Duration::from_millis(length));
}

#[tokio::test]
async fn an_answer_breaks_off_after_the_server_did_its_work() {
    let fixture = Fixture::start().await;
    let faults = [
        Fault::TruncateBody(0),
        Fault::TruncateBody(20),
        Fault::Reset(0),
        Fault::Reset(5),
    ];
    for fault in faults {
        fixture.proxy.set(fault.clone().times(1));
        let rotated = match fixture.post("/v1/transit/keys/k/rotate", json!({})).await {
            Ok(answer) => answer.bytes().await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(rotated.is_err(), "{fault:?}");
    }
    let key = fixture
        .bao
        .root()
        .call("GET", "transit/keys/k", None)
        .await
        .unwrap();
    assert_eq!(key["data"]["latest_version"], 5);
    assert_eq!(
        fixture.proxy.counts().requests("rotate"),
        4,
        "none was sent twice"
    );
}

#[tokio::test]
async fn an_oversized_answer_hides_its_length() {
    let fixture = Fixture::start().await;
    fixture.proxy.set(Fault::Oversized(10_000_000));
    let answer = fixture.encrypt().await.unwrap();
    assert_eq!(answer.content_length(), None);
    let body = answer.bytes().await.unwrap();
    assert!(body.len() > 10_000_000);
    serde_json::from_slice::<String>(&body).unwrap();
    fixture.proxy.clear();
    fixture.encrypt_well().await;
    assert_eq!(fixture.proxy.counts().connections, 1, "it was well-formed");
}

#[tokio::test]
async fn a_server_that_went_shows_as_502() {
    let mut fixture = Fixture::start().await;
    fixture.bao.process().kill().await.unwrap();
    assert_eq!(fixture.encrypt().await.unwrap().status(), 502);
}
