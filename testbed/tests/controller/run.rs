//! The loop of a controller.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kdc_envelope_k8s::controller::metrics::prometheus_client::encoding::text::encode;
use kdc_envelope_k8s::controller::metrics::prometheus_client::registry::Registry;
use kdc_envelope_k8s::controller::{
    Controller, ControllerMetrics, ControllerSettings, ErrorKind, Next, ObjectKey, Objects,
    ReconcileError, Reconciler, Store,
};
use kdc_envelope_k8s::crd::KmsKey;
use kube::api::{ListParams, ObjectMeta};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Plane, eventually, make_key, run};

const OWNER: &str = "test/owner";

/// Makes one ConfigMap for each key, under a name that the API server invents: whoever does not wait for what it wrote makes two.
struct MakesOne {
    keys: Arc<Store<KmsKey>>,
    maps: Arc<Store<ConfigMap>>,
    runs: Arc<AtomicUsize>,
}

#[async_trait]
impl Reconciler for MakesOne {
    async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        if self.keys.get(key).is_none() {
            return Ok(Next::OnChange);
        }
        let maps = self.maps.list();
        let is_there = maps
            .iter()
            .any(|map| owner(map).as_deref() == Some(&*key.name));
        if !is_there {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    generate_name: Some("made-".to_owned()),
                    namespace: Some(key.namespace.to_string()),
                    annotations: Some(BTreeMap::from([(OWNER.to_owned(), key.name.to_string())])),
                    ..ObjectMeta::default()
                },
                ..ConfigMap::default()
            };
            objects.create(&map).await?;
        }
        Ok(Next::After(Duration::ZERO))
    }
}

fn owner(map: &ConfigMap) -> Option<String> {
    map.metadata.annotations.as_ref()?.get(OWNER).cloned()
}

