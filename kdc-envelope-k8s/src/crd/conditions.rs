//! Conditions in the status of an object, some of which are others'.
//!
//! A list of conditions is one value to the API server, so a controller that changes one writes all. Those of others are carried along
//! as they came, with fields that this version does not know.

use core::fmt;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// Whether what a condition says is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "Kubernetes knows these three")]
pub enum ConditionStatus {
    /// It is.
    True,
    /// It is not.
    False,
    /// It cannot be told at present.
    Unknown,
}

impl ConditionStatus {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(is_so: bool) -> Self {
        match is_so {
            true => Self::True,
            false => Self::False,
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One condition, without its times, which [`Conditions::set`] keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Condition<'c> {
    /// What it is about, in CamelCase.
    pub kind: &'c str,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// Why, as one CamelCase word, which is part of the API.
    pub reason: &'c str,
    /// Why, for people. What is beyond 32,768 characters is cut off, which is the limit of Kubernetes.
    pub message: &'c str,
}

/// The largest message that Kubernetes takes, in characters.
const MAX_MESSAGE: usize = 32_768;

/// All conditions of one object, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Conditions(Vec<Value>);

impl<'de> Deserialize<'de> for Conditions {
    /// `null` is an empty list.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list: Option<Vec<Value>> = Option::deserialize(deserializer)?;
        Ok(Self(list.unwrap_or_default()))
    }
}

impl Conditions {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The condition of this type, if it is there and complete.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<Condition<'_>> {
        let found = self.entry(kind)?;
        let text = |field: &str| found.get(field).and_then(Value::as_str);
        Some(Condition {
            kind: text("type")?,
            status: match text("status")? {
                "True" => ConditionStatus::True,
                "False" => ConditionStatus::False,
                _ => ConditionStatus::Unknown,
            },
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
        })
    }

    /// Whether the condition of this type is there, and true.
    #[must_use]
    pub fn is_true(&self, kind: &str) -> bool {
        let found = self.get(kind);
        found.is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// When the status of the condition of this type last changed.
    #[must_use]
    pub fn last_transition(&self, kind: &str) -> Option<Timestamp> {
        self.entry(kind)?
            .get("lastTransitionTime")?
            .as_str()?
            .parse()
            .ok()
    }

    /// For which generation of the spec the condition of this type was found.
    #[must_use]
    pub fn observed_generation(&self, kind: &str) -> Option<i64> {
        self.entry(kind)?.get("observedGeneration")?.as_i64()
    }

    /// Sets one condition in its place, or at the end. `lastTransitionTime` stays as long as the status does.
    pub fn set(&mut self, condition: &Condition<'_>, generation: Option<i64>, now: Timestamp) {
        let is_this = |entry: &&mut Value| kind_of(entry) == Some(condition.kind);
        let found = self.0.iter_mut().find(is_this);
        let before = found.as_deref().and_then(Value::as_object);
        let unchanged = before.filter(|before| {
            before.get("status").and_then(Value::as_str) == Some(condition.status.as_str())
        });
        let since = unchanged
            .and_then(|before| before.get("lastTransitionTime"))
            .filter(|since| since.is_string());
        let message: String = condition.message.chars().take(MAX_MESSAGE).collect();
        let mut entry = Map::new();
        entry.insert("type".to_owned(), condition.kind.into());
        entry.insert("status".to_owned(), condition.status.as_str().into());
        if let Some(generation) = generation {
            entry.insert("observedGeneration".to_owned(), generation.into());
        }
        let since = since.cloned().unwrap_or_else(|| json!(in_seconds(now)));
        entry.insert("lastTransitionTime".to_owned(), since);
        entry.insert("reason".to_owned(), condition.reason.into());
        entry.insert("message".to_owned(), message.into());
        match found {
            Some(found) => *found = entry.into(),
            None => self.0.push(entry.into()),
        }
    }

    /// Takes the condition of this type away.
    pub fn remove(&mut self, kind: &str) {
        self.0.retain(|entry| kind_of(entry) != Some(kind));
    }

    fn entry(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|entry| kind_of(entry) == Some(kind))
    }
}

fn kind_of(entry: &Value) -> Option<&str> {
    entry.get("type")?.as_str()
}

/// A time as Kubernetes writes it: in UTC and in whole seconds.
#[must_use]
pub fn in_seconds(time: Timestamp) -> String {
    // Rounds towards the past; there is nothing to round at the ends of time.
    let rounding = jiff::TimestampRound::new()
        .smallest(Unit::Second)
        .mode(jiff::RoundMode::Floor);
    time.round(rounding).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Condition<'_> = Condition {
        kind: "Ready",
        status: ConditionStatus::True,
        reason: "KeyExists",
        message: "all is well",
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_transition_time_stays_while_the_status_does() {
        let mut conditions = Conditions::default();
        conditions.set(&READY, Some(1), at(10));
        let first = conditions.clone();
        conditions.set(&READY, Some(1), at(20));
        assert_eq!(conditions, first, "nothing changed");
        let other = Condition {
            reason: "Other",
            ..READY
        };
        conditions.set(&other, Some(2), at(30));
        assert_eq!(conditions.last_transition("Ready"), Some(at(10)));
        assert_eq!(conditions.observed_generation("Ready"), Some(2));
        let broken = Condition {
            status: ConditionStatus::False,
            ..READY
        };
        conditions.set(&broken, Some(2), at(40));
        assert_eq!(conditions.last_transition("Ready"), Some(at(40)));
        assert!(!conditions.is_true("Ready"));
    }

    #[test]
    fn conditions_of_others_come_back_as_they_were() {
        let others = json!({
            "type": "Theirs", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-06-07T00:00:00.000000Z", "severity": "new field",
        });
        let mut conditions: Conditions = serde_json::from_value(json!([others])).unwrap();
        conditions.set(&READY, None, at(0));
        conditions.remove("Absent");
        let written = serde_json::to_value(&conditions).unwrap();
        assert_eq!(written[0], others);
        assert_eq!(written[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let none: Conditions = serde_json::from_value(Value::Null).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn messages_fit_into_the_schema() {
        let mut conditions = Conditions::default();
        let long = "ä".repeat(40_000);
        let condition = Condition {
            message: &long,
            ..READY
        };
        conditions.set(&condition, None, at(0));
        let message = conditions.get("Ready").unwrap().message;
        assert_eq!(message.chars().count(), MAX_MESSAGE);
    }
}
