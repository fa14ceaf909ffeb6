//! What an API server says about its providers, by health checks and metrics.

use std::fs;
use std::path::Path;

use kdc_testbed::{ApiServer, Etcd, Resource};
use serde_json::{Value, json};

use crate::fixture::{
    ControlPlane, PREFIX, PROVIDER, Plugin, PluginOptions, RESOURCES, SOON, config_map, eventually,
    keyring, on_each_minor, random_letters, readiness, secret, server_metric, sum, write_config,
};

#[test]
fn the_health_of_each_of_two_providers_is_reported() {
    on_each_minor(async |minor| {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Etcd::start().await.unwrap();
        let one = Plugin::start(folder.path(), "one").await;
        let mut two = Plugin::start(folder.path(), "two").await;
        let config = folder.path().join("encryption.yaml");
        fs::write(&config, two_providers(&one.socket, &two.socket)).unwrap();
        let server = ApiServer::options().minor(minor).encryption_config(config);
        let server = server.start(&etcd).await.unwrap();
        let client = server.client();
        two.kill().await;
        let complaint = eventually("readiness fails", SOON, async || {
            readiness(client)
                .await
                .err()
                .ok_or_else(|| "ready".to_owned())
        })
        .await;
        assert!(complaint.contains("kms-provider-1"), "{complaint}");
        assert!(!complaint.contains("kms-provider-0"), "{complaint}");
        client
            .create(Resource::SECRETS, "default", &secret("one", "x"))
            .await
            .unwrap();
        let row = etcd
            .row("/registry/secrets/default/one")
            .await
            .unwrap()
            .unwrap();
        assert!(row.value.starts_with(b"k8s:enc:kms:v2:one:"));
        client
            .create(Resource::CONFIG_MAPS, "default", &config_map("two", "x"))
            .await
            .unwrap();
        let row = etcd
            .row("/registry/configmaps/default/two")
            .await
            .unwrap()
            .unwrap();
        assert!(row.value.starts_with(b"k8s:enc:kms:v2:two:"));
    });
}

/// Secrets under provider `one`, ConfigMaps under `two`.
fn two_providers(one: &Path, two: &Path) -> String {
    let entry = |resource: &str, name: &str, socket: &Path| -> Value {
        let endpoint = format!("unix://{}", socket.display());
        let kms = json!({"kms": {"apiVersion": "v2", "name": name, "endpoint": endpoint}});
        json!({"resources": [resource], "providers": [kms, {"identity": {}}]})
    };
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [entry("secrets", "one", one), entry("configmaps", "two", two)],
    })
    .to_string()
}

#[test]
fn an_abstract_socket_serves_an_api_server() {
    on_each_minor(async |minor| {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Etcd::start().await.unwrap();
        let name = format!("@kdc-testbed-{}", random_letters(16));
        let file = folder.path().join("keyring");
        keyring("init", &file);
        let options = PluginOptions::new(folder.path(), "plugin").socket(&name);
        let plugin = Plugin::start_on(options, file).await;
        let endpoint = Path::new("/").join(&name);
        let config = write_config(folder.path(), "encryption", &RESOURCES, &endpoint);
        let server = ApiServer::options().minor(minor).encryption_config(config);
        let server = server.start(&etcd).await.unwrap();
        let client = server.client();
        client
            .create(Resource::SECRETS, "default", &secret("one", "x"))
            .await
            .unwrap();
        let row = etcd
            .row("/registry/secrets/default/one")
            .await
            .unwrap()
            .unwrap();
        assert!(row.value.starts_with(PREFIX));
        assert!(plugin.calls("encrypt").await >= 1.0);
    });
}

#[test]
fn every_call_is_counted_by_method_and_status_on_both_sides() {
    on_each_minor(async |minor| {
        let control_plane = ControlPlane::shared(minor).await;
        // Its start costs a Decrypt for each seed that it meets.
        control_plane
            .client()
            .create(Resource::SECRETS, "default", &secret("counted", "x"))
            .await
            .unwrap();
        let second = control_plane
            .options()
            .start(&control_plane.etcd)
            .await
            .unwrap();
        second
            .client()
            .read(Resource::SECRETS, "default", "counted")
            .await
            .unwrap();
        for rpc in ["Status", "Encrypt", "Decrypt"] {
            let method = format!("/v2.KeyManagementService/{rpc}");
            let labels = [
                ("method_name", method.as_str()),
                ("grpc_status_code", "OK"),
                ("provider_name", PROVIDER),
            ];
            let name = "apiserver_envelope_encryption_kms_operations_latency_seconds_count";
            let asked = server_metric(second.client(), name, &labels).await;
            assert!(asked >= Some(1.0), "{rpc} asked {asked:?} times");
            let answered = control_plane.plugin.calls(&rpc.to_lowercase()).await;
            assert!(
                answered >= asked.unwrap(),
                "{rpc} answered {answered} times"
            );
        }
        let metrics = control_plane.plugin.metrics().await;
        let all = sum(&metrics, "kdc_kms_rpcs_total", &[]);
        let good = sum(&metrics, "kdc_kms_rpcs_total", &[("code", "ok")]);
        assert_eq!(all, good, "only good calls:\n{metrics}");
    });
}
