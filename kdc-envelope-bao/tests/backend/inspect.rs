//! What the questions of those who explain answer, also when key and login are in different namespaces.

use std::time::Duration;

use kdc_envelope_bao::{
    BaoError, Client, CredentialError, LoginMethod, RoleId, Session, TransitKeyName, inspect,
};
use kdc_testbed::bao::{Bao, Caller, Grant, kms_plugin_policy};

use crate::fixture::{Files, KEY, SEED, config, each_version, server};

fn key() -> TransitKeyName {
    TransitKeyName::new("transit", KEY).unwrap()
}

fn approle(secret_id_file: std::path::PathBuf, role_id: &str, is_wrapped: bool) -> LoginMethod {
    LoginMethod::AppRole {
        mount: "approle".to_owned(),
        role_id: RoleId::Value(role_id.to_owned()),
        secret_id_file,
        is_wrapped,
    }
}

/// A session with a token of this grant.
async fn session(bao: &Bao, files: &Files, grant: &Grant) -> Session {
    let token = bao.root().create_token(grant).await.unwrap();
    let client = Client::new(config(&[bao.address()], None)).unwrap();
    let method = LoginMethod::TokenFile(files.put("token", &token));
    Session::new(client, method, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_tells_what_it_is_and_may_do() {
    for bao in each_version().await {
        let files = Files::new();
        let hour = Duration::from_secs(3_600);
        let limited = Grant::of(["kms"]).ttl(hour).explicit_max_ttl(2 * hour);
        let session = session(&bao, &files, &limited).await;
        let info = inspect::token(&session).await.unwrap();
        assert_eq!(info.policies, ["default", "kms"]);
        assert!(info.ttl.unwrap() <= hour && info.created > 0);
        assert_eq!(info.explicit_max_ttl, Some(2 * hour));
        assert!(info.is_renewable && !info.is_batch);
        assert_eq!((info.period, info.uses_left), (None, None));
        inspect::renew(&session).await.unwrap();
        let paths = ["transit/encrypt/etcd", "transit/keys/etcd/rotate"].map(str::to_owned);
        let granted = inspect::capabilities(&session, &paths).await.unwrap();
        assert_eq!(granted["transit/encrypt/etcd"], ["update"]);
        assert_eq!(granted["transit/keys/etcd/rotate"], ["deny"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_default_policy_a_token_must_not_ask() {
    let (bao, files) = (server(Bao::options()).await, Files::new());
    let lean = Grant::of(["kms"]).without_default_policy();
    let session = session(&bao, &files, &lean).await;
    let refused = inspect::capabilities(&session, &["x".to_owned()]).await;
    assert!(matches!(refused, Err(BaoError::Forbidden { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_encryption_and_one_decryption_are_bound() {
    for bao in each_version().await {
        let files = Files::new();
        let session = session(&bao, &files, &Grant::of(["kms"])).await;
        let found = inspect::key(&session, &key()).await.unwrap();
        assert_eq!(found.latest_version, 1);
        let sealed = inspect::encrypt(&session, &key(), &SEED, b"a")
            .await
            .unwrap();
        let opened = inspect::decrypt(&session, &key(), &sealed, b"a")
            .await
            .unwrap();
        assert_eq!(opened.expose(), SEED);
        let refused = inspect::decrypt(&session, &key(), &sealed, b"b").await;
        assert!(matches!(refused, Err(BaoError::Rejected { .. })));
    }
}

/// A namespace with a policy for the key of the namespace `team` within it, and an auth method.
async fn parent(bao: &Bao) -> Caller {
    let org = bao.root().create_namespace("org").await.unwrap();
    let team = org.create_namespace("team").await.unwrap();
    team.enable_transit("transit").await.unwrap();
    team.create_key("transit", KEY).await.unwrap();
    let policy = kms_plugin_policy(KEY).replace("\"transit/", "\"team/transit/")
        + "path \"team/sys/capabilities-self\" { capabilities = [\"update\"] }\n"
        + "path \"sys/capabilities-self\" { capabilities = [\"update\"] }\n";
    org.write_policy("kms", &policy).await.unwrap();
    org.enable_auth("approle", "approle").await.unwrap();
    org
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for_where_they_count() {
    let (bao, files) = (server(Bao::options()).await, Files::new());
    let org = parent(&bao).await;
    let lean = Grant::of(["kms"]).without_default_policy();
    let role = org.create_approle("approle", "kms", &lean).await.unwrap();
    let mut there = config(&[bao.address()], None);
    there.namespace = Some("org/team".parse().unwrap());
    let method = approle(files.put("secret", &role.secret_id), &role.role_id, false);
    let home = Some("org".parse().unwrap());
    let session = Session::new(Client::new(there).unwrap(), method, home);
    let paths = ["transit/encrypt/etcd", "auth/token/renew-self"].map(str::to_owned);
    let granted = inspect::capabilities(&session, &paths).await.unwrap();
    assert_eq!(granted["transit/encrypt/etcd"], ["update"]);
    assert_eq!(granted["auth/token/renew-self"], ["update"]);
    assert_eq!(inspect::token(&session).await.unwrap().policies, ["kms"]);
    inspect::renew(&session).await.unwrap();
    inspect::key(&session, &key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapping_token_and_a_mount_are_looked_at_without_a_login() {
    let (bao, files) = (server(Bao::options()).await, Files::new());
    let (root, minute) = (bao.root(), Duration::from_secs(60));
    root.enable_auth("approle", "approle").await.unwrap();
    let grant = Grant::of(["kms"]);
    let role = root.create_approle("approle", "kms", &grant).await.unwrap();
    let wrapping = root.wrapped_secret_id("approle", "kms", minute);
    let file = files.put("wrapped", &wrapping.await.unwrap());
    let client = Client::new(config(&[bao.address()], None)).unwrap();
    let session = Session::new(client, approle(file, &role.role_id, true), None);
    for _ in 0..2 {
        let found = inspect::wrapped_secret_id(&session).await.unwrap().unwrap();
        assert_eq!(found.creation_path, "auth/approle/role/kms/secret-id");
        assert_eq!(found.creation_ttl, 60);
    }
    session.log_in().await.unwrap();
    let used = inspect::wrapped_secret_id(&session).await.unwrap_err();
    let is_used = matches!(
        used,
        BaoError::Credential(CredentialError::WrappingTokenUsed { .. })
    );
    assert!(is_used, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_auth_mount_is_told_from_a_refused_login() {
    let (bao, files) = (server(Bao::options()).await, Files::new());
    bao.root().enable_auth("kubernetes", "here").await.unwrap();
    let at = |mount: &str| {
        let method = LoginMethod::Kubernetes {
            mount: mount.to_owned(),
            role: "r".to_owned(),
            token_file: files.put("jwt", "a.b.c"),
        };
        let client = Client::new(config(&[bao.address()], None)).unwrap();
        Session::new(client, method, None)
    };
    assert!(inspect::has_auth_mount(&at("here")).await.unwrap());
    assert!(!inspect::has_auth_mount(&at("nowhere")).await.unwrap());
}
