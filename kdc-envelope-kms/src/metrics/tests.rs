use core::num::NonZeroUsize;
use std::time::Duration;

use kdc_envelope::cache::Limits;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{Aad, Key256, KeyId};
use tonic::Code;

use super::*;

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
}

fn local() -> Arc<LocalKek> {
    let keyring = Keyring::from_root_secret(Key256::new([7; 32]));
    Arc::new(LocalKek::new(keyring).unwrap())
}

#[test]
fn a_dropped_call_is_cancelled_and_never_a_success() {
    let metrics = Metrics::new("1.2.3");
    let key = metrics.key("etcd");
    drop(key.start(Rpc::Encrypt));
    key.start(Rpc::Decrypt).finish(Code::DataLoss);
    key.start(Rpc::Status).finish(Code::Ok);
    let text = metrics.render();
    for line in [
        "kdc_kms_rpcs_total{key=\"etcd\",rpc=\"encrypt\",code=\"cancelled\"} 1",
        "kdc_kms_rpcs_total{key=\"etcd\",rpc=\"encrypt\",code=\"ok\"} 0",
        "kdc_kms_rpcs_total{key=\"etcd\",rpc=\"decrypt\",code=\"data_loss\"} 1",
        "kdc_kms_rpcs_total{key=\"etcd\",rpc=\"status\",code=\"ok\"} 1",
        "kdc_kms_rpc_duration_seconds_count{key=\"etcd\",rpc=\"encrypt\"} 1",
        "kdc_kms_rpcs_in_flight{key=\"etcd\"} 0",
        "kdc_kms_build_info{version=\"1.2.3\"} 1",
    ] {
        has(&text, line);
    }
}

#[test]
fn each_key_counts_for_itself_and_a_name_means_one_key() {
    let metrics = Metrics::new("1.2.3");
    let (a, b) = (metrics.key("a"), metrics.key("b"));
    a.start(Rpc::Encrypt).finish(Code::Ok);
    metrics.key("a").start(Rpc::Encrypt).finish(Code::Ok);
    b.peer_refused();
    b.socket_recreated();
    let text = metrics.render();
    for line in [
        "kdc_kms_rpcs_total{key=\"a\",rpc=\"encrypt\",code=\"ok\"} 2",
        "kdc_kms_rpcs_total{key=\"b\",rpc=\"encrypt\",code=\"ok\"} 0",
        "kdc_kms_refused_peers_total{key=\"a\"} 0",
        "kdc_kms_refused_peers_total{key=\"b\"} 1",
        "kdc_kms_socket_recreations_total{key=\"b\"} 1",
    ] {
        has(&text, line);
    }
}

#[test]
fn wraps_are_counted_by_key_id_across_a_change_and_back() {
    let metrics = Metrics::new("1.2.3");
    let key = metrics.key("etcd");
    let (first, second) = (KeyId::new("v1").unwrap(), KeyId::new("v\n\"2").unwrap());
    for key_id in [&first, &first, &second, &first] {
        key.wrapped(key_id);
    }
    let text = metrics.render();
    has(&text, "kdc_kms_wraps_total{key=\"etcd\",key_id=\"v1\"} 3");
    let odd = "kdc_kms_wraps_total{key=\"etcd\",key_id=\"v\\\\n\\\\\\\"2\"} 1";
    has(&text, odd);
}

#[test]
fn only_a_key_with_a_keyring_counts_reloads() {
    let metrics = Metrics::new("1.2.3");
    let (local, _remote) = (metrics.key("local"), metrics.key("remote"));
    let reloads = local.keyring_reloads();
    let refused = "kdc_kms_keyring_reloads_total{key=\"local\",result=\"refused\"} ";
    has(&metrics.render(), &format!("{refused}0"));
    reloads.refused();
    reloads.taken();
    let text = metrics.render();
    has(&text, &format!("{refused}1"));
    assert!(!text.contains("keyring_reloads_total{key=\"remote\""));
}

#[tokio::test]
async fn keys_and_caches_tell_their_state_at_each_scrape() {
    let metrics = Metrics::new("1.2.3");
    let limits = Limits::new(NonZeroUsize::MIN, Duration::from_secs(60));
    let cache = Arc::new(CachedKek::new(local(), limits, || Duration::ZERO));
    metrics.watch("plain", local(), None);
    let kek: Arc<dyn KeyEncryptionKey> = cache.clone();
    metrics.watch("cached", Arc::clone(&kek), Some(Arc::clone(&cache)));
    metrics.watch("cached", kek, Some(Arc::clone(&cache)));
    for secret in [1, 2] {
        let wrapped = cache.wrap(&[secret; 32], Aad::EMPTY).await.unwrap();
        for _ in 0..2 {
            cache.unwrap(&wrapped, Aad::EMPTY).await.unwrap();
        }
    }
    let text = metrics.render();
    for line in [
        "# TYPE kdc_kms_healthy gauge",
        "kdc_kms_healthy{key=\"plain\"} 1",
        "kdc_kms_healthy{key=\"cached\"} 1",
        "kdc_kms_key_version{key=\"cached\"} 1",
        "# TYPE kdc_kms_cache_hits counter",
        "kdc_kms_cache_hits_total{key=\"cached\"} 2",
        "kdc_kms_cache_misses_total{key=\"cached\"} 2",
        "kdc_kms_cache_shared_total{key=\"cached\"} 0",
        "kdc_kms_cache_stale_total{key=\"cached\"} 0",
        "kdc_kms_cache_evicted_total{key=\"cached\"} 1",
        "kdc_kms_cache_entries{key=\"cached\"} 1",
    ] {
        has(&text, line);
    }
    let of_cached = text.matches("kdc_kms_healthy{key=\"cached\"}").count();
    assert_eq!(of_cached, 1, "a name is watched once");
    assert!(!text.contains("cache_hits_total{key=\"plain\"}"));
}
