//! What lies in etcd, and that `kdc` reads it as the API server does.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use kdc_testbed::Resource;
use kdc_testbed::etcd::Row;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::fixture::{
    ControlPlane, PREFIX, RESOURCES, SOON, config_map, data, eventually, kdc, kms_v2_row,
    on_each_minor, random_letters, run, same_but_for_version, secret,
};

/// The most that the API takes in one object: 1 MiB of values.
const MAX_DATA: usize = 1 << 20;

/// Makes an object of a name and a value.
type MakeObject = fn(&str, &str) -> Value;

const KINDS: [(Resource, &str, MakeObject); 2] = [
    (Resource::SECRETS, "secrets", secret),
    (Resource::CONFIG_MAPS, "configmaps", config_map),
];

#[test]
fn objects_of_every_size_are_encrypted_and_open_to_exactly_what_was_stored() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start(minor).await;
        for (resource, plural, object) in KINDS {
            for size in [0, 1, 1 << 10, 64 << 10, MAX_DATA] {
                let value = random_letters(size);
                let name = format!("size-{size}");
                let created = control_plane
                    .client()
                    .create(resource, "default", &object(&name, &value))
                    .await
                    .unwrap();
                assert_eq!(data(&created), value);
                check_row(
                    &control_plane,
                    resource,
                    &control_plane.row(plural, &name).await,
                    &value,
                )
                .await;
            }
        }
    });
}

/// Opens a row in every way, and shows that the API takes what comes out for the object that was stored.
async fn check_row(control_plane: &ControlPlane, resource: Resource, row: &Row, value: &str) {
    assert!(row.value.starts_with(PREFIX), "{}", row.key);
    let opened = control_plane
        .open(&row.key, &control_plane.plugin.keyring)
        .done();
    assert!(opened.starts_with(b"k8s\0"), "{}", row.key);
    assert_nothing_shows(&opened, row);
    if !value.is_empty() {
        assert!(find(&opened, value.as_bytes()), "{}", row.key);
    }
    for from_file in open_from_files(control_plane, row) {
        assert!(from_file == opened, "{} from a file", row.key);
    }

    let name = row.key.rsplit('/').next().unwrap();
    let client = control_plane.client();
    let served = client.read(resource, "default", name).await.unwrap();
    assert_eq!(data(&served), value);
    let decoded: Value = serde_saphyr::from_slice(&decode(control_plane, &row.key)).unwrap();
    assert_eq!(decoded["data"], served["data"]);
    assert_eq!(decoded["kind"], served["kind"]);

    // The API server reads plaintext rows too: what we opened must be the same object to it.
    control_plane.etcd.put(&row.key, &opened).await.unwrap();
    let put_back = client.read(resource, "default", name).await.unwrap();
    assert!(same_but_for_version(&put_back, &served), "{}", row.key);
}

/// No 8 bytes of the object stand in its row.
fn assert_nothing_shows(object: &[u8], row: &Row) {
    let windows: HashSet<&[u8]> = object.windows(8).collect();
    let shown = row.value.windows(8).find(|window| windows.contains(window));
    let shown = shown.map(String::from_utf8_lossy);
    assert_eq!(shown, None, "plaintext in the row {}", row.key);
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// From etcdctl's JSON, which holds the key, and from the bare value.
fn open_from_files(control_plane: &ControlPlane, row: &Row) -> [Vec<u8>; 2] {
    let json = control_plane.folder().join("row.json");
    let printed = control_plane
        .etcd
        .etcdctl()
        .args(["get", &row.key, "-w", "json"])
        .output();
    fs::write(&json, printed.unwrap().stdout).unwrap();
    let raw = control_plane.folder().join("row.bin");
    fs::write(&raw, &row.value).unwrap();
    let open = |file: &Path, arguments: [&str; 2]| {
        let mut command = kdc();
        command.args(["value", "open"]).args(arguments);
        command.arg("--file").arg(file);
        run(command.arg("--keyring").arg(&control_plane.plugin.keyring)).done()
    };
    [
        open(&json, ["--format", "etcdctl-json"]),
        open(&raw, ["--etcd-key", &row.key]),
    ]
}

fn decode(control_plane: &ControlPlane, etcd_key: &str) -> Vec<u8> {
    let mut command = kdc();
    command.args(["value", "open", "--decode", "--etcd-key", etcd_key]);
    command.args(["--etcd-endpoints", control_plane.etcd.endpoint()]);
    run(command.arg("--keyring").arg(&control_plane.plugin.keyring)).done()
}

#[test]
fn more_than_the_api_takes_is_refused_and_not_stored() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::shared(minor).await;
        let too_large = secret("too-large", &random_letters(MAX_DATA + 1));
        let client = control_plane.client();
        let refused = client
            .create(Resource::SECRETS, "default", &too_large)
            .await;
        assert_eq!(refused.unwrap_err().status(), Some(422));
        let key = "/registry/secrets/default/too-large";
        assert_eq!(control_plane.etcd.row(key).await.unwrap(), None);
    });
}

