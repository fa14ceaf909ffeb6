//! Events about objects, for people who describe them.
//!
//! The same event again within ten minutes is not written; after that it is counted on the one that is there. An event that cannot be
//! written is logged, and stops nothing.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use serde_json::json;
use tokio::time::Instant;

use super::{CallError, ErrorKind, Object, ObjectKey, Objects, clock};

/// How long the same event is not written again.
const QUIET: Duration = Duration::from_mins(10);
/// How many events are remembered.
const REMEMBERED: usize = 1_024;
/// The largest note that Kubernetes takes, in bytes.
const MAX_NOTE: usize = 1_024;

/// Whether an event tells of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "Kubernetes knows these two")]
pub enum EventKind {
    /// All is well.
    Normal,
    /// People may have to act.
    Warning,
}

impl EventKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    uid: Box<str>,
    kind: EventKind,
    reason: Box<str>,
    note: Box<str>,
}

#[derive(Debug)]
struct Before {
    event: ObjectKey,
    count: i32,
    written: Instant,
}

/// Writes the events of one controller; clones share what was written.
#[derive(Debug, Clone)]
pub struct Recorder {
    controller: Box<str>,
    instance: Box<str>,
    written: Arc<Mutex<HashMap<Identity, Before>>>,
}

impl Recorder {
    /// For the controller of this name, such as `k8s.kube-dc.com/k8-manager`, in the process `instance`, which is the name of its pod.
    #[must_use]
    pub fn new(controller: impl Into<Box<str>>, instance: impl Into<Box<str>>) -> Self {
        Self {
            controller: controller.into(),
            instance: instance.into(),
            written: Arc::default(),
        }
    }

    /// Tells of `object` what happened. `reason` is one CamelCase word and part of the API, `action` another for what was done, and
    /// `note` a sentence without secrets, of which the first 1,024 bytes count.
    pub async fn record<K: Object>(
        &self,
        objects: &Objects,
        object: &K,
        kind: EventKind,
        (reason, action): (&str, &str),
        note: &str,
    ) {
        let note = shortened(note);
        let regarding = object.object_ref(&());
        let identity = Identity {
            uid: regarding.uid.as_deref().unwrap_or_default().into(),
            kind,
            reason: reason.into(),
            note: note.into(),
        };
        let outcome = match self.seen_before(&identity) {
            Seen::Lately => return,
            Seen::Before(event, count) => self.count(objects, &event, count).await,
            Seen::Never => Err(None),
        };
        let outcome = match outcome {
            Ok(written) => Ok(written),
            // The API server deletes events after an hour.
            Err(None) => {
                let event = self.event(regarding, kind, (reason, action), note);
                let created = objects.create(&event).await;
                created.map(|event| (ObjectKey::of(&event), 1))
            }
            Err(Some(error)) => Err(error),
        };
        match outcome {
            Ok((event, count)) => self.remember(identity, event, count),
            Err(error) => tracing::warn!(reason, "{error}"),
        }
    }

    fn seen_before(&self, identity: &Identity) -> Seen {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(identity) {
            None => Seen::Never,
            Some(before) if before.written.elapsed() < QUIET => Seen::Lately,
            Some(before) => Seen::Before(before.event.clone(), before.count.saturating_add(1)),
        }
    }

    /// Counts the event once more; `Err(None)` if it is gone.
    async fn count(
        &self,
        objects: &Objects,
        event: &ObjectKey,
        count: i32,
    ) -> Result<(ObjectKey, i32), Option<CallError>> {
        let now = MicroTime(clock::now());
        let patch = json!({"series": {"count": count, "lastObservedTime": now}});
        match objects.patch::<Event>(event, &patch).await {
            Ok(_) => Ok((event.clone(), count)),
            Err(error) if error.kind() == ErrorKind::Missing => Err(None),
            Err(error) => Err(Some(error)),
        }
    }

    fn event(
        &self,
        regarding: ObjectReference,
        kind: EventKind,
        (reason, action): (&str, &str),
        note: &str,
    ) -> Event {
        // Events of objects that lie in no namespace are in this one.
        let namespace = regarding.namespace.clone();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(prefix(regarding.name.as_deref().unwrap_or_default())),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(clock::now())),
            reporting_controller: Some(self.controller.to_string()),
            reporting_instance: Some(self.instance.to_string()),
            action: Some(action.to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(note.to_owned()),
            type_: Some(kind.as_str().to_owned()),
            regarding: Some(regarding),
            ..Event::default()
        }
    }

    fn remember(&self, identity: Identity, event: ObjectKey, count: i32) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= REMEMBERED {
            let oldest = written.iter().min_by_key(|(_, before)| before.written);
            if let Some(oldest) = oldest.map(|(identity, _)| identity.clone()) {
                written.remove(&oldest);
            }
        }
        let before = Before {
            event,
            count,
            written: Instant::now(),
        };
        written.insert(identity, before);
    }
}

enum Seen {
    Never,
    Lately,
    Before(ObjectKey, i32),
}

/// What the names of events about an object begin with: a name that may be followed by five characters.
fn prefix(object: &str) -> String {
    let start: String = object.chars().take(200).collect();
    let start = start.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{start}-")
}

/// As much of a note as fits.
fn shortened(note: &str) -> &str {
    let mut end = note.len().min(MAX_NOTE);
    while !note.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    note.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_begin_with_that_of_the_object() {
        assert_eq!(prefix("prod-etcd"), "prod-etcd-");
        assert_eq!(
            prefix(&format!("{}.b", "a".repeat(199))),
            format!("{}-", "a".repeat(199))
        );
    }

    #[test]
    fn notes_fit_into_an_event() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{}ä", "x".repeat(MAX_NOTE - 1));
        assert_eq!(shortened(&long).len(), MAX_NOTE - 1);
    }
}
