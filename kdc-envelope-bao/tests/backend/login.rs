//! Every way to log in, and what happens when a token ends.

use std::time::Duration;

use kdc_envelope::KeyEncryptionKey as _;
use kdc_envelope_bao::{
    BaoError, Client, ClientCertificateFiles, ClientConfig, LoginMethod, LoginPlace, RoleId,
    Session, TransitKek, TransitKeyName,
};
use kdc_testbed::bao::{Bao, Caller, Grant, JwtIssuer, kms_plugin_policy};
use kdc_testbed::proxy::Proxy;
use serde_json::json;

use crate::fixture::{
    Files, config, each_version, kek, opens, quick, server, within_ten_seconds, wrap,
};

fn grant() -> Grant {
    Grant::of(["kms"]).without_default_policy()
}

/// A key encryption key whose session and key are looked after.
fn watched(config: ClientConfig, method: LoginMethod) -> TransitKek {
    let mut options = quick();
    options.poll_interval = Duration::from_secs(2);
    let kek = kek(config, method, options);
    let (watching, session) = (kek.clone(), kek.session().clone());
    tokio::spawn(async move { tokio::join!(watching.watch(), session.maintain()) });
    kek
}

async fn healthy(kek: &TransitKek) {
    within_ten_seconds("healthy", async || kek.status().is_ok()).await;
}

