//! What real API servers show of their configuration in their metrics, and that we understand it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{
    Chain, KmsProvider, LocalKey, LocalProvider, Transformer,
};
use kdc_envelope_k8s::rotation::metrics::ServerMetrics;
use kdc_envelope_k8s::rotation::{ConfigHash, NodeFile, Timestamp};
use kdc_envelope_k8s::{GroupResource, Layout};
use kdc_testbed::{ApiServer, Etcd, KubeMinor, oracle};
use sha2::{Digest as _, Sha256};

const LIMIT: Duration = Duration::from_secs(60);

/// A KMS v2 plugin that writes, and a local key that reads.
fn layout(socket: &str) -> Layout {
    let name = ProviderName::new("plugin").unwrap();
    let endpoint = format!("unix://{socket}");
    let kms = KmsProvider::v2(&name, endpoint, Duration::from_secs(3));
    let name = KeyName::new("a").unwrap();
    let key = LocalKey::new(LocalProvider::Aesgcm, name, SecretBytes::new(vec![7; 32])).unwrap();
    let chain = Chain::new(Transformer::Kms(Arc::new(kms)), [Transformer::Local(key)]);
    let names = ["secrets", "configmaps", "*.apps"].map(GroupResource::from_text);
    names
        .into_iter()
        .map(|name| (name, chain.clone()))
        .collect()
}

#[tokio::test]
async fn the_metrics_of_an_api_server_tell_what_it_has_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, path) = (
        folder.path().join("kms.sock"),
        folder.path().join("config.yaml"),
    );
    let log = folder.path().join("plugin.log");
    let _plugin = oracle::serve(&socket, false, &log).await.unwrap();
    let layout = layout(socket.to_str().unwrap());
    let text = layout.render().unwrap();
    std::fs::write(&path, text.as_bytes()).unwrap();
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = NodeFile::written_at(
        ConfigHash::new(Sha256::digest(text.as_bytes()).into()),
        Arc::new(layout),
        Timestamp::from_secs(written.duration_since(UNIX_EPOCH).unwrap().as_secs() - 1),
    );
    for minor in KubeMinor::selected().unwrap() {
        let etcd = Etcd::start().await.unwrap();
        let options = ApiServer::options().minor(minor).encryption_config(&path);
        let server = options.automatic_reload().start(&etcd).await.unwrap();
        let metrics = scrape_with_key_id(&server).await;
        let loaded = metrics
            .loaded(&file, minor.number(), file.settled_at)
            .unwrap();
        assert_eq!(loaded.hash, file.hash, "{minor}");
        assert!(loaded.since > file.written, "{minor}: {loaded:?}");
        let key_ids = metrics.kms_key_ids();
        let id = ConfigHash::new(Sha256::digest("oracle-v1").into()).to_string();
        assert_eq!(*key_ids["plugin"].id, *id, "{minor}");
    }
}

/// The server asks its plugin only now and then.
async fn scrape_with_key_id(server: &ApiServer) -> ServerMetrics {
    let start = Instant::now();
    loop {
        let text = server.client().raw("/metrics").await.unwrap().body;
        let metrics = ServerMetrics::parse(&text).unwrap();
        if !metrics.key_ids.is_empty() {
            return metrics;
        }
        assert!(start.elapsed() < LIMIT, "no key id in {metrics:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
