//! What is to be done next about a KMSKey, from what was observed. Pure: no clock, no calls.
//!
//! One step at a time: after each, everything is observed again. So a process that ends between two steps leaves nothing behind that the
//! next one would not see, and nothing is decided from what a step should have done.

mod deletion;
mod rotation;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use deletion::{COUNTDOWN, FINALIZER, Snapshots};

use super::claim::{Claim, InvalidClaim, ROTATION_CLAIM};
use super::service::{KeyLook, ServiceError, ServiceErrorKind, StoredKey};
use super::tenant::{KeyNameError, KeyPlace, TenantError};
use super::users::KeyUser;
use crate::controller::status::has_finalizer;
use crate::controller::{EventKind, ObjectKey};
use crate::crd::kms_key::{Algorithm, DeletionPolicy, KeySpecError, KmsKeyStatus, condition};
use crate::crd::{Condition, ConditionStatus, KmsKey};
use deletion::Deletion;

/// Why a KMSKey has no place in OpenBao.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Its namespace belongs to no project.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// Its name is too long.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// Another KMSKey has this place already.
    #[error("KMSKey {rival} has the key {place} in OpenBao already; give this KMSKey another name")]
    Taken {
        /// The other KMSKey.
        rival: ObjectKey,
        /// The key.
        place: KeyPlace,
    },
}

/// The reason of a condition.
pub(super) const fn reason_of(error: &PlaceError) -> &'static str {
    match error {
        PlaceError::Tenant(_) => "NamespaceUnassigned",
        PlaceError::Name(_) => "NameTooLong",
        PlaceError::Taken { .. } => "NameTaken",
    }
}

/// All that is known when a plan is made.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ObservedKey<'o> {
    /// The object.
    pub key: &'o KmsKey,
    /// Where its key is.
    pub place: &'o Result<KeyPlace, PlaceError>,
    /// What was found there; `None` if that was not asked.
    pub look: Option<&'o Result<KeyLook, ServiceError>>,
    /// The clusters that use it.
    pub users: &'o [KeyUser],
    /// What is known of snapshots under the key.
    pub snapshots: Snapshots,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the reconciler does each")]
pub enum Step {
    /// Makes the namespace of the organization.
    CreateNamespace,
    /// Mounts the Transit engine.
    CreateMount,
    /// Makes the key.
    CreateKey(Algorithm),
    /// Sets right what differs, by the names of OpenBao.
    ProtectKey(Vec<&'static str>),
    /// Claims the rotation of this version, then rotates.
    Rotate {
        /// The newest version now.
        from: u32,
    },
    /// Takes the note of a rotation away that is over.
    ReleaseClaim,
    /// Makes the object wait for the deletion of its key.
    AddFinalizer,
    /// Lets the object go.
    RemoveFinalizer,
    /// Destroys the key.
    DeleteKey,
}

/// What users are told besides the status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Whether it is bad news.
    pub kind: EventKind,
    /// One CamelCase word.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The next step, after which everything is observed again. `None` if all is done that can be.
    pub step: Option<Step>,
    /// The status that follows from what was observed.
    pub status: KmsKeyStatus,
    /// What to tell when this status is written and was another before.
    pub notices: Vec<Notice>,
    /// When time alone makes another plan.
    pub again: Option<Timestamp>,
    /// A call that failed, so that all of this is tried again.
    pub failure: Option<ServiceError>,
}

/// Decides about a key.
#[must_use]
pub fn plan(observed: &ObservedKey<'_>, now: Timestamp) -> Plan {
    let mut planner = Planner {
        observed,
        now,
        plan: Plan {
            step: None,
            status: observed.key.status.clone(),
            notices: Vec::new(),
            again: None,
            failure: None,
        },
        remark: String::new(),
    };
    planner.decide();
    planner.plan
}

/// The conditions of a key whose next step failed, instead of those that followed from what was observed before it.
#[must_use]
pub fn failed(observed: &ObservedKey<'_>, error: &ServiceError, now: Timestamp) -> Plan {
    let look = Err(error.clone());
    let observed = ObservedKey {
        look: Some(&look),
        ..*observed
    };
    plan(&observed, now)
}

struct Planner<'p> {
    observed: &'p ObservedKey<'p>,
    now: Timestamp,
    plan: Plan,
    /// What the condition `Ready` says besides.
    remark: String,
}

/// Whether the object may be worked on.
type Go<T> = Result<T, ()>;

