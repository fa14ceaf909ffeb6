//! Tokens that may too little or too much, keys that do not fit, and OpenBao's own doings.

use std::time::Duration;

use kdc_testbed::bao::{Bao, Caller, Grant};
use serde_json::{Value, json};

use super::fixture::{
    KEY, Patient, RIGHTS, grant, line, on, policy_without, server, token, token_file, too_open,
};

async fn token_of(root: &Caller, policy: &str, grant: fn(Grant) -> Grant) -> String {
    root.write_policy("case", policy).await.unwrap();
    let long = Grant::of(["case"]).period(Duration::from_secs(86_400));
    token(root, &grant(long)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_is_named_with_the_line_to_add() {
    let bao = server(Bao::options()).await;
    let mut patient = Patient::new();
    let checks = [
        "may-encrypt",
        "may-decrypt",
        "may-read-key",
        "may-renew",
        "may-look-up",
    ];
    for ((path, capability), check) in RIGHTS.into_iter().zip(checks) {
        let lean = token_of(
            bao.root(),
            &policy_without(path),
            Grant::without_default_policy,
        )
        .await;
        let found = patient.with_token(bao.address(), &lean, &[]);
        let cure = format!("add to its policy: {}", line(path, capability).trim());
        found.fails(check, &format!("do not grant `{capability}`"), &cure);
        // Without the key nothing can be tried, as a misspelt one would be made.
        found.only(&[check]);
    }
    // With the policy `default` OpenBao tells; it grants the last two itself.
    for ((path, capability), check) in RIGHTS.into_iter().zip(checks).take(3) {
        let telling = token_of(bao.root(), &policy_without(path), |grant| grant).await;
        let found = patient.with_token(bao.address(), &telling, &[]);
        let cure = line(path, capability);
        found
            .fails(check, "do not grant", cure.trim())
            .only(&[check]);
        found.warns("default-policy", "about half", "-no-default-policy");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_the_plugin_does_not_need_are_warned_of() {
    let bao = server(Bao::options()).await;
    let (root, address) = (bao.root(), bao.address());
    let mut patient = Patient::new();
    let check = "may-too-much";
    for (path, capability, words) in [
        (
            "transit/encrypt/etcd",
            "create",
            "a misspelt name makes a new key (`create`",
        ),
        ("transit/keys/etcd/rotate", "update", "rotate the key"),
        ("transit/keys/etcd/config", "update", "configure the key"),
        (
            "transit/keys/etcd",
            "delete",
            "make or delete the key (`delete`",
        ),
        (
            "transit/export/encryption-key/etcd",
            "read",
            "export the key",
        ),
        ("transit/backup/etcd", "read", "as a backup"),
        ("transit/decrypt/+", "update", "use other keys"),
        ("sys/policies/acl/*", "update", "change policies"),
    ] {
        let policy = policy_without("") + &line(path, capability);
        let greedy = token_of(root, &policy, |grant| grant).await;
        let found = patient.with_token(address, &greedy, &[]);
        found.warns(check, words, "take it out of the policy");
    }
    let all = bao.root_token().to_owned();
    patient
        .with_token(address, &all, &[])
        .warns(check, "the token is root", "make a token")
        .warns("token", "it never ends", "period");
}

async fn configure(root: &Caller, key: &str, config: Value) {
    let path = format!("transit/keys/{key}/config");
    root.call("POST", &path, Some(config)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_rotate_one_key_are_warned_of() {
    let bao = server(Bao::options()).await;
    let (root, address) = (bao.root(), bao.address());
    let mut patient = Patient::new();
    configure(root, KEY, json!({"auto_rotate_period": "24h"})).await;
    let rotator = policy_without("") + &line("transit/keys/etcd/rotate", "update");
    let rotator = token_of(root, &rotator, |grant| grant).await;
    let check = "key-rotation";
    patient.with_token(address, &rotator, &[]).warns(
        check,
        "this token may rotate it too",
        "auto_rotate_period=0",
    );
    let good = token(root, &grant()).await;
    patient
        .with_token(address, &good, &[])
        .passes(check, "every 1day");
    patient
        .with_token(address, &good, &["--bao-hold", "24h"])
        .warns(check, "no version gets old enough", "rotate less often");
}

/// Makes keys that are each unfit or unwise in one way.
async fn make_odd_keys(root: &Caller) {
    for (name, properties) in [
        ("rsa", json!({"type": "rsa-2048"})),
        ("derived", json!({"derived": true})),
        ("exportable", json!({"exportable": true})),
        ("backup", json!({"allow_plaintext_backup": true})),
        ("small", json!({"type": "aes128-gcm96"})),
        ("deletable", json!({})),
        ("old", json!({})),
        ("gone", json!({})),
    ] {
        let path = format!("transit/keys/{name}");
        root.call("POST", &path, Some(properties)).await.unwrap();
    }
    configure(root, "deletable", json!({"deletion_allowed": true})).await;
    root.rotate_key("transit", "old").await.unwrap();
    configure(root, "old", json!({"min_decryption_version": 2})).await;
    let deleted = root.call("DELETE", "transit/keys/gone/soft-delete", None);
    deleted.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_are_told_apart() {
    let bao = server(Bao::options()).await;
    make_odd_keys(bao.root()).await;
    let (address, root_token) = (bao.address(), bao.root_token().to_owned());
    let mut patient = Patient::new();
    let mut of =
        |setting: &str, value: &str| patient.with_token(address, &root_token, &[setting, value]);
    for (key, detail, cure) in [
        ("rsa", "authenticates no associated data", "aes256-gcm96"),
        ("derived", "it is derived", "make one with derived=false"),
        ("gone", "it is deleted", "soft-delete-restore"),
    ] {
        of("--bao-key", key).fails("key-type", detail, cure);
    }
    for (key, check, detail, cure) in [
        (
            "exportable",
            "key-safety",
            "it is exportable",
            "make another key",
        ),
        (
            "backup",
            "key-safety",
            "plaintext backups",
            "make another key",
        ),
        ("small", "key-safety", "128 bits", "aes256-gcm96"),
        (
            "deletable",
            "key-safety",
            "it may be deleted",
            "deletion_allowed=false",
        ),
        (
            "old",
            "key-versions",
            "newest is 2, 2 and newer",
            "min_decryption_version=1",
        ),
    ] {
        of("--bao-key", key).warns(check, detail, cure).only(&[]);
    }
    of("--bao-key", "missing")
        .fails(
            "key",
            "there is no such key",
            "bao write -f transit/keys/missing",
        )
        .skips("wrap", "there is nothing to try it with");
    let cure = "bao secrets enable -path=elsewhere";
    of("--bao-mount", "elsewhere").fails("key", "nothing is mounted at `elsewhere`", cure);
    let words = "The namespace does not exist";
    of("--bao-namespace", "nowhere").fails("login", words, "--bao-namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_are_told_apart_from_those_that_are_none() {
    let bao = server(Bao::options()).await;
    let (root, address) = (bao.root(), bao.address());
    let mut patient = Patient::new();
    let lean = || Grant::of(["kms"]).without_default_policy();
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let expired = token(root, &lean().ttl(second)).await;
    let limited = token(root, &lean().ttl(hour).explicit_max_ttl(2 * hour)).await;
    let counted = token(root, &lean().ttl(hour).uses(50)).await;
    let batch = token(root, &lean().ttl(hour).batch()).await;
    patient.with_token(address, &limited, &[]).warns(
        "token",
        "no renewal reaches beyond its maximum",
        "period",
    );
    patient
        .with_token(address, &counted, &[])
        .fails("token", "it ends after 4", "num_uses");
    patient
        .with_token(address, &batch, &[])
        .warns("token", "the file must hold another one", "period")
        .skips("may-renew", "not renewable");
    tokio::time::sleep(2 * second).await;
    for gone in [expired.as_str(), "s.thistokenwasneverissued1"] {
        let found = patient.with_token(address, gone, &[]);
        found
            .fails(
                "login",
                "The token is unknown, expired or revoked",
                "write a new token",
            )
            .skips("may-encrypt", "there was no login")
            .only(&["login"]);
    }

    let good = token(root, &grant()).await;
    let file = patient.secret("open", &good);
    too_open(&file);
    let found = patient.examine(&on(address, &token_file(&file)));
    found
        .fails("login-files", "has mode 0644, open to others", "chmod 600")
        .skips("login", "cannot be read")
        .only(&["login-files"]);
    let missing = patient.fixture.path("missing");
    let found = patient.examine(&on(address, &token_file(&missing)));
    found.fails("login-files", "No such file", "create it");
    let empty = patient.file("empty", "\n");
    let found = patient.examine(&on(address, &token_file(&empty)));
    found.fails("login-files", "is empty", "write the credential into it");
}
