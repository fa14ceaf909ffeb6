//! Events about objects.

use kdc_envelope_k8s::controller::{EventKind, Recorder};
use serde_json::{Value, json};

use crate::fixture::{Plane, make_key, raw, run};

#[test]
fn the_same_event_is_written_once_and_another_one_too() {
    run(async {
        let plane = Plane::shared().await;
        plane.namespace("events").await;
        let objects = plane.objects().await;
        let key = make_key(&objects, "events", "k", json!({})).await;
        let recorder = Recorder::new("k8s.kube-dc.com/kdc-manager", "pod-1");
        for note in [
            "policy differed",
            "policy differed",
            "role differed",
            "policy differed",
        ] {
            let what = ("DriftRepaired", "Repair");
            recorder
                .record(&objects, &key, EventKind::Warning, what, note)
                .await;
        }
        let listed = raw(plane, "/apis/events.k8s.io/v1/namespaces/events/events").await;
        let events = listed["items"].as_array().unwrap();
        let mut notes: Vec<&Value> = events.iter().map(|event| &event["note"]).collect();
        notes.sort_by_key(|note| note.to_string());
        assert_eq!(notes, ["policy differed", "role differed"]);
        let event = &events[0];
        assert_eq!(event["regarding"]["kind"], "KMSKey");
        assert_eq!(event["regarding"]["uid"], json!(key.metadata.uid));
        assert_eq!(
            (&event["type"], &event["reason"]),
            (&json!("Warning"), &json!("DriftRepaired"))
        );
    });
}
