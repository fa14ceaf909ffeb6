//! A new version of the KEK: added, promoted, and taken over without a restart.

use kdc_testbed::Resource;
use sha2::{Digest, Sha256};

use crate::fixture::{
    ControlPlane, PROVIDER, SOON, data, eventually, on_each_minor, readiness, secret,
    server_metric, sum,
};

/// How often a readiness check may be answered from the last one; a probed API server learns of a new key within it.
const STATUS_INTERVAL: u64 = 20;

#[test]
fn rows_keep_their_version_until_the_kek_rotates_and_then_change_once() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        let client = control_plane.client();
        client
            .create(Resource::SECRETS, "default", &secret("one", "first"))
            .await
            .unwrap();
        client
            .create(Resource::SECRETS, "default", &secret("old", "kept"))
            .await
            .unwrap();
        let first = control_plane.write_unchanged("one").await.unwrap();
        assert_eq!(control_plane.write_unchanged("one").await.unwrap(), first);
        let first_key = key_id(&control_plane, "one");

        control_plane.plugin.keyring("add");
        eventually("the plugin has the new version", SOON, async || {
            reloads(&control_plane, 1.0).await
        })
        .await;
        readiness(client).await.unwrap();
        assert_eq!(
            control_plane.write_unchanged("one").await.unwrap(),
            first,
            "added, not promoted"
        );

        rotate_and_check(&control_plane, "one", &first, &first_key).await;
        assert_eq!(
            key_id(&control_plane, "old"),
            first_key,
            "it was not written"
        );
        assert_eq!(read(&control_plane, "old").await, "kept");
    });
}

/// Promotes, and waits until writing the Secret `name` as it is changes its row: once.
async fn rotate_and_check(control_plane: &ControlPlane, name: &str, version: &str, key: &str) {
    control_plane.plugin.keyring("promote");
    let second = eventually("the row changes", SOON, async || {
        readiness(control_plane.client()).await?;
        let written = control_plane.write_unchanged(name).await.unwrap();
        if written == version {
            return Err("it is as before".to_owned());
        }
        Ok(written)
    })
    .await;
    assert_eq!(control_plane.write_unchanged(name).await.unwrap(), second);
    let new_key = key_id(control_plane, name);
    assert_ne!(new_key, key);
    assert_announced(control_plane, &new_key).await;
}

/// The API server's own metric says that Status named this key id, and that rows are written under it.
async fn assert_announced(control_plane: &ControlPlane, key_id: &str) {
    let hash = format!("sha256:{}", hex::encode(Sha256::digest(key_id)));
    let labels = [("provider_name", PROVIDER), ("key_id_hash", &hash)];
    let prefix = "apiserver_envelope_encryption_key_id_hash";
    for (name, labels) in [
        ("status_last_timestamp_seconds", labels.to_vec()),
        (
            "last_timestamp_seconds",
            [&labels[..], &[("transformation_type", "to_storage")]].concat(),
        ),
    ] {
        let name = format!("{prefix}_{name}");
        let sample = server_metric(control_plane.client(), &name, &labels).await;
        assert!(
            sample.is_some_and(|seconds| seconds > 0.0),
            "{name} {labels:?}"
        );
    }
}

#[test]
fn rows_of_all_versions_are_read_after_rotations_and_restarts() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        for name in ["zero", "one", "two"] {
            let created = control_plane
                .client()
                .create(Resource::SECRETS, "default", &secret(name, name))
                .await;
            created.unwrap();
            if name == "two" {
                break;
            }
            let before = control_plane.plugin.calls("encrypt").await;
            control_plane.plugin.keyring("add");
            control_plane.plugin.keyring("promote");
            eventually("the API server has a new seed", SOON, async || {
                readiness(control_plane.client()).await?;
                let now = control_plane.plugin.calls("encrypt").await;
                if now > before {
                    Ok(())
                } else {
                    Err(format!("{now} calls of Encrypt"))
                }
            })
            .await;
        }
        let keys = ["zero", "one", "two"].map(|name| key_id(&control_plane, name));
        assert!(
            keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2],
            "{keys:?}"
        );

        control_plane.plugin.stop().await;
        control_plane.plugin.start_again().await;
        let options = control_plane.options();
        control_plane.restart_server(options).await;
        for name in ["zero", "one", "two"] {
            assert_eq!(read(&control_plane, name).await, name);
            let opened = control_plane.open(
                &format!("/registry/secrets/default/{name}"),
                &control_plane.plugin.keyring,
            );
            opened.done();
        }
        // One call of Decrypt for each wrapped seed and kind of object at most, and at least one for each seed.
        let decrypts = control_plane.plugin.calls("decrypt").await;
        assert!(
            (3.0..=20.0).contains(&decrypts),
            "{decrypts} calls of Decrypt"
        );
    });
}

#[test]
fn readiness_probes_cost_one_status_per_20_seconds() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        let start = std::time::Instant::now();
        let first = control_plane.plugin.calls("status").await;
        let probed = eventually("two more calls of Status", SOON * 2, async || {
            readiness(control_plane.client()).await?;
            let now = control_plane.plugin.calls("status").await - first;
            if now >= 2.0 {
                Ok(start.elapsed().as_secs())
            } else {
                Err(format!("{now}"))
            }
        })
        .await;
        // The first of the two may come at once.
        assert!(
            (STATUS_INTERVAL - 1..=2 * STATUS_INTERVAL + 5).contains(&probed),
            "{probed} s"
        );
    });
}

async fn read(control_plane: &ControlPlane, name: &str) -> String {
    data(
        &control_plane
            .client()
            .read(Resource::SECRETS, "default", name)
            .await
            .unwrap(),
    )
}

/// The key id in the row of a Secret, as `kdc` tells it.
fn key_id(control_plane: &ControlPlane, name: &str) -> String {
    let inspected = control_plane.inspect(&format!("/registry/secrets/default/{name}"));
    inspected["keyId"].as_str().unwrap().to_owned()
}

/// Whether the plugin took over its keyring file at least so often.
async fn reloads(control_plane: &ControlPlane, wanted: f64) -> Result<(), String> {
    let metrics = control_plane.plugin.metrics().await;
    let taken = sum(
        &metrics,
        "kdc_kms_keyring_reloads_total",
        &[("result", "ok")],
    );
    if taken >= Some(wanted) {
        Ok(())
    } else {
        Err(format!("reloads: {taken:?}"))
    }
}