#[test]
fn rows_that_kube_apiserver_writes_for_itself_are_encrypted_too() {
    const OWN: &str =
        "/registry/configmaps/kube-system/kube-apiserver-legacy-service-account-token-tracking";
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::shared(minor).await;
        let row = eventually("kube-apiserver writes its own row", SOON, async || {
            control_plane
                .etcd
                .row(OWN)
                .await
                .unwrap()
                .ok_or_else(|| "no such row".to_owned())
        })
        .await;
        let opened = control_plane
            .open(OWN, &control_plane.plugin.keyring)
            .done();
        assert_nothing_shows(&opened, &row);
        assert!(find(&opened, b"legacy-service-account-token-tracking"));
        for resource in RESOURCES {
            let prefix = format!("/registry/{resource}/");
            for row in control_plane.etcd.rows(&prefix).await.unwrap() {
                assert!(row.value.starts_with(PREFIX), "{}", row.key);
            }
        }
    });
}

#[test]
fn a_thousand_objects_share_one_wrapped_seed() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::shared(minor).await;
        let mut writers = JoinSet::new();
        for writer in 0..20 {
            let client = control_plane.client().clone();
            writers.spawn(async move {
                for number in 0..50 {
                    let object = secret(&format!("bulk-{writer}-{number}"), "x");
                    client
                        .create(Resource::SECRETS, "default", &object)
                        .await
                        .unwrap();
                }
            });
        }
        writers.join_all().await;
        let rows = control_plane
            .etcd
            .rows("/registry/secrets/default/bulk-")
            .await
            .unwrap();
        assert_eq!(rows.len(), 1000);
        let seeds: HashSet<&[u8]> = rows
            .iter()
            .map(|row| kms_v2_row(row).object.encrypted_dek_source)
            .collect();
        assert_eq!(seeds.len(), 1);
        let bodies: HashSet<&[u8]> = rows
            .iter()
            .map(|row| kms_v2_row(row).object.encrypted_data)
            .collect();
        assert_eq!(bodies.len(), 1000);
    });
}

/// What kube-apiserver stores outside its encrypted storage, whatever its configuration says.
const NEVER_ENCRYPTED: [&str; 4] = [
    "/registry/masterleases/",
    "/registry/peerserverleases/",
    "/registry/ranges/serviceips",
    "/registry/ranges/servicenodeports",
];

#[test]
fn a_wildcard_encrypts_every_row_but_the_documented_exceptions() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::start_for(minor, &["*.*"]).await;
        let object = secret("one", "x");
        control_plane
            .client()
            .create(Resource::SECRETS, "default", &object)
            .await
            .unwrap();
        let rows = eventually("all kinds of rows are there", SOON, async || {
            let rows = control_plane.etcd.rows("/registry/").await.unwrap();
            let kinds = [
                "masterleases",
                "secrets",
                "leases/kube-system",
                "clusterroles",
                "services",
            ];
            let missing = kinds.iter().find(|kind| {
                let prefix = format!("/registry/{kind}/");
                !rows.iter().any(|row| row.key.starts_with(&prefix))
            });
            missing.map_or(Ok(rows), |kind| Err(format!("no {kind}")))
        })
        .await;
        assert!(rows.len() > 100, "{} rows", rows.len());
        for row in rows {
            let is_exception = NEVER_ENCRYPTED
                .iter()
                .any(|prefix| row.key.starts_with(prefix));
            assert_eq!(row.value.starts_with(PREFIX), !is_exception, "{}", row.key);
        }
    });
}