#[test]
fn no_run_begins_before_the_writes_of_the_last_one_are_seen() {
    run(async {
        let plane = Plane::shared().await;
        plane.namespace("writes").await;
        let objects = plane.objects().await;
        let settings = ControllerSettings::new("writes");
        let mut controller = Controller::new(settings, objects.clone());
        let runs = Arc::new(AtomicUsize::new(0));
        let reconciler = MakesOne {
            keys: controller.watch::<KmsKey>(Some("writes"), |key| vec![ObjectKey::of(key)]),
            maps: controller.watch::<ConfigMap>(Some("writes"), |_| Vec::new()),
            runs: Arc::clone(&runs),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(controller.run(reconciler, stop.clone()));
        for number in 0..20 {
            make_key(&objects, "writes", &format!("k{number}"), json!({})).await;
        }
        let list = async || {
            let listed = objects.list::<ConfigMap>(Some("writes"), &ListParams::default());
            let mut owners: Vec<_> = listed.await.unwrap().iter().filter_map(owner).collect();
            owners.sort();
            owners
        };
        eventually("each has one", async || list().await.len() >= 20).await;
        let before = runs.load(Ordering::Relaxed);
        eventually("all ran again and again", async || {
            runs.load(Ordering::Relaxed) > before + 400
        })
        .await;
        stop.cancel();
        running.await.unwrap();
        let mut owners = list().await;
        owners.dedup();
        assert_eq!((owners.len(), list().await.len()), (20, 20));
    });
}

/// Fails, panics, or hangs as it is told, and counts.
struct Fails {
    runs: Mutex<BTreeMap<Box<str>, usize>>,
    is_well: Arc<AtomicBool>,
}

#[async_trait]
impl Reconciler for Fails {
    async fn reconcile(&self, key: &ObjectKey, _: &Objects) -> Result<Next, ReconcileError> {
        *self
            .runs
            .lock()
            .unwrap()
            .entry(key.name.clone())
            .or_default() += 1;
        if self.is_well.load(Ordering::Relaxed) {
            return Ok(Next::OnChange);
        }
        match &*key.name {
            "panics" => panic!("attempt to multiply with overflow"),
            "hangs" => std::future::pending().await,
            "transient" => Err(ReconcileError::message(ErrorKind::Transient, "no answer")),
            "invalid" => Err(ReconcileError::message(ErrorKind::Invalid, "nonsense")),
            _ => Ok(Next::OnChange),
        }
    }
}

#[test]
fn each_failure_has_its_own_next_attempt_and_hinders_no_other_object() {
    run(async {
        let plane = Plane::shared().await;
        plane.namespace("fails").await;
        let objects = plane.objects().await;
        for name in ["panics", "hangs", "transient", "invalid", "well"] {
            make_key(&objects, "fails", name, json!({})).await;
        }
        let mut registry = Registry::default();
        let metrics = ControllerMetrics::register("kdc_test", &mut registry);
        let settings = ControllerSettings {
            run_deadline: Duration::from_millis(500),
            ..ControllerSettings::new("fails")
        };
        let mut controller = Controller::new(settings, objects.clone()).with_metrics(metrics);
        let health = controller.health();
        assert!(health.readiness().is_ok(), "nothing is watched yet");
        controller.watch::<KmsKey>(Some("fails"), |key| vec![ObjectKey::of(key)]);
        let health = controller.health();
        assert!(
            health
                .readiness()
                .unwrap_err()
                .contains("KMSKey: not listed yet")
        );
        let fails = Arc::new(Fails {
            runs: Mutex::default(),
            is_well: Arc::default(),
        });
        let count = |name: &str| fails.runs.lock().unwrap().get(name).copied().unwrap_or(0);
        let stop = CancellationToken::new();
        let running = tokio::spawn(controller.run(Arc::clone(&fails), stop.clone()));
        eventually(
            "transient errors are tried again, and so are runs that hang",
            async || count("transient") >= 3 && count("hangs") >= 2,
        )
        .await;
        assert_eq!((count("invalid"), count("well")), (1, 1));
        health.readiness().unwrap();
        // A change of the object comes before every wait.
        let name = ObjectKey::new("fails", "invalid");
        let patch = json!({"spec": {"purpose": "etcd"}});
        objects.patch::<KmsKey>(&name, &patch).await.unwrap();
        eventually("the change is looked at", async || count("invalid") == 2).await;
        fails.is_well.store(true, Ordering::Relaxed);
        eventually("what failed recovers", async || count("panics") >= 2).await;
        stop.cancel();
        running.await.unwrap();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "kdc_test_reconcile_failures_total{error=\"invalid\"} 2",
            "kdc_test_reconcile_duration_seconds_bucket{le=\"60.0\"}",
            "kdc_test_reconcile_runs_total",
            "kdc_test_leader 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    });
}

/// Counts the runs of all keys.
struct Counts(Arc<AtomicUsize>);

#[async_trait]
impl Reconciler for Counts {
    async fn reconcile(&self, _: &ObjectKey, _: &Objects) -> Result<Next, ReconcileError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Next::OnChange)
    }
}

#[test]
fn a_watch_survives_the_restart_of_the_api_server() {
    run(async {
        let mut plane = Plane::start().await;
        let objects = plane.objects().await;
        let mut controller = Controller::new(ControllerSettings::new("restart"), objects.clone());
        let store = controller.watch::<KmsKey>(None, |key| vec![ObjectKey::of(key)]);
        let health = controller.health();
        let stop = CancellationToken::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let running = tokio::spawn(controller.run(Counts(Arc::clone(&runs)), stop.clone()));
        let before = make_key(&objects, "default", "before", json!({})).await;
        eventually("the first is seen", async || store.list().len() == 1).await;
        plane.server.process().kill().await.unwrap();
        eventually("the loss is told", async || health.readiness().is_err()).await;
        plane.server.start_again().await.unwrap();
        make_key(&objects, "default", "after", json!({})).await;
        objects.delete::<KmsKey>(&before.metadata).await.unwrap();
        let after = ObjectKey::new("default", "after");
        eventually("the present is seen", async || {
            store.list().len() == 1 && store.get(&after).is_some() && health.readiness().is_ok()
        })
        .await;
        stop.cancel();
        running.await.unwrap();
        assert!(runs.load(Ordering::Relaxed) >= 3, "made, made, deleted");
    });
}
