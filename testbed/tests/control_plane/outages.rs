//! The plugin is killed, hangs, loses its socket, or comes after the API server.

use std::time::Duration;

use kdc_testbed::process::Signal;
use kdc_testbed::{ApiServer, Client, Etcd, Resource};
use tokio::net::UnixStream;

use crate::fixture::{
    ControlPlane, PREFIX, Plugin, RECOVERY, RESOURCES, SOON, data, eventually, on_each_minor,
    readiness, secret, server_metric, sum, write_config,
};

/// A result counts for 20 s, and the check that finds the plugin gone takes 3 s.
const NOTICE: Duration = Duration::from_secs(60);

/// Writing ends 3 minutes after the last good check.
const WRITE_WINDOW: Duration = Duration::from_secs(240);

/// Set to 1, a plugin that is down stays so until the API server writes no more, which takes 3 minutes.
const SLOW: &str = "KDC_TESTBED_SLOW";

#[test]
fn a_killed_plugin_stops_neither_reading_nor_writing_and_takes_its_stale_socket_over() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "before").await.unwrap();
        let version = control_plane.write_unchanged("before").await.unwrap();
        control_plane.plugin.kill().await;
        assert!(
            control_plane.plugin.socket.exists(),
            "a stale socket is what this is about"
        );
        assert!(
            UnixStream::connect(&control_plane.plugin.socket)
                .await
                .is_err()
        );

        assert_eq!(
            read(control_plane.client(), "before").await.unwrap(),
            "before"
        );
        create(control_plane.client(), "meanwhile").await.unwrap();
        let complaint = eventually("readiness fails", NOTICE, async || {
            unready(control_plane.client()).await
        })
        .await;
        assert!(complaint.contains("kms-provider-0"), "{complaint}");
        create(control_plane.client(), "unready").await.unwrap();
        if std::env::var(SLOW).is_ok_and(|value| value == "1") {
            wait_until_writing_ends(control_plane.client()).await;
        }
        assert_eq!(
            read(control_plane.client(), "before").await.unwrap(),
            "before"
        );

        control_plane.plugin.start_again().await;
        wait_until_ready(control_plane.client()).await;
        create(control_plane.client(), "after").await.unwrap();
        for name in ["before", "meanwhile", "unready", "after"] {
            assert_eq!(read(control_plane.client(), name).await.unwrap(), name);
        }
        assert_eq!(
            control_plane.write_unchanged("before").await.unwrap(),
            version
        );
        assert_eq!(
            control_plane.plugin.calls("encrypt").await,
            0.0,
            "the key is the same, so is the seed"
        );
    });
}

/// Only writing ends; what says so names the reason.
async fn wait_until_writing_ends(client: &Client) {
    let mut written = 0;
    let refusal = eventually("writing ends", WRITE_WINDOW, async || {
        let name = format!("window-{written}");
        match create(client, &name).await {
            Err(error) => Ok(error),
            Ok(()) => {
                written += 1;
                Err(format!("{written} more were written"))
            }
        }
    })
    .await;
    assert!(
        refusal.contains("500") && refusal.contains("expired at"),
        "{refusal}"
    );
}

#[test]
fn a_hung_plugin_costs_readiness_until_it_goes_on() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "before").await.unwrap();
        control_plane.plugin.signal(Signal::STOP);
        let complaint = eventually("readiness fails", NOTICE, async || {
            unready(control_plane.client()).await
        })
        .await;
        assert!(complaint.contains("DeadlineExceeded"), "{complaint}");
        let labels = [
            ("grpc_status_code", "DeadlineExceeded"),
            ("method_name", "/v2.KeyManagementService/Status"),
            ("provider_name", "kdc"),
        ];
        let name = "apiserver_envelope_encryption_kms_operations_latency_seconds_count";
        assert!(server_metric(control_plane.client(), name, &labels).await >= Some(1.0));
        assert_eq!(
            read(control_plane.client(), "before").await.unwrap(),
            "before"
        );
        control_plane.plugin.signal(Signal::CONT);
        wait_until_ready(control_plane.client()).await;
        create(control_plane.client(), "after").await.unwrap();
    });
}