fn approle(role_id: &str, secret_id_file: std::path::PathBuf, is_wrapped: bool) -> LoginMethod {
    LoginMethod::AppRole {
        mount: "approle".to_owned(),
        role_id: RoleId::Value(role_id.to_owned()),
        secret_id_file,
        is_wrapped,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approle_with_a_plain_and_with_a_wrapped_secret_id() {
    for bao in each_version().await {
        let files = Files::new();
        bao.root().enable_auth("approle", "approle").await.unwrap();
        let role = bao
            .root()
            .create_approle("approle", "kms", &grant())
            .await
            .unwrap();
        let secret = files.put("secret", &role.secret_id);
        let plain = kek(
            config(&[bao.address()], None),
            approle(&role.role_id, secret, false),
            quick(),
        );
        plain.connect().await.unwrap();
        assert!(opens(&plain, &wrap(&plain).await).await);

        let ttl = Duration::from_secs(60);
        let wrapping = bao
            .root()
            .wrapped_secret_id("approle", "kms", ttl)
            .await
            .unwrap();
        let file = files.put("wrapped", &wrapping);
        let wrapped = watched(
            config(&[bao.address()], None),
            approle(&role.role_id, file.clone(), true),
        );
        healthy(&wrapped).await;
        // The wrapping token is spent; the secret id is remembered for the next login.
        for accessor in tokens_of(bao.root(), "auth/approle/login").await {
            let body = json!({"accessor": accessor});
            bao.root()
                .call("POST", "auth/token/revoke-accessor", Some(body))
                .await
                .unwrap();
        }
        within_ten_seconds("a new login", async || {
            wrapped.session().status().logins == 2
        })
        .await;
        healthy(&wrapped).await;

        let second = kek(
            config(&[bao.address()], None),
            approle(&role.role_id, file, true),
            quick(),
        );
        let error = second.connect().await.unwrap_err().to_string();
        assert!(error.contains("was used before or has expired"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_from_a_file_that_is_replaced() {
    let bao = server(Bao::options()).await;
    let (files, issuer) = (Files::new(), JwtIssuer::generate().unwrap());
    let root = bao.root();
    root.enable_auth("jwt", "jwt").await.unwrap();
    root.configure_jwt("jwt", &issuer).await.unwrap();
    let short = grant()
        .ttl(Duration::from_secs(3))
        .explicit_max_ttl(Duration::from_secs(3));
    root.create_jwt_role("jwt", "kms", "openbao", "plugin", &short)
        .await
        .unwrap();
    let good = issuer
        .token("plugin", "openbao", Duration::from_secs(600))
        .unwrap();
    let token_file = files.put(
        "jwt",
        &issuer
            .token("nobody", "openbao", Duration::from_secs(600))
            .unwrap(),
    );
    let kek = watched(
        config(&[bao.address()], None),
        LoginMethod::Jwt {
            mount: "jwt".to_owned(),
            role: "kms".to_owned(),
            token_file,
        },
    );
    within_ten_seconds("refused", async || kek.session().status().failed_logins > 0).await;
    assert!(kek.status().is_err());
    files.put("jwt", &good);
    healthy(&kek).await;
    // Three seconds are the maximum: renewing does not help, only new logins do.
    within_ten_seconds("logged in again", async || {
        kek.session().status().logins >= 3
    })
    .await;
    assert!(opens(&kek, &wrap(&kek).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate() {
    let bao = server(Bao::options().tls()).await;
    bao.root().enable_auth("cert", "cert").await.unwrap();
    bao.root()
        .create_cert_role("cert", "kms", "plugin", &grant())
        .await
        .unwrap();
    let client = bao.client_certificate("plugin").unwrap();
    let mut config = config(&[bao.address()], bao.ca_file());
    config.tls.client = Some(ClientCertificateFiles::new(client.cert, client.key));
    let kek = kek(
        config,
        LoginMethod::Certificate {
            mount: "cert".to_owned(),
            role: "kms".to_owned(),
        },
        quick(),
    );
    kek.connect().await.unwrap();
    assert!(opens(&kek, &wrap(&kek).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_every_kind_are_kept_or_replaced() {
    let bao = server(Bao::options()).await;
    let root = bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let three = Duration::from_secs(3);
    for (name, grant) in [
        ("renewable", grant().ttl(three)),
        ("batch", grant().ttl(three).batch()),
        ("periodic", grant().period(three)),
    ] {
        let files = Files::new();
        let role = root.create_approle("approle", name, &grant).await.unwrap();
        let secret = files.put("secret", &role.secret_id);
        let kek = watched(
            config(&[bao.address()], None),
            approle(&role.role_id, secret, false),
        );
        healthy(&kek).await;
        within_ten_seconds(name, async || {
            let status = kek.session().status();
            status.renewals + status.logins >= 4
        })
        .await;
        let status = kek.session().status();
        assert_eq!(status.renewals == 0, name == "batch", "{name}: {status:?}");
        assert!(opens(&kek, &wrap(&kek).await).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_replaced_within_the_call() {
    let bao = server(Bao::options()).await;
    let (root, files) = (bao.root(), Files::new());
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "kms", &grant())
        .await
        .unwrap();
    let secret = files.put("secret", &role.secret_id);
    let kek = kek(
        config(&[bao.address()], None),
        approle(&role.role_id, secret, false),
        quick(),
    );
    kek.connect().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    root.call("POST", "sys/leases/revoke-prefix/auth/approle", None)
        .await
        .unwrap();
    let wrapped = wrap(&kek).await;
    assert!(opens(&kek, &wrapped).await);
    assert_eq!(kek.session().status().logins, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_is_followed_and_an_empty_or_missing_one_changes_nothing() {
    let bao = server(Bao::options()).await;
    let (root, files) = (bao.root(), Files::new());
    let first = root.create_token(&grant()).await.unwrap();
    let token_file = files.put("token", &first);
    let kek = watched(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token_file.clone()),
    );
    healthy(&kek).await;
    let wrapped = wrap(&kek).await;
    files.put("token", "");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(opens(&kek, &wrapped).await);
    std::fs::remove_file(&token_file).unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(opens(&kek, &wrapped).await);
    files.put("token", &root.create_token(&grant()).await.unwrap());
    within_ten_seconds("the new token", async || kek.session().status().logins == 2).await;
    let body = json!({"token": first});
    root.call("POST", "auth/token/revoke", Some(body))
        .await
        .unwrap();
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_in_the_file_does_not_take_a_good_one_away() {
    let bao = server(Bao::options()).await;
    let (root, files) = (bao.root(), Files::new());
    let first = root.create_token(&grant()).await.unwrap();
    let token_file = files.put("token", &first);
    let kek = watched(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token_file),
    );
    healthy(&kek).await;
    let status = || kek.session().status();
    let wrapped = wrap(&kek).await;

    files.put("token", "s.wrong");
    within_ten_seconds("it is tried", async || status().failed_logins > 0).await;
    assert!(opens(&kek, &wrapped).await);
    assert_eq!(status().logins, 1);

    // OpenBao knows this one, and it may do nothing with the key.
    let stranger = root.create_token(&Grant::of(["default"])).await.unwrap();
    files.put("token", &stranger);
    within_ten_seconds("it is accepted", async || status().logins == 2).await;
    assert!(opens(&kek, &wrapped).await);
    assert!(kek.status().is_ok());

    files.put("token", &root.create_token(&grant()).await.unwrap());
    within_ten_seconds("the right one", async || status().logins == 3).await;
    let body = json!({"token": first});
    root.call("POST", "auth/token/revoke", Some(body))
        .await
        .unwrap();
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_refused_at_once_count_as_logins_that_fail() {
    let bao = server(Bao::options()).await;
    let (root, files) = (bao.root(), Files::new());
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "kms", &grant())
        .await
        .unwrap();
    let bind = async |networks: serde_json::Value| {
        let body = json!({"token_bound_cidrs": networks});
        root.call("POST", "auth/approle/role/kms", Some(body))
            .await
            .unwrap();
    };
    bind(json!(["10.9.9.9/32"])).await;
    let secret = files.put("secret", &role.secret_id);
    let kek = watched(
        config(&[bao.address()], None),
        approle(&role.role_id, secret, false),
    );
    within_ten_seconds("it is named", async || {
        matches!(kek.connect().await, Err(BaoError::TokenRefused { .. }))
    })
    .await;
    let named = kek.connect().await.unwrap_err();
    let message = named.to_string();
    assert!(
        message.starts_with("OpenBao login (mount=approle role=")
            && message.contains("token_bound_cidrs"),
        "{message}"
    );
    let status = kek.session().status();
    assert!(status.failed_logins > 0 && status.logins <= 3, "{status:?}");
    bind(json!([])).await;
    healthy(&kek).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_another_one_replaces_is_given_back() {
    let bao = server(Bao::options()).await;
    let (root, files) = (bao.root(), Files::new());
    root.enable_auth("approle", "approle").await.unwrap();
    let six = Duration::from_secs(6);
    let short = grant().ttl(six).explicit_max_ttl(six);
    let role = root.create_approle("approle", "kms", &short).await.unwrap();
    let secret = files.put("secret", &role.secret_id);
    let proxy = Proxy::start(bao.address()).await.unwrap();
    let kek = watched(
        config(&[&proxy.address()], None),
        approle(&role.role_id, secret, false),
    );
    healthy(&kek).await;
    let first = tokens_of(root, "auth/approle/login").await;
    assert_eq!(first.len(), 1);
    within_ten_seconds("the former is given back", async || {
        proxy.counts().requests("POST /v1/auth/token/revoke-self") == 1
            && !tokens_of(root, "auth/approle/login")
                .await
                .contains(&first[0])
    })
    .await;
    assert_eq!(kek.session().status().logins, 2);
    healthy(&kek).await;
}

/// The accessors of the tokens that a path gave.
async fn tokens_of(root: &Caller, path: &str) -> Vec<String> {
    let all = root.call("LIST", "auth/token/accessors", None).await;
    let mut found = Vec::new();
    for accessor in all.unwrap()["data"]["keys"].as_array().unwrap() {
        let body = json!({"accessor": accessor});
        let token = root
            .call("POST", "auth/token/lookup-accessor", Some(body))
            .await;
        if token.is_ok_and(|token| token["data"]["path"] == path) {
            found.push(accessor.as_str().unwrap().to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auth_method_may_be_in_the_root_namespace_and_the_key_below() {
    let (bao, files) = (server(Bao::options()).await, Files::new());
    let root = bao.root();
    let org = root.create_namespace("org").await.unwrap();
    org.enable_transit("transit").await.unwrap();
    org.create_key("transit", "etcd").await.unwrap();
    let policy = kms_plugin_policy("etcd").replace("\"transit/", "\"org/transit/");
    root.write_policy("kms-org", &policy).await.unwrap();
    root.enable_auth("approle", "approle").await.unwrap();
    let lean = Grant::of(["kms-org"]).without_default_policy();
    let role = root.create_approle("approle", "kms", &lean).await.unwrap();
    let method = approle(&role.role_id, files.put("secret", &role.secret_id), false);
    let mut below = config(&[bao.address()], None);
    below.namespace = Some("org".parse().unwrap());
    let session = Session::new(Client::new(below).unwrap(), method, LoginPlace::Root);
    let key = TransitKeyName::new("transit", "etcd").unwrap();
    let kek = TransitKek::new(session, key, quick());
    kek.connect().await.unwrap();
    assert!(opens(&kek, &wrap(&kek).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_policy_is_told_apart_from_a_bad_token() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let token = bao
        .root()
        .create_token(&Grant::of(["default"]))
        .await
        .unwrap();
    let token_file = files.put("token", &token);
    let kek = kek(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token_file),
        quick(),
    );
    let denied = kek.connect().await.unwrap_err();
    assert!(matches!(denied, BaoError::Forbidden { .. }), "{denied:?}");
    let address = bao.address();
    assert_eq!(
        denied.to_string(),
        format!(
            "the policies of the token do not allow `GET` on `transit/keys/etcd` at {address}; grant `read`"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_id_does_not_lock_its_role_out() {
    // As OpenBao is by default: five wrong secret ids, and the right one is refused for a quarter of an hour.
    let bao = server(Bao::options()).await;
    let (root, files) = (bao.root(), Files::new());
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "kms", &grant())
        .await
        .unwrap();
    let secret = files.put("secret", "wrong");
    let kek = watched(
        config(&[bao.address()], None),
        approle(&role.role_id, secret, false),
    );
    let failed = || kek.session().status().failed_logins;
    // The quick ones.
    within_ten_seconds("three refusals", async || failed() == 3).await;
    within_ten_seconds("the last of them", async || failed() == 4).await;
    // As long as any of the pauses before, and more.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(failed(), 4);
    files.put("secret", &role.secret_id);
    healthy(&kek).await;
    assert_eq!(failed(), 4);
}
