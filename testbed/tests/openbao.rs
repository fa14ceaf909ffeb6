//! The real OpenBao of the testbed starts, does what the helpers say, and
//! bears what is done to it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::path::Path;
use std::time::Duration;

use kdc_testbed::bao::{Caller, Grant, JwtIssuer};
use kdc_testbed::process::Signal;
use kdc_testbed::{ApiServer, Bao, BaoCluster, BaoVersion, Etcd};
use serde_json::{Value, json};

const POLICY: &str = r#"path "transit/encrypt/k" { capabilities = ["update"] }"#;

/// A server with the key `transit/k` and the policy `wrap`.
async fn with_key(bao: &Bao) {
    let root = bao.root();
    root.enable_transit("transit").await.unwrap();
    root.create_key("transit", "k").await.unwrap();
    root.write_policy("wrap", POLICY).await.unwrap();
}

async fn encrypt(caller: &Caller) -> (u16, Value) {
    let body = json!({"plaintext": "c2VjcmV0"});
    caller
        .request("POST", "transit/encrypt/k", Some(body))
        .await
        .unwrap()
}

async fn ciphertext(caller: &Caller) -> String {
    let (status, body) = encrypt(caller).await;
    assert_eq!(status, 200, "{body}");
    body["data"]["ciphertext"].as_str().unwrap().to_owned()
}

async fn decrypt(caller: &Caller, ciphertext: &str) -> String {
    let body = json!({"ciphertext": ciphertext});
    let answer = caller
        .call("POST", "transit/decrypt/k", Some(body))
        .await
        .unwrap();
    answer["data"]["plaintext"].as_str().unwrap().to_owned()
}

/// Logs in at `path` and gives the token.
async fn login(bao: &Bao, path: &str, body: Value) -> String {
    let nobody = bao.root().with_token("");
    let answer = nobody.call("POST", path, Some(body)).await.unwrap();
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_version_starts_in_memory_and_does_transit() {
    for version in BaoVersion::selected().unwrap() {
        let bao = Bao::options().version(version).start().await.unwrap();
        let health = bao.root().call("GET", "sys/health", None).await.unwrap();
        let release = health["version"].as_str().unwrap();
        assert!(release.starts_with(&format!("{version}.")), "{release}");
        with_key(&bao).await;
        let first = ciphertext(bao.root()).await;
        assert!(first.starts_with("vault:v1:"));
        assert_eq!(bao.root().rotate_key("transit", "k").await.unwrap(), 2);
        assert!(ciphertext(bao.root()).await.starts_with("vault:v2:"));
        assert_eq!(decrypt(bao.root(), &first).await, "c2VjcmV0");
    }
}

#[tokio::test]
async fn a_sealed_server_answers_503_until_it_is_unsealed() {
    for version in BaoVersion::selected().unwrap() {
        let mut bao = Bao::options().version(version).start().await.unwrap();
        with_key(&bao).await;
        bao.seal().await.unwrap();
        assert_eq!(encrypt(bao.root()).await.0, 503);
        bao.unseal().await.unwrap();
        assert_eq!(encrypt(bao.root()).await.0, 200);
    }
}

#[tokio::test]
async fn keys_and_tokens_outlive_a_kill_and_a_restart() {
    for version in BaoVersion::selected().unwrap() {
        let options = Bao::options().version(version).persistent();
        let mut bao = options.start().await.unwrap();
        with_key(&bao).await;
        let token = bao.root().create_token(&Grant::of(["wrap"])).await.unwrap();
        let sealed = ciphertext(bao.root()).await;
        bao.process().kill().await.unwrap();
        let body = json!({"plaintext": "c2VjcmV0"});
        bao.root()
            .request("POST", "transit/encrypt/k", Some(body))
            .await
            .unwrap_err();
        bao.restart().await.unwrap();
        assert_eq!(decrypt(bao.root(), &sealed).await, "c2VjcmV0");
        assert_eq!(encrypt(&bao.root().with_token(&token)).await.0, 200);
        bao.restart().await.unwrap();
        assert_eq!(decrypt(bao.root(), &sealed).await, "c2VjcmV0");
    }
}

#[tokio::test]
async fn a_cluster_elects_another_leader_and_takes_the_old_one_back() {
    for version in BaoVersion::selected().unwrap() {
        let options = Bao::options().version(version).tls();
        let mut cluster = BaoCluster::start(options).await.unwrap();
        assert_eq!(cluster.addresses().len(), 3);
        let first = cluster.leader().await.unwrap();
        with_key(&cluster.nodes()[first]).await;
        let sealed = ciphertext(cluster.nodes()[first].root()).await;

        cluster.nodes_mut()[first].process().kill().await.unwrap();
        let second = cluster.leader().await.unwrap();
        assert_ne!(first, second);
        let leader = cluster.nodes()[second].root();
        assert_eq!(decrypt(leader, &sealed).await, "c2VjcmV0");
        assert_eq!(leader.rotate_key("transit", "k").await.unwrap(), 2);

        cluster.nodes_mut()[first].restart().await.unwrap();
        let third = cluster.step_down().await.unwrap();
        assert_ne!(second, third);
        let leader = cluster.nodes()[third].root();
        assert!(ciphertext(leader).await.starts_with("vault:v2:"));
    }
}

#[tokio::test]
async fn a_server_in_memory_refuses_to_restart() {
    let mut bao = Bao::start().await.unwrap();
    let refused = bao.restart().await.unwrap_err().to_string();
    assert!(refused.contains("`persistent`"), "{refused}");
    assert_eq!(encrypt(bao.root()).await.0, 404, "it still runs");
}

#[tokio::test]
async fn a_stopped_server_hangs_until_it_goes_on() {
    let mut bao = Bao::start().await.unwrap();
    bao.process().pause().await.unwrap();
    let health = bao.root().request("GET", "sys/health", None);
    tokio::time::timeout(Duration::from_millis(300), health)
        .await
        .unwrap_err();
    bao.process().signal(Signal::CONT).unwrap();
    bao.wait_until_healthy().await.unwrap();
}

#[tokio::test]
async fn the_audit_file_holds_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let bao = Bao::options().audit(&file).start().await.unwrap();
    with_key(&bao).await;
    ciphertext(bao.root()).await;
    let log = std::fs::read_to_string(&file).unwrap();
    let encrypts = log
        .lines()
        .filter(|line| line.contains("transit/encrypt/k"))
        .count();
    assert_eq!(encrypts, 2, "request and answer");
    assert!(!log.contains("c2VjcmV0"), "plaintext is hashed");
}

