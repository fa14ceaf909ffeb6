//! Refused logins: OpenBao's few words, and what they mean.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kdc_testbed::bao::{AppRole, Bao, Caller, JwtIssuer};
use serde_json::{Value, json};

use super::fixture::{Diagnosis, Patient, grant, on, server};

const HOUR: Duration = Duration::from_secs(3_600);

async fn approle(bao: &Bao) -> AppRole {
    let root = bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    root.create_approle("approle", "kms", &grant())
        .await
        .unwrap()
}

fn with_approle(bao: &Bao, role_id: &str, secret_id: &str, more: &[&str]) -> Diagnosis {
    let mut patient = Patient::new();
    let file = patient.secret("secret-id", secret_id);
    let login = [
        ["--bao-auth", "approle"],
        ["--bao-role-id", role_id],
        ["--bao-secret-id-file", file.to_str().unwrap()],
    ];
    patient.examine(&on(bao.address(), &[&login.concat(), more].concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn approle_with_a_bad_secret_id_or_mount() {
    let bao = server(Bao::options()).await;
    let role = approle(&bao).await;
    let (id, secret) = (&role.role_id, &role.secret_id);
    with_approle(&bao, id, secret, &[])
        .passes("login", "good for 23h")
        .only(&[]);
    for (id, secret) in [
        (id.as_str(), "6a1c1f3a-0000-4000-8000-000000000000"),
        ("r", secret),
    ] {
        with_approle(&bao, id, secret, &[])
            .fails("login", "unknown, expired or used up", "-field=secret_id")
            .skips("token", "there was no login");
    }
    let cure = "bao auth enable -path=elsewhere approle";
    with_approle(&bao, id, secret, &["--bao-auth-mount", "elsewhere"]).fails(
        "login",
        "No auth method is mounted at `elsewhere`",
        cure,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_secret_id_is_looked_at_and_not_used_up() {
    let bao = server(Bao::options()).await;
    let (root, role) = (bao.root(), approle(&bao).await);
    let wrapped = root.wrapped_secret_id("approle", "kms", HOUR);
    let wrapped = wrapped.await.unwrap();
    let examine = |token: &str| {
        let is_wrapped = ["--bao-secret-id-wrapped"];
        with_approle(&bao, &role.role_id, token, &is_wrapped)
    };
    let words = "is still wrapped, by `auth/approle/role/kms/secret-id`";
    examine(&wrapped)
        .skips("login", words)
        .skips("wrap", "would use up the wrapped secret id")
        .only(&[]);
    let opened = root.with_token(&wrapped);
    let opened = opened.call("POST", "sys/wrapping/unwrap", None);
    opened.await.unwrap();
    examine(&wrapped).fails("login", "was used before or has expired", "wrap a new one");
    let foreign = root.call_wrapped("GET", "transit/keys/etcd", None, HOUR);
    let foreign = foreign.await.unwrap();
    let foreign = foreign["wrap_info"]["token"].as_str().unwrap();
    examine(foreign).fails(
        "login",
        "it was made by `transit/keys/etcd`",
        "find out who",
    );
}

fn with_jwt(bao: &Bao, jwt: &str, role: &str) -> Diagnosis {
    let mut patient = Patient::new();
    let file = patient.secret("jwt", jwt);
    let login = [
        ["--bao-auth", "jwt"],
        ["--bao-jwt-file", file.to_str().unwrap()],
        ["--bao-role", role],
    ];
    patient.examine(&on(bao.address(), &login.concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_by_each_claim() {
    let bao = server(Bao::options()).await;
    let root = bao.root();
    let issuer = JwtIssuer::generate().unwrap();
    let good = issuer.token("plugin", "openbao", HOUR).unwrap();
    root.enable_auth("jwt", "jwt").await.unwrap();
    let words = "does not know whom to trust yet";
    with_jwt(&bao, &good, "kms").fails("login", words, "auth/jwt/config");
    root.configure_jwt("jwt", &issuer).await.unwrap();
    root.create_jwt_role("jwt", "kms", "openbao", "plugin", &grant())
        .await
        .unwrap();
    with_jwt(&bao, &good, "kms")
        .passes("jwt", "`plugin`, audience `openbao`, good for")
        .only(&[]);
    with_jwt(&bao, &good, "nobody").fails("login", "There is no role `nobody`", "--bao-role");
    let stranger = JwtIssuer::generate().unwrap();
    let claims = |iss: &str, exp: u64| {
        let claims = json!({"iss": iss, "sub": "plugin", "aud": "openbao", "iat": 1, "exp": exp});
        issuer.sign(&claims).unwrap()
    };
    let (late, elsewhere) = (
        claims(JwtIssuer::NAME, 1_000_000),
        claims("https://other.test", 4_000_000_000),
    );
    let of = |issuer: &JwtIssuer, subject, audience| issuer.token(subject, audience, HOUR).unwrap();
    for (jwt, detail, cure) in [
        (
            of(&issuer, "plugin", "vault"),
            "for audience `vault`",
            "set `audience`",
        ),
        (
            of(&issuer, "nobody", "openbao"),
            "not for `nobody`",
            "bound_subject",
        ),
        (
            of(&stranger, "plugin", "openbao"),
            "not signed by a key that is trusted",
            "issuer",
        ),
        (elsewhere, "issuer `https://other.test`", "bound_issuer"),
        (
            late.clone(),
            "The token in the file has expired",
            "projected token",
        ),
    ] {
        with_jwt(&bao, &jwt, "kms").fails("login", detail, cure);
    }
    with_jwt(&bao, &late, "kms").fails("jwt", "expired", "projected token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_not_sent() {
    let bao = server(Bao::options()).await;
    with_jwt(&bao, "not.a token", "kms")
        .fails("login-files", "one word", "replace its content")
        .skips("login", "cannot be read");
    for text in ["nodots", "e30.###.c2ln", "e30.bm8.c2ln"] {
        with_jwt(&bao, text, "kms")
            .fails("jwt", "", "the token of a service account")
            .skips("login", "cannot be read");
    }
}

/// A token that says what it likes; the signature is for the Kubernetes API to check.
fn unsigned(namespace: &str, name: &str, audience: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "aud": [audience],
        "iat": 1, "nbf": 1, "exp": 4_000_000_000u64,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "u"}},
    });
    format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(claims))
}

/// The method asks a Kubernetes API that is not there.
async fn configure_kubernetes(root: &Caller, authority: &str) {
    let nobody = json!({
        "kubernetes_host": "https://127.0.0.1:1",
        "kubernetes_ca_cert": authority,
        "disable_local_ca_jwt": true,
    });
    root.call("POST", "auth/k8s-host/config", Some(nobody))
        .await
        .unwrap();
}

fn with_service_account(bao: &Bao, jwt: &str) -> Diagnosis {
    let mut patient = Patient::new();
    let file = patient.secret("jwt", jwt);
    let arguments = [
        ["--bao-address", bao.address()],
        ["--bao-ca-file", bao.ca_file().unwrap().to_str().unwrap()],
        ["--bao-jwt-file", file.to_str().unwrap()],
        ["--bao-role", "tcp-prod"],
        ["--bao-key", "etcd"],
    ];
    patient.examine(&arguments.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_by_role_account_audience_and_review() {
    let bao = server(Bao::options().tls()).await;
    let root = bao.root();
    let good = unsigned("acme", "plugin", "openbao");
    let refused = |words: &str, cure: &str| {
        with_service_account(&bao, &good).fails("login", words, cure);
    };
    refused("No auth method is mounted at `k8s-host`", "kubernetes");
    root.enable_auth("kubernetes", "k8s-host").await.unwrap();
    refused("There is no role `tcp-prod`", "bao list auth/k8s-host/role");
    root.create_kubernetes_role("k8s-host", "tcp-prod", "acme/plugin", "openbao", &grant())
        .await
        .unwrap();
    refused(
        "does not know its Kubernetes API yet",
        "auth/k8s-host/config",
    );
    let authority = std::fs::read_to_string(bao.ca_file().unwrap()).unwrap();
    configure_kubernetes(root, &authority).await;
    refused("Its TokenReview failed", "system:auth-delegator");
    for (jwt, detail, cure) in [
        (
            unsigned("acme", "other", "openbao"),
            "service account `acme/other`",
            "bound_service_account_names=other",
        ),
        (
            unsigned("other", "plugin", "openbao"),
            "namespace of service account `other/plugin`",
            "bound_service_account_namespaces=other",
        ),
        (
            unsigned("acme", "plugin", "api"),
            "for audience `api`",
            "set `audience`",
        ),
    ] {
        with_service_account(&bao, &jwt).fails("login", detail, cure);
    }
}
