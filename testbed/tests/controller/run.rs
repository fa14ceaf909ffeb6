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

/// Makes one ConfigMap for each key, under a name that the API server invents: a controller that does not wait to see what it wrote makes two.
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
            let all = ListParams::default();
            let listed: Vec<ConfigMap> = objects.list(Some("writes"), &all).await.unwrap();
            let mut owners: Vec<_> = listed.iter().filter_map(owner).collect();
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

/// Notes which keys it was called for.
struct Notes {
    store: Arc<Store<Strict>>,
    called: Mutex<Vec<(Box<str>, bool)>>,
}

#[async_trait]
impl Reconciler for Notes {
    async fn reconcile(&self, key: &ObjectKey, _: &Objects) -> Result<Next, ReconcileError> {
        let is_there = self.store.get(key).is_some();
        self.called
            .lock()
            .unwrap()
            .push((key.name.clone(), is_there));
        Ok(Next::OnChange)
    }
}

/// A ConfigMap whose data `number` must be there: what an object looks like that another version wrote.
#[derive(Debug, Clone, serde::Deserialize)]
struct Strict {
    metadata: ObjectMeta,
    #[serde(rename = "data")]
    _data: Number,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Number {
    #[serde(rename = "number")]
    _number: String,
}

impl kube::Resource for Strict {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "ConfigMap".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "configmaps".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[test]
fn an_object_that_cannot_be_read_hides_no_other_and_does_not_count_as_gone() {
    run(async {
        let plane = Plane::shared().await;
        plane.namespace("strict").await;
        let objects = plane.objects().await;
        let make = async |name: &str, data: serde_json::Value| {
            let key = ObjectKey::new("strict", name);
            let fields = json!({"data": data});
            objects
                .apply::<ConfigMap>(&key, &fields, true)
                .await
                .unwrap();
            key
        };
        let broken = make("broken", json!({"text": "x"})).await;
        let well = make("well", json!({"number": "1"})).await;
        let mut controller = Controller::new(ControllerSettings::new("strict"), objects.clone());
        let store = controller.watch::<Strict>(Some("strict"), |map| vec![ObjectKey::of(map)]);
        let notes = Arc::new(Notes {
            store: Arc::clone(&store),
            called: Mutex::default(),
        });
        let called = |name: &str, is_there| {
            let called = notes.called.lock().unwrap();
            called.contains(&(name.into(), is_there))
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(controller.run(Arc::clone(&notes), stop.clone()));
        eventually("the other one is looked at", async || called("well", true)).await;
        assert!(store.get(&broken).is_none() && store.is_synced() && !store.is_complete());
        let reason = store.unreadable(&broken).unwrap();
        assert!(reason.contains("number"), "{reason}");
        // One that was well breaks while it is watched, and the broken one is mended.
        make("broken", json!({"number": "2"})).await;
        let patch = json!({"data": {"number": null, "text": "x"}});
        objects.patch::<ConfigMap>(&well, &patch).await.unwrap();
        eventually("the mended one is looked at", async || {
            called("broken", true)
        })
        .await;
        eventually("the other is kept apart", async || {
            store.unreadable(&well).is_some()
        })
        .await;
        make("well", json!({"number": "3"})).await;
        eventually("all can be read", async || store.is_complete()).await;
        stop.cancel();
        running.await.unwrap();
        assert!(
            !called("broken", false) && !called("well", false),
            "none was taken for gone"
        );
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

/// A client of one API server or of the other, as behind a Service.
fn switched(one: kube::Client, other: kube::Client, use_other: Arc<AtomicBool>) -> kube::Client {
    let service = tower::service_fn(move |request| {
        let client = match use_other.load(Ordering::Relaxed) {
            true => other.clone(),
            false => one.clone(),
        };
        async move { client.send(request).await }
    });
    kube::Client::new(service, "default")
}

#[test]
fn an_api_server_that_is_behind_what_was_seen_is_not_believed() {
    run(async {
        let (mut ahead, behind) = (Plane::start().await, Plane::start().await);
        for number in 0..2_000 {
            ahead
                .etcd
                .put("/filler", format!("{number}").as_bytes())
                .await
                .unwrap();
        }
        let objects = ahead.objects().await;
        make_key(&objects, "default", "known", json!({})).await;
        let use_other = Arc::new(AtomicBool::new(false));
        let (one, other) = (ahead.client().await, behind.client().await);
        let client = switched(one, other, Arc::clone(&use_other));
        let controller = ControllerSettings::new("behind");
        let mut controller = Controller::new(controller, Objects::new(client, "test"));
        let store = controller.watch::<KmsKey>(None, |key| vec![ObjectKey::of(key)]);
        let health = controller.health();
        let runs = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let running = tokio::spawn(controller.run(Counts(Arc::clone(&runs)), stop.clone()));
        let known = ObjectKey::new("default", "known");
        eventually("the key is seen", async || {
            store.get(&known).is_some() && runs.load(Ordering::Relaxed) == 1
        })
        .await;
        // The other one has never heard of the key.
        use_other.store(true, Ordering::Relaxed);
        ahead.server.process().kill().await.unwrap();
        eventually("the loss is told", async || health.readiness().is_err()).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(store.get(&known).is_some(), "it is not gone");
        assert!(health.readiness().is_err());
        assert_eq!(runs.load(Ordering::Relaxed), 1, "nothing was done about it");
        ahead.server.start_again().await.unwrap();
        use_other.store(false, Ordering::Relaxed);
        make_key(&objects, "default", "new", json!({})).await;
        eventually("what is ahead is believed", async || {
            store.list().len() == 2
        })
        .await;
        stop.cancel();
        running.await.unwrap();
    });
}