#[tokio::test]
async fn a_swapped_certificate_is_of_an_authority_unknown_before() {
    for version in BaoVersion::selected().unwrap() {
        let mut bao = Bao::options().version(version).tls().start().await.unwrap();
        assert!(bao.address().starts_with("https://"));
        let old = bao.ca_file().unwrap().to_path_buf();
        health_with_trust_in(&bao, &old).await.unwrap();
        let new = bao.swap_certificate().await.unwrap();
        health_with_trust_in(&bao, &old).await.unwrap_err();
        health_with_trust_in(&bao, &new).await.unwrap();
        with_key(&bao).await;
    }
}

async fn health_with_trust_in(
    bao: &Bao,
    ca_file: &Path,
) -> Result<reqwest::Response, reqwest::Error> {
    client_builder(ca_file)
        .build()
        .unwrap()
        .get(format!("{}/v1/sys/health", bao.address()))
        .send()
        .await
}

fn client_builder(ca_file: &Path) -> reqwest::ClientBuilder {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca_file).unwrap()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .timeout(Duration::from_secs(10))
}

#[tokio::test]
async fn tokens_are_of_the_kind_that_was_granted() {
    let bao = Bao::start().await.unwrap();
    with_key(&bao).await;
    let lean = Grant::of(["wrap"])
        .ttl(Duration::from_secs(60))
        .explicit_max_ttl(Duration::from_secs(90))
        .without_default_policy();
    let token = bao.root().create_token(&lean).await.unwrap();
    let lean = bao.root().with_token(&token);
    assert_eq!(encrypt(&lean).await.0, 200);
    let (status, _) = lean
        .request("GET", "auth/token/lookup-self", None)
        .await
        .unwrap();
    assert_eq!(status, 403, "the default policy alone allows it");
    let found = bao
        .root()
        .call("POST", "auth/token/lookup", Some(json!({"token": token})))
        .await
        .unwrap();
    assert_eq!(found["data"]["policies"], json!(["wrap"]));
    assert_eq!(found["data"]["explicit_max_ttl"], 90);

    let periodic = Grant::of(["wrap"]).period(Duration::from_secs(120)).uses(5);
    let token = bao.root().create_token(&periodic).await.unwrap();
    let found = bao
        .root()
        .with_token(&token)
        .call("GET", "auth/token/lookup-self", None)
        .await
        .unwrap();
    assert_eq!(found["data"]["period"], 120);
    assert_eq!(found["data"]["num_uses"], 4);

    let batch = Grant::of(["wrap"]).ttl(Duration::from_secs(60)).batch();
    let token = bao.root().create_token(&batch).await.unwrap();
    assert!(token.starts_with("b."));
    assert_eq!(encrypt(&bao.root().with_token(&token)).await.0, 200);
}

