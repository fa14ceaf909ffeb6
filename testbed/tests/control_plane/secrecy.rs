//! Logs, messages, arguments and environment of our programs show nothing that must stay secret.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kdc_envelope::kmsv2::seed_aad;
use kdc_envelope::local::{LocalKek, keyring_file};
use kdc_envelope::{Aad, KeyEncryptionKey as _};
use kdc_testbed::Resource;
use kdc_testbed::etcd::Row;

use crate::fixture::{
    ControlPlane, Plugin, PluginOptions, RESOURCES, Ran, kdc, kms_v2_row, on_each_minor,
    random_letters, run, secret, write_config,
};

#[test]
fn no_key_seed_or_value_shows_in_logs_messages_arguments_or_environment() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        control_plane.plugin.stop().await;
        let keyring = control_plane.plugin.keyring.clone();
        let options = PluginOptions::new(control_plane.folder(), "traced");
        let options = options.arguments(["--log-level", "trace"]);
        control_plane.plugin = Plugin::start_on(options, keyring).await;
        let config = write_config(
            control_plane.folder(),
            "traced",
            &RESOURCES,
            &control_plane.plugin.socket,
        );
        let options = control_plane.options().encryption_config(config);
        control_plane.restart_server(options.clone()).await;
        let value = random_letters(48);
        let object = secret("one", &value);
        control_plane
            .client()
            .create(Resource::SECRETS, "default", &object)
            .await
            .unwrap();
        control_plane.plugin.keyring("add");
        control_plane.restart_server(options).await;
        control_plane
            .client()
            .read(Resource::SECRETS, "default", "one")
            .await
            .unwrap();
        let row = control_plane.row("secrets", "one").await;
        break_a_row(&control_plane, &row).await;

        let mut secrets = keys_of(&control_plane.plugin.keyring);
        assert_eq!(secrets.len(), 2);
        secrets.push(seed_of(&row, &control_plane.plugin.keyring).await);
        secrets.push(value.into_bytes());
        let mut texts = kdc_output(&control_plane, &row);
        texts.push((
            "the log of kms-plugin",
            control_plane.plugin.log().into_bytes(),
        ));
        for part in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{part}", control_plane.plugin.pid());
            texts.push((part, fs::read(path).unwrap()));
        }
        let log = control_plane.plugin.log();
        for line in [
            "\"TRACE\"",
            "unwrapped",
            "wrapped",
            "refused",
            "key file reloaded",
        ] {
            assert!(log.contains(line), "the log has no {line}");
        }
        for secret in &secrets {
            for (place, text) in &texts {
                assert!(!shows(text, secret), "{place} shows a secret");
            }
        }
    });
}

/// Makes the plugin refuse a call and log why.
async fn break_a_row(control_plane: &ControlPlane, row: &Row) {
    let wrapped = kms_v2_row(row).object.encrypted_dek_source;
    let start = row
        .value
        .windows(wrapped.len())
        .position(|window| window == wrapped)
        .unwrap();
    let mut changed = row.value.clone();
    changed[start + wrapped.len() - 1] ^= 1;
    let key = "/registry/secrets/default/broken";
    control_plane.etcd.put(key, &changed).await.unwrap();
    control_plane
        .client()
        .read(Resource::SECRETS, "default", "broken")
        .await
        .unwrap_err();
}

/// The keys in the text of a keyring.
fn keys_of(keyring: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(keyring).unwrap();
    text.lines()
        .filter(|line| line.starts_with("version "))
        .map(|line| BASE64.decode(line.rsplit(' ').next().unwrap()).unwrap())
        .inspect(|key| assert_eq!(key.len(), 32))
        .collect()
}

/// The seed that the API server used for a row.
async fn seed_of(row: &Row, keyring: &Path) -> Vec<u8> {
    let kek = LocalKek::new(keyring_file::load(keyring).unwrap()).unwrap();
    let wrapped = kms_v2_row(row).object.wrapped_key().unwrap();
    let aad = seed_aad("");
    kek.unwrap(&wrapped, Aad::new(&aad))
        .await
        .unwrap()
        .expose()
        .to_vec()
}

/// What `kdc` prints, except for the object that it is asked for.
fn kdc_output(control_plane: &ControlPlane, row: &Row) -> Vec<(&'static str, Vec<u8>)> {
    let keyring = &control_plane.plugin.keyring;
    let etcd = ["--etcd-endpoints", control_plane.etcd.endpoint()];
    let both = |ran: Ran| [ran.stdout, ran.stderr.into_bytes()].concat();
    let opened = control_plane.open(&row.key, keyring);
    let broken = control_plane.open("/registry/secrets/default/broken", keyring);
    vec![
        (
            "keyring list",
            both(run(kdc().args(["keyring", "list"]).arg(keyring))),
        ),
        (
            "keyring verify",
            both(run(kdc().args(["keyring", "verify"]).arg(keyring))),
        ),
        (
            "keyring promote",
            both(run(kdc().args(["keyring", "promote"]).arg(keyring))),
        ),
        (
            "value inspect",
            both(run(kdc()
                .args(["value", "inspect", "--etcd-key", &row.key])
                .args(etcd))),
        ),
        (
            "value open, of a good row, to standard error",
            opened.stderr.into_bytes(),
        ),
        ("value open, of a broken row", both(broken)),
    ]
}

/// Whether `text` holds `secret`, or 12 bytes from its middle, raw or in a form that programs print bytes in.
fn shows(text: &[u8], secret: &[u8]) -> bool {
    let part = &secret[secret.len() / 2 - 6..secret.len() / 2 + 6];
    let lower = hex::encode(part);
    let list: Vec<String> = part.iter().map(u8::to_string).collect();
    let mut forms = vec![
        part.to_vec(),
        lower.to_uppercase().into_bytes(),
        lower.into_bytes(),
        list.join(", ").into_bytes(),
        list.join(",").into_bytes(),
        part.escape_ascii().to_string().into_bytes(),
    ];
    // In base64 the digits depend on where in the encoded text the part begins. Those at its ends also depend on
    // what stands beside it, so they do not count.
    for (offset, skipped) in [(0, 0), (1, 2), (2, 3)] {
        let digits = BASE64.encode([&vec![0; offset], part].concat());
        let digits = &digits[skipped..skipped + 12];
        forms.push(digits.as_bytes().to_vec());
        forms.push(digits.replace('+', "-").replace('/', "_").into_bytes());
    }
    forms
        .iter()
        .any(|form| text.windows(form.len()).any(|window| window == form))
}

#[test]
fn the_hunt_finds_a_secret_in_every_form() {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).unwrap();
    let around = |secret: &[u8]| [&b"before"[..], secret, &b"after"[..]].concat();
    assert!(shows(&around(&secret), &secret));
    assert!(shows(&around(hex::encode(secret).as_bytes()), &secret));
    assert!(shows(
        &around(hex::encode_upper(secret).as_bytes()),
        &secret
    ));
    assert!(shows(&around(format!("{secret:?}").as_bytes()), &secret));
    assert!(shows(
        &around(secret.escape_ascii().to_string().as_bytes()),
        &secret
    ));
    for offset in 0..6 {
        let text = BASE64.encode(around(&[&vec![7; offset][..], &secret].concat()));
        assert!(shows(text.as_bytes(), &secret), "at {offset}");
    }
    let mut other = [0; 32];
    getrandom::fill(&mut other).unwrap();
    assert!(!shows(&around(&other), &secret));
}
