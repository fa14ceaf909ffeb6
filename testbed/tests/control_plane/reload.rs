//! The EncryptionConfiguration changes while API servers run, and is migrated through.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kdc_testbed::encryption_config::with_providers;
use kdc_testbed::{ApiServer, Client, Etcd, KubeMinor, Resource};
use serde_json::{Value, json};

use crate::fixture::{
    PREFIX, PROVIDER, Plugin, RESOURCES, data, eventually, on_each_minor, resource_version, secret,
    server_metric, write_config,
};

/// kube-apiserver looks at its file once a minute.
const RELOAD: Duration = Duration::from_secs(150);

/// How an administrator may replace a file.
type Replace = fn(&Path, &str);

const WAYS: [(&str, Replace); 3] = [
    ("truncate", |file, text| fs::write(file, text).unwrap()),
    ("delete-and-create", |file, text| {
        fs::remove_file(file).unwrap();
        fs::write(file, text).unwrap();
    }),
    ("rename", |file, text| {
        let new = file.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, file).unwrap();
    }),
];

#[test]
fn encryption_is_switched_on_by_reload_and_plaintext_off_after_migration() {
    on_each_minor(async |minor| {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Etcd::start().await.unwrap();
        let plugin = Plugin::start(folder.path(), "plugin").await;
        let identity = with_providers(&RESOURCES, &[json!({"identity": {}})]);
        let mut servers = Vec::new();
        for (way, replace) in WAYS {
            let config = folder.path().join(format!("{way}.yaml"));
            fs::write(&config, &identity).unwrap();
            let server = start(minor, config.clone(), &etcd).await;
            servers.push((way, replace, config, server));
        }
        create(servers[0].3.client(), "before").await;
        assert!(
            etcd.row(&key("before"))
                .await
                .unwrap()
                .unwrap()
                .value
                .starts_with(b"k8s\0")
        );

        let encrypted = fs::read_to_string(write_config(
            folder.path(),
            "target",
            &RESOURCES,
            &plugin.socket,
        ));
        let encrypted = encrypted.unwrap();
        for (_, replace, config, _) in &servers {
            replace(config, &encrypted);
        }
        for (way, _, _, server) in &servers {
            wait_until_encrypting(way, server.client(), &etcd).await;
            assert_eq!(read(server.client(), "before").await, "before");
        }

        migrate(servers[0].3.client(), &etcd).await;
        let kms_alone: Value = serde_json::from_str(&encrypted).unwrap();
        let kms = kms_alone["resources"][0]["providers"][0].clone();
        assert_eq!(kms["kms"]["name"], PROVIDER);
        let (_, replace, config, mut server) = servers.remove(0);
        replace(&config, &with_providers(&RESOURCES, &[kms]));
        server.process().kill().await.unwrap();
        let server = start(minor, config, &etcd).await;
        for name in ["before", "truncate-0", "delete-and-create-0", "rename-0"] {
            read(server.client(), name).await;
        }
        let second = servers[0].3.client();
        create(server.client(), "after").await;
        assert_eq!(read(second, "after").await, "after");
    });
}

async fn start(minor: KubeMinor, config: PathBuf, etcd: &Etcd) -> ApiServer {
    let options = ApiServer::options().minor(minor).encryption_config(config);
    options.automatic_reload().start(etcd).await.unwrap()
}

/// Creates Secrets until one is encrypted.
async fn wait_until_encrypting(way: &str, client: &Client, etcd: &Etcd) {
    let mut number = 0;
    eventually(way, RELOAD, async || {
        let name = format!("{way}-{number}");
        number += 1;
        create(client, &name).await;
        let row = etcd.row(&key(&name)).await.unwrap().unwrap();
        if row.value.starts_with(PREFIX) {
            Ok(())
        } else {
            Err("plaintext".to_owned())
        }
    })
    .await;
    let name = "apiserver_encryption_config_controller_automatic_reloads_total";
    assert!(
        server_metric(client, name, &[("status", "success")]).await >= Some(1.0),
        "{way}"
    );
    let failed = server_metric(client, name, &[("status", "failure")]).await;
    assert!(failed.unwrap_or_default() < 1.0, "{way}: a reload failed");
}

/// Writes every Secret and ConfigMap as it is, which encrypts those that are not yet.
async fn migrate(client: &Client, etcd: &Etcd) {
    for resource in [Resource::SECRETS, Resource::CONFIG_MAPS] {
        let list = client.list(resource, "").await.unwrap();
        for item in list["items"].as_array().unwrap() {
            let namespace = item["metadata"]["namespace"].as_str().unwrap();
            let written = client.replace(resource, namespace, item).await.unwrap();
            let again = client.replace(resource, namespace, &written).await.unwrap();
            assert_eq!(resource_version(&again), resource_version(&written));
        }
    }
    for resource in RESOURCES {
        for row in etcd.rows(&format!("/registry/{resource}/")).await.unwrap() {
            assert!(row.value.starts_with(PREFIX), "{}", row.key);
        }
    }
}

fn key(name: &str) -> String {
    format!("/registry/secrets/default/{name}")
}

async fn create(client: &Client, name: &str) {
    client
        .create(Resource::SECRETS, "default", &secret(name, name))
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