#[tokio::test]
async fn an_approle_logs_in_also_with_a_wrapped_secret() {
    let bao = Bao::start().await.unwrap();
    with_key(&bao).await;
    let root = bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let grant = Grant::of(["wrap"]);
    let role = root.create_approle("approle", "r", &grant).await.unwrap();
    let body = json!({"role_id": role.role_id, "secret_id": role.secret_id});
    let token = login(&bao, "auth/approle/login", body).await;
    assert_eq!(encrypt(&root.with_token(&token)).await.0, 200);

    let wrapped = root
        .wrapped_secret_id("approle", "r", Duration::from_secs(60))
        .await
        .unwrap();
    let unwrapped = root
        .with_token(&wrapped)
        .call("POST", "sys/wrapping/unwrap", None)
        .await
        .unwrap();
    let body = json!({"role_id": role.role_id, "secret_id": unwrapped["data"]["secret_id"]});
    login(&bao, "auth/approle/login", body).await;
}

#[tokio::test]
async fn a_token_of_the_configured_issuer_alone_logs_in() {
    for version in BaoVersion::selected().unwrap() {
        let bao = Bao::options().version(version).start().await.unwrap();
        with_key(&bao).await;
        let root = bao.root();
        let issuer = JwtIssuer::generate().unwrap();
        root.enable_auth("jwt", "jwt").await.unwrap();
        root.configure_jwt("jwt", &issuer).await.unwrap();
        root.create_jwt_role("jwt", "r", "openbao", "plugin", &Grant::of(["wrap"]))
            .await
            .unwrap();
        let minute = Duration::from_secs(60);
        let jwt = issuer.token("plugin", "openbao", minute).unwrap();
        let token = login(&bao, "auth/jwt/login", json!({"role": "r", "jwt": jwt})).await;
        assert_eq!(encrypt(&root.with_token(&token)).await.0, 200);

        let stranger = JwtIssuer::generate().unwrap();
        let jwt = stranger.token("plugin", "openbao", minute).unwrap();
        let (status, _) = root
            .with_token("")
            .request(
                "POST",
                "auth/jwt/login",
                Some(json!({"role": "r", "jwt": jwt})),
            )
            .await
            .unwrap();
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let bao = Bao::options().tls().start().await.unwrap();
    with_key(&bao).await;
    bao.root().enable_auth("cert", "cert").await.unwrap();
    bao.root()
        .create_cert_role("cert", "r", "plugin", &Grant::of(["wrap"]))
        .await
        .unwrap();
    let files = bao.client_certificate("plugin").unwrap();
    let mut identity = std::fs::read(&files.cert).unwrap();
    identity.extend(std::fs::read(&files.key).unwrap());
    let answer: Value = client_builder(bao.ca_file().unwrap())
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .build()
        .unwrap()
        .post(format!("{}/v1/auth/cert/login", bao.address()))
        .json(&json!({"name": "r"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = answer["auth"]["client_token"].as_str().unwrap();
    assert_eq!(encrypt(&bao.root().with_token(token)).await.0, 200);
}

#[tokio::test]
async fn a_namespace_has_its_own_mounts() {
    for version in BaoVersion::selected().unwrap() {
        let bao = Bao::options().version(version).start().await.unwrap();
        let team = bao.root().create_namespace("team").await.unwrap();
        let one = team.create_namespace("one").await.unwrap();
        assert_eq!(one.namespace(), "team/one");
        one.enable_transit("transit").await.unwrap();
        one.create_key("transit", "k").await.unwrap();
        assert_eq!(encrypt(&one).await.0, 200);
        assert_eq!(encrypt(&team).await.0, 404);
        assert_eq!(encrypt(bao.root()).await.0, 404);
    }
}

#[tokio::test]
async fn a_service_account_of_a_real_cluster_logs_in() {
    let etcd = Etcd::start().await.unwrap();
    let kube = ApiServer::options().start(&etcd).await.unwrap();
    for version in BaoVersion::selected().unwrap() {
        let bao = Bao::options().version(version).start().await.unwrap();
        with_key(&bao).await;
        let root = bao.root();
        root.enable_auth("kubernetes", "kubernetes").await.unwrap();
        root.configure_kubernetes("kubernetes", &kube)
            .await
            .unwrap();
        root.create_kubernetes_role(
            "kubernetes",
            "r",
            "default/plugin",
            "openbao",
            &Grant::of(["wrap"]),
        )
        .await
        .unwrap();
        let client = kube.client();
        client
            .ensure_service_account("default", "plugin")
            .await
            .unwrap();
        let jwt = client
            .service_account_token(
                "default",
                "plugin",
                Some("openbao"),
                Duration::from_secs(600),
            )
            .await
            .unwrap();
        let body = json!({"role": "r", "jwt": jwt});
        let token = login(&bao, "auth/kubernetes/login", body).await;
        assert_eq!(encrypt(&root.with_token(&token)).await.0, 200);
    }
}
