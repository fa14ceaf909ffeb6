//! Two API servers on one etcd.

use std::fs;

use kdc_testbed::{ApiServer, Client, Resource};
use serde_json::Value;

use crate::fixture::{
    ControlPlane, Plugin, PluginOptions, RESOURCES, SOON, data, eventually, on_each_minor,
    readiness, secret, write_config,
};

#[test]
fn api_servers_that_share_a_plugin_read_what_the_other_wrote() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::shared(minor).await;
        let second = control_plane
            .options()
            .start(&control_plane.etcd)
            .await
            .unwrap();
        assert_shared(control_plane.client(), second.client(), "shared-plugin").await;
    });
}

#[test]
fn api_servers_with_a_plugin_each_on_copies_of_a_keyring_read_what_the_other_wrote() {
    on_each_minor(async |minor| {
        let (control_plane, second, _plugin) = two_plugins(minor).await;
        assert_shared(control_plane.client(), second.client(), "two-plugins").await;
    });
}

#[test]
fn a_version_is_promoted_on_one_plugin_before_the_other_without_a_failed_read() {
    on_each_minor(async |minor| {
        let (control_plane, second, other_plugin) = two_plugins(minor).await;
        control_plane.plugin.keyring("add");
        fs::copy(&control_plane.plugin.keyring, &other_plugin.keyring).unwrap();
        wait_for_version(&other_plugin, "added").await;
        control_plane.plugin.keyring("promote");
        let before = control_plane.plugin.calls("encrypt").await;
        eventually("the first API server has a new seed", SOON, async || {
            readiness(control_plane.client()).await?;
            let calls = control_plane.plugin.calls("encrypt").await;
            if calls > before {
                Ok(())
            } else {
                Err("none".to_owned())
            }
        })
        .await;
        assert_shared(control_plane.client(), second.client(), "promoted").await;
        let row = control_plane.inspect("/registry/secrets/default/promoted-0");
        let other = control_plane.inspect("/registry/secrets/default/promoted-1");
        assert_ne!(
            row["keyId"], other["keyId"],
            "they write under different versions"
        );
    });
}

/// The plugin has taken its file over; it logs so once.
async fn wait_for_version(plugin: &Plugin, what: &str) {
    eventually(what, SOON, async || {
        let log = plugin.log();
        if log.contains("key file reloaded") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}

/// A control plane, and a second API server with a plugin of its own on a copy of the keyring.
async fn two_plugins(minor: kdc_testbed::KubeMinor) -> (ControlPlane, ApiServer, Plugin) {
    let control_plane = ControlPlane::start(minor).await;
    let copy = control_plane.folder().join("copy.keyring");
    fs::copy(&control_plane.plugin.keyring, &copy).unwrap();
    let options = PluginOptions::new(control_plane.folder(), "copy");
    let plugin = Plugin::start_on(options, copy).await;
    let config = write_config(control_plane.folder(), "copy", &RESOURCES, &plugin.socket);
    let second = ApiServer::options().minor(minor).encryption_config(config);
    let second = second.start(&control_plane.etcd).await.unwrap();
    (control_plane, second, plugin)
}

/// Both create, and both read and change what the other created.
async fn assert_shared(first: &Client, second: &Client, name: &str) {
    for (number, (writer, reader)) in [(first, second), (second, first)].into_iter().enumerate() {
        let name = format!("{name}-{number}");
        create(writer, &secret(&name, "written")).await;
        assert_eq!(read(reader, &name).await, "written");
        let mut object = reader
            .read(Resource::SECRETS, "default", &name)
            .await
            .unwrap();
        object["data"]["value"] = secret(&name, "changed")["data"]["value"].clone();
        reader
            .replace(Resource::SECRETS, "default", &object)
            .await
            .unwrap();
        assert_eq!(read(writer, &name).await, "changed");
    }
    for client in [first, second] {
        let list = client.list(Resource::SECRETS, "default").await.unwrap();
        let named = |object: &&Value| {
            object["metadata"]["name"]
                .as_str()
                .unwrap()
                .starts_with(name)
        };
        let count = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(named)
            .count();
        assert_eq!(count, 2);
    }
    // The one that changed it wrote the row: now each is under the key of the one that created it.
    for (number, writer) in [first, second].into_iter().enumerate() {
        let name = format!("{name}-{number}");
        let mut object = writer
            .read(Resource::SECRETS, "default", &name)
            .await
            .unwrap();
        object["data"]["value"] = secret(&name, "own")["data"]["value"].clone();
        writer
            .replace(Resource::SECRETS, "default", &object)
            .await
            .unwrap();
    }
}

async fn create(client: &Client, object: &Value) {
    client
        .create(Resource::SECRETS, "default", object)
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
