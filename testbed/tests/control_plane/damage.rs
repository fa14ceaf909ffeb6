//! The wrong key, and rows that were moved or changed: refused by the API server and by `kdc`, with nothing lost.

use std::fs;

use kdc_testbed::etcd::Row;
use kdc_testbed::{ApiServer, Client, Resource};

use crate::fixture::{
    ControlPlane, Plugin, RECOVERY, SOON, data, eventually, keyring, kms_v2_row, on_each_minor,
    random_letters, readiness, secret, server_metric, sum, write_config,
};

#[test]
fn a_row_of_another_keyring_is_refused_by_key_id_and_opens_again_with_the_right_one() {
    on_each_minor(async |minor| {
        // kube-apiserver writes no Secret of its own: there is no row yet that the other one cannot read.
        let control_plane = ControlPlane::start_for(minor, &["secrets"]).await;
        let mut wrong = Plugin::start(control_plane.folder(), "wrong").await;
        let config = write_config(control_plane.folder(), "wrong", &["secrets"], &wrong.socket);
        let other = ApiServer::options().minor(minor).encryption_config(config);
        let other = other.start(&control_plane.etcd).await.unwrap();
        let value = random_letters(40);
        create(control_plane.client(), "one", &value).await;
        let row = control_plane.row("secrets", "one").await;
        let key_id = kms_v2_row(&row).object.key_id.to_owned();

        let (status, message) = refusal(other.client(), "one").await;
        assert_eq!(status, 500, "{message}");
        let fault = format!("key id `{key_id}` is unknown");
        assert!(message.contains(&fault), "{message}");
        let labels = [
            ("grpc_status_code", "NotFound"),
            ("method_name", "/v2.KeyManagementService/Decrypt"),
        ];
        let name = "apiserver_envelope_encryption_kms_operations_latency_seconds_count";
        assert!(server_metric(other.client(), name, &labels).await >= Some(1.0));
        let opened = control_plane.open(&row.key, &wrong.keyring);
        let (code, line) = opened.refusal();
        assert!(
            code == 1 && line.contains("another keyring"),
            "{code} {line}"
        );

        // Nothing is lost: neither to the server with the right key, nor to the other once it has it.
        assert_eq!(read(control_plane.client(), "one").await, value);
        assert_eq!(control_plane.row("secrets", "one").await, row);
        wrong.stop().await;
        fs::copy(&control_plane.plugin.keyring, &wrong.keyring).unwrap();
        wrong.start_again().await;
        eventually("it is read again", RECOVERY, async || {
            readiness(other.client()).await?;
            let object = other
                .client()
                .read(Resource::SECRETS, "default", "one")
                .await;
            object
                .map(|object| assert_eq!(data(&object), value))
                .map_err(|e| e.to_string())
        })
        .await;
    });
}

#[test]
fn a_keyring_swapped_under_a_running_plugin_is_not_taken_over() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "one", "value").await;
        let kept = control_plane.folder().join("kept");
        fs::rename(&control_plane.plugin.keyring, &kept).unwrap();
        keyring("init", &control_plane.plugin.keyring);
        eventually("the plugin refuses it", SOON, async || {
            let metrics = control_plane.plugin.metrics().await;
            let refused = [("result", "refused")];
            match sum(&metrics, "kdc_kms_keyring_reloads_total", &refused) {
                Some(count) if count >= 1.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        readiness(control_plane.client()).await.unwrap();
        create(control_plane.client(), "two", "value").await;
        control_plane
            .open("/registry/secrets/default/two", &kept)
            .done();
    });
}

#[test]
fn a_row_copied_to_another_key_does_not_open() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "one", "mine").await;
        create(control_plane.client(), "other", "theirs").await;
        let row = control_plane.row("secrets", "one").await;
        let other = control_plane.row("secrets", "other").await;
        control_plane
            .etcd
            .put(&other.key, &row.value)
            .await
            .unwrap();
        assert_refused(&control_plane, "other", &other).await;
        assert_eq!(read(control_plane.client(), "one").await, "mine");
        put_back(&control_plane, "other", &other, "theirs").await;
    });
}

#[test]
fn a_row_changed_by_one_bit_does_not_open() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "one", "mine").await;
        let row = control_plane.row("secrets", "one").await;
        let data = kms_v2_row(&row).object.encrypted_data;
        let start = row
            .value
            .windows(data.len())
            .position(|window| window == data)
            .unwrap();
        // In the info, the nonce, the ciphertext and the tag.
        for place in [0, 32, 44, data.len() - 1] {
            let mut changed = row.value.clone();
            changed[start + place] ^= 1;
            control_plane.etcd.put(&row.key, &changed).await.unwrap();
            assert_refused(&control_plane, "one", &row).await;
        }
        put_back(&control_plane, "one", &row, "mine").await;
    });
}

#[test]
fn a_row_with_a_changed_wrapped_seed_does_not_open() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "one", "mine").await;
        let row = control_plane.row("secrets", "one").await;
        let wrapped = kms_v2_row(&row).object.encrypted_dek_source.to_vec();
        let start = row
            .value
            .windows(wrapped.len())
            .position(|window| window == wrapped)
            .unwrap();
        let mut changed = row.value.clone();
        changed[start + wrapped.len() - 1] ^= 1;
        control_plane.etcd.put(&row.key, &changed).await.unwrap();
        let (status, message) = refusal(control_plane.client(), "one").await;
        assert!(
            status == 500 && message.contains("does not authenticate"),
            "{status} {message}"
        );
        let ran = control_plane.open(&row.key, &control_plane.plugin.keyring);
        let (code, line) = ran.refusal();
        assert!(
            code == 65 && line.contains("does not unwrap"),
            "{code} {line}"
        );
        put_back(&control_plane, "one", &row, "mine").await;
    });
}

async fn assert_refused(control_plane: &ControlPlane, name: &str, row: &Row) {
    let (status, message) = refusal(control_plane.client(), name).await;
    assert_eq!(status, 500, "{message}");
    let ran = control_plane.open(&row.key, &control_plane.plugin.keyring);
    let (code, line) = ran.refusal();
    assert_eq!(code, 65, "{line}");
    assert!(line.contains("does not belong to the etcd key"), "{line}");
}

/// Writes the original row back, and checks that it is read with its original value.
async fn put_back(control_plane: &ControlPlane, name: &str, row: &Row, value: &str) {
    control_plane.etcd.put(&row.key, &row.value).await.unwrap();
    assert_eq!(read(control_plane.client(), name).await, value);
    assert!(
        control_plane
            .open(&row.key, &control_plane.plugin.keyring)
            .done()
            .starts_with(b"k8s\0")
    );
}

async fn create(client: &Client, name: &str, value: &str) {
    client
        .create(Resource::SECRETS, "default", &secret(name, value))
        .await
        .unwrap();
}

async fn read(client: &Client, name: &str) -> String {
    data(
        &client
            .read(Resource::SECRETS, "default", name)
            .await
            .unwrap(),
    )
}

async fn refusal(client: &Client, name: &str) -> (u16, String) {
    let error = client
        .read(Resource::SECRETS, "default", name)
        .await
        .unwrap_err();
    (error.status().unwrap(), error.to_string())
}
