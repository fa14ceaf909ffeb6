//! A new version of the KEK: added, promoted, and taken over without a restart.

use kdc_testbed::Resource;
use sha2::{Digest, Sha256};

use crate::fixture::{
    PROVIDER, Plane, SOON, data, eventually, on_each_minor, readiness, secret, server_metric, sum,
};

/// How often a readiness check may be answered from the last one; a probed API server learns of a new key within it.
const STATUS_INTERVAL: u64 = 20;

#[test]
fn rows_keep_their_version_until_the_kek_rotates_and_then_change_once() {
    on_each_minor(async |minor| {
        let plane = Plane::start(minor).await;
        let client = plane.client();
        client
            .create(Resource::SECRETS, "default", &secret("one", "first"))
            .await
            .unwrap();
        client
            .create(Resource::SECRETS, "default", &secret("old", "kept"))
            .await
            .unwrap();
        let first = plane.write_unchanged("one").await.unwrap();
        assert_eq!(plane.write_unchanged("one").await.unwrap(), first);
        let first_key = key_id(&plane, "one");

        plane.plugin.keyring("add");
        eventually("the plugin has the new version", SOON, async || {
            reloads(&plane, 1.0).await
        })
        .await;
        readiness(client).await.unwrap();
        assert_eq!(
            plane.write_unchanged("one").await.unwrap(),
            first,
            "added, not promoted"
        );

        rotate_and_check(&plane, "one", &first, &first_key).await;
        assert_eq!(key_id(&plane, "old"), first_key, "nobody wrote it");
        assert_eq!(read(&plane, "old").await, "kept");
    });
}

/// Promotes, and waits until writing the Secret `name` as it is changes its row: once.
async fn rotate_and_check(plane: &Plane, name: &str, version: &str, key: &str) {
    plane.plugin.keyring("promote");
    let second = eventually("the row changes", SOON, async || {
        readiness(plane.client()).await?;
        let written = plane.write_unchanged(name).await.unwrap();
        if written == version {
            return Err("it is as before".to_owned());
        }
        Ok(written)
    })
    .await;
    assert_eq!(plane.write_unchanged(name).await.unwrap(), second);
    let new_key = key_id(plane, name);
    assert_ne!(new_key, key);
    assert_announced(plane, &new_key).await;
}

/// The API server's own metric says that Status named this key id, and that rows are written under it.
async fn assert_announced(plane: &Plane, key_id: &str) {
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
        let sample = server_metric(plane.client(), &name, &labels).await;
        assert!(
            sample.is_some_and(|seconds| seconds > 0.0),
            "{name} {labels:?}"
        );
    }
}

#[test]
fn rows_of_all_versions_are_read_after_rotations_and_restarts() {
    on_each_minor(async |minor| {
        let mut plane = Plane::start(minor).await;
        for name in ["zero", "one", "two"] {
            let created = plane
                .client()
                .create(Resource::SECRETS, "default", &secret(name, name))
                .await;
            created.unwrap();
            if name == "two" {
                break;
            }
            let before = plane.plugin.calls("encrypt").await;
            plane.plugin.keyring("add");
            plane.plugin.keyring("promote");
            eventually("the API server has a new seed", SOON, async || {
                readiness(plane.client()).await?;
                let now = plane.plugin.calls("encrypt").await;
                if now > before {
                    Ok(())
                } else {
                    Err(format!("{now} calls of Encrypt"))
                }
            })
            .await;
        }
        let keys = ["zero", "one", "two"].map(|name| key_id(&plane, name));
        assert!(
            keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2],
            "{keys:?}"
        );

        plane.plugin.stop().await;
        plane.plugin.start_again().await;
        plane.restart_server(plane.options()).await;
        for name in ["zero", "one", "two"] {
            assert_eq!(read(&plane, name).await, name);
            let opened = plane.open(
                &format!("/registry/secrets/default/{name}"),
                &plane.plugin.keyring,
            );
            opened.done();
        }
        // One call of Decrypt for each wrapped seed and kind of object at most, and at least one for each seed.
        let decrypts = plane.plugin.calls("decrypt").await;
        assert!(
            (3.0..=20.0).contains(&decrypts),
            "{decrypts} calls of Decrypt"
        );
    });
}

#[test]
fn readiness_probes_cost_one_status_per_20_seconds() {
    on_each_minor(async |minor| {
        let plane = Plane::start(minor).await;
        let start = std::time::Instant::now();
        let first = plane.plugin.calls("status").await;
        let probed = eventually("two more calls of Status", SOON * 2, async || {
            readiness(plane.client()).await?;
            let now = plane.plugin.calls("status").await - first;
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

async fn read(plane: &Plane, name: &str) -> String {
    data(
        &plane
            .client()
            .read(Resource::SECRETS, "default", name)
            .await
            .unwrap(),
    )
}

/// The key id in the row of a Secret, as `kdc` tells it.
fn key_id(plane: &Plane, name: &str) -> String {
    let inspected = plane.inspect(&format!("/registry/secrets/default/{name}"));
    inspected["keyId"].as_str().unwrap().to_owned()
}

/// Whether the plugin took over its keyring file at least so often.
async fn reloads(plane: &Plane, wanted: f64) -> Result<(), String> {
    let metrics = plane.plugin.metrics().await;
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