#[test]
fn a_read_that_needs_the_plugin_waits_for_its_restart() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start_for(minor, &["secrets"]).await;
        let second = control_plane
            .options()
            .start(&control_plane.etcd)
            .await
            .unwrap();
        control_plane.plugin.kill().await;
        // The other API server has never seen the seed of this one.
        create(control_plane.client(), "one").await.unwrap();
        let client = second.client().clone();
        let waiting = tokio::spawn(async move { read(&client, "one").await });
        // Reading takes a few milliseconds where the plugin is not needed.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished(), "it does not need the plugin");
        control_plane.plugin.start_again().await;
        assert_eq!(waiting.await.unwrap().unwrap(), "one");
    });
}

#[test]
fn a_socket_that_is_removed_comes_back_and_serves_the_next_api_server() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "before").await.unwrap();
        std::fs::remove_file(&control_plane.plugin.socket).unwrap();
        eventually("the socket is there again", SOON, async || {
            let connected = UnixStream::connect(&control_plane.plugin.socket).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
        let metrics = control_plane.plugin.metrics().await;
        assert_eq!(
            sum(&metrics, "kdc_kms_socket_recreations_total", &[]),
            Some(1.0)
        );
        readiness(control_plane.client()).await.unwrap();

        let options = control_plane.options();
        control_plane.restart_server(options).await;
        assert_eq!(
            read(control_plane.client(), "before").await.unwrap(),
            "before"
        );
        create(control_plane.client(), "after").await.unwrap();
    });
}

#[test]
fn an_api_server_that_starts_first_is_not_ready_until_its_plugin_comes() {
    on_each_minor(async |minor| {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Etcd::start().await.unwrap();
        let socket = folder.path().join("plugin.sock");
        let config = write_config(folder.path(), "encryption", &RESOURCES, &socket);
        let options = ApiServer::options().minor(minor).encryption_config(config);
        let server = options.until_live().start(&etcd).await.unwrap();
        let client = server.client();
        let complaint = unready(client).await.unwrap();
        assert!(complaint.contains("kms-provider-0"), "{complaint}");
        let refusal = create(client, "early").await.unwrap_err();
        assert!(
            refusal.contains("500") && refusal.contains("nil transformer"),
            "{refusal}"
        );

        let plugin = Plugin::start(folder.path(), "plugin").await;
        wait_until_ready(client).await;
        create(client, "early").await.unwrap();
        assert_eq!(read(client, "early").await.unwrap(), "early");
        let rows = etcd.rows("/registry/secrets/").await.unwrap();
        assert!(rows.iter().all(|row| row.value.starts_with(PREFIX)));
        assert!(plugin.calls("encrypt").await >= 1.0);
    });
}

#[test]
fn an_api_server_restarted_without_its_plugin_refuses_at_once_and_loses_nothing() {
    on_each_minor(async |minor| {
        let mut control_plane = ControlPlane::start(minor).await;
        create(control_plane.client(), "before").await.unwrap();
        let row = control_plane.row("secrets", "before").await;
        control_plane.plugin.stop().await;
        assert!(
            !control_plane.plugin.socket.exists(),
            "a plugin that is stopped takes its socket along"
        );
        let options = control_plane.options().until_answering();
        control_plane.restart_server(options).await;

        let refusal = eventually("a refusal", SOON, async || {
            let refusal = create(control_plane.client(), "early").await.unwrap_err();
            if refusal.contains("nil transformer") {
                Ok(())
            } else {
                Err(refusal)
            }
        });
        refusal.await;
        assert!(read(control_plane.client(), "before").await.is_err());
        assert_eq!(control_plane.row("secrets", "before").await, row);

        control_plane.plugin.start_again().await;
        wait_until_ready(control_plane.client()).await;
        assert_eq!(
            read(control_plane.client(), "before").await.unwrap(),
            "before"
        );
        create(control_plane.client(), "after").await.unwrap();
        assert_eq!(control_plane.row("secrets", "before").await, row);
    });
}

async fn wait_until_ready(client: &Client) {
    eventually("ready again", RECOVERY, async || readiness(client).await).await;
}

/// What `/readyz` complains about; an error while it is well.
async fn unready(client: &Client) -> Result<String, String> {
    match readiness(client).await {
        Ok(()) => Err("ready".to_owned()),
        Err(complaint) => Ok(complaint),
    }
}

async fn create(client: &Client, name: &str) -> Result<(), String> {
    let created = client
        .create(Resource::SECRETS, "default", &secret(name, name))
        .await;
    created.map(drop).map_err(|error| error.to_string())
}

async fn read(client: &Client, name: &str) -> Result<String, String> {
    let object = client.read(Resource::SECRETS, "default", name).await;
    object
        .map(|object| data(&object))
        .map_err(|error| error.to_string())
}