impl Planner<'_> {
    fn decide(&mut self) {
        // Each of these has said why when it ends the plan.
        let _ = self.decide_or_stop();
    }

    fn decide_or_stop(&mut self) -> Go<()> {
        let (algorithm, policy) = self.spec()?;
        let deletion = self.deletion(policy);
        self.finalizer(&deletion)?;
        let place = match self.observed.place {
            Ok(place) => place,
            Err(error) => return self.not_ready(reason_of(error), &error.to_string()),
        };
        self.plan.status.key_id = Some(place.to_string());
        let Some(stored) = self.found(place, algorithm, &deletion)? else {
            return Err(());
        };
        self.mounted(
            ConditionStatus::True,
            "Mounted",
            "the Transit engine is mounted",
        );
        self.profile(&stored, algorithm)?;
        if deletion == Deletion::Due {
            return self.step(Step::DeleteKey);
        }
        let drift = stored.drift();
        if !drift.is_empty() {
            return self.step(Step::ProtectKey(drift));
        }
        self.versions(&stored);
        self.rotation(&stored, &deletion)?;
        let message = format!(
            "the key is there, at version {}{}",
            stored.latest_version, self.remark
        );
        self.ready(ConditionStatus::True, "KeyReady", &message);
        Ok(())
    }

    /// What the spec says, if nothing in it is refused.
    fn spec(&mut self) -> Go<(Algorithm, DeletionPolicy)> {
        let spec = &self.observed.key.spec;
        let checked = || -> Result<_, KeySpecError> {
            spec.purpose()?;
            spec.check_exportable()?;
            Ok((spec.algorithm()?, spec.deletion_policy()?))
        };
        checked().map_err(|error| {
            let _: Go<()> = self.not_ready("InvalidSpec", &error.to_string());
        })
    }

    /// The key, or the step that brings it about, or why there is none.
    fn found(
        &mut self,
        place: &KeyPlace,
        algorithm: Algorithm,
        deletion: &Deletion,
    ) -> Go<Option<StoredKey>> {
        let look = match self.observed.look {
            Some(Ok(look)) => look,
            Some(Err(error)) => return self.unanswered(error).map(|()| None),
            None => return Err(()),
        };
        let (step, missing) = match look {
            KeyLook::Found(stored) => return Ok(Some(stored.clone())),
            KeyLook::NoKey => (Step::CreateKey(algorithm), "the key"),
            KeyLook::NoMount => (Step::CreateMount, "the mount of its Transit engine"),
            KeyLook::NoNamespace => (Step::CreateNamespace, "the namespace of its organization"),
        };
        match look {
            KeyLook::NoKey => self.mounted(
                ConditionStatus::True,
                "Mounted",
                "the Transit engine is mounted",
            ),
            KeyLook::NoMount => self.mounted(
                ConditionStatus::False,
                "NoMount",
                "no Transit engine is mounted",
            ),
            _ => self.mounted(
                ConditionStatus::False,
                "NoNamespace",
                "the organization has no namespace in OpenBao",
            ),
        }
        if self.was_made() {
            return self.gone(place, missing, deletion).map(|()| None);
        }
        if self.is_going() {
            return self
                .not_ready(
                    "Deleting",
                    "the KMSKey is being deleted; no key is made for it",
                )
                .map(|()| None);
        }
        self.step(step).map(|()| None)
    }

    /// A key that was there before is never made again: it would be another key under the same name, with which nothing opens that the lost
    /// one encrypted.
    fn gone(&mut self, place: &KeyPlace, missing: &str, deletion: &Deletion) -> Go<()> {
        self.no_rotation("KeyMissing", "there is no key to rotate");
        if *deletion == Deletion::Due {
            let message = "the key was deleted at the end of its countdown";
            let _: Go<()> = self.not_ready("Deleted", message);
            return match self.has_finalizer() && self.is_going() {
                true => self.step(Step::RemoveFinalizer),
                false => Err(()),
            };
        }
        let message = format!(
            "{place} was there, and {missing} is missing in OpenBao; restore OpenBao from a backup, or, if nothing that the key encrypted is \
             needed, delete this KMSKey and create it again for a new key"
        );
        self.not_ready("KeyMissing", &message)
    }

    fn unanswered(&mut self, error: &ServiceError) -> Go<()> {
        let reason = error.kind.reason();
        // What an outage says differs from call to call; a status must not.
        let (status, message) = match error.kind {
            ServiceErrorKind::Unavailable => (
                ConditionStatus::Unknown,
                "OpenBao gives no answer; what else the status says is what was seen last",
            ),
            // The manager may not look, so that nothing is known of a key that was there.
            ServiceErrorKind::Denied if self.was_made() => {
                (ConditionStatus::Unknown, &*error.message)
            }
            _ => (ConditionStatus::False, &*error.message),
        };
        self.ready(status, reason, message);
        if !matches!(error.kind, ServiceErrorKind::Unverified) {
            self.mounted(ConditionStatus::Unknown, reason, message);
        }
        self.plan.failure = Some(error.clone());
        Err(())
    }

    /// Refuses a key that is not what the spec asks for, or not what it was.
    fn profile(&mut self, stored: &StoredKey, algorithm: Algorithm) -> Go<()> {
        let mismatches = stored.mismatches(algorithm);
        if !mismatches.is_empty() {
            let fields = mismatches.join(", ");
            let message = format!(
                "the key is in OpenBao with another {fields} than it must have, which no write changes; use another name, or for `type` the \
                 algorithm `{}` in spec.algorithm",
                stored.kind
            );
            return self.not_ready("ProfileMismatch", &message);
        }
        if stored.soft_deleted {
            let message = "the key is soft-deleted in OpenBao; restore it with soft-delete-restore";
            return self.not_ready("SoftDeleted", message);
        }
        let known = self.observed.key.status.current_version.unwrap_or_default();
        if i64::from(stored.latest_version) < known {
            let message = format!(
                "the key went back from version {known} to {}; if OpenBao was restored from a backup, rotate the key past version {known}",
                stored.latest_version
            );
            return self.not_ready("KeyWentBack", &message);
        }
        Ok(())
    }

    fn versions(&mut self, stored: &StoredKey) {
        let status = &mut self.plan.status;
        status.current_version = Some(stored.latest_version.into());
        status.min_decryption_version = Some(stored.min_decryption_version.into());
        let rotated = (stored.latest_version > 1)
            .then(|| stored.newest())
            .flatten();
        status.last_rotated_time = rotated.map(k8s_time);
    }

    fn was_made(&self) -> bool {
        self.observed.key.status.current_version.is_some()
    }

    fn is_going(&self) -> bool {
        self.observed.key.metadata.deletion_timestamp.is_some()
    }

    fn has_finalizer(&self) -> bool {
        has_finalizer(&self.observed.key.metadata, FINALIZER)
    }

    /// The note of a rotation that began.
    fn claim(&self) -> Option<Result<Claim, InvalidClaim>> {
        let annotations = self.observed.key.metadata.annotations.as_ref()?;
        Some(annotations.get(ROTATION_CLAIM)?.parse())
    }

    fn step(&mut self, step: Step) -> Go<()> {
        self.plan.step = Some(step);
        Err(())
    }

    fn again(&mut self, at: Timestamp) {
        let earlier = self.plan.again.is_none_or(|other| at < other);
        if earlier {
            self.plan.again = Some(at);
        }
    }

    fn not_ready(&mut self, reason: &str, message: &str) -> Go<()> {
        let message = format!("{message}{}", self.remark);
        self.ready(ConditionStatus::False, reason, &message);
        Err(())
    }

    fn ready(&mut self, status: ConditionStatus, reason: &str, message: &str) {
        self.set(condition::READY, status, reason, message);
    }

    fn mounted(&mut self, status: ConditionStatus, reason: &str, message: &str) {
        self.set(condition::OPENBAO_MOUNTED, status, reason, message);
    }

    fn no_rotation(&mut self, reason: &str, message: &str) {
        self.plan.status.next_rotation_time = None;
        self.set(
            condition::ROTATION_SCHEDULED,
            ConditionStatus::False,
            reason,
            message,
        );
    }

    fn set(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: &str) {
        let condition = Condition {
            kind,
            status,
            reason,
            message,
        };
        let generation = self.observed.key.metadata.generation;
        self.plan
            .status
            .conditions
            .set(&condition, generation, self.now);
    }

    fn notice(&mut self, kind: EventKind, reason: &'static str, message: String) {
        self.plan.notices.push(Notice {
            kind,
            reason,
            message,
        });
    }
}

/// A time as the status has it.
fn k8s_time(time: Timestamp) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time)
}
