//! When a key rotates.
//!
//! All times are those that OpenBao gives for the versions of the key, so the schedule is the same whichever process looks. The next
//! rotation is one interval after the newest version was made: for the first, after version 1. However many were missed, the next one makes
//! up for all of them.

use jiff::{SignedDuration, Timestamp};

use super::deletion::Deletion;
use super::{Go, Planner, Step, k8s_time};
use crate::controller::EventKind;
use crate::crd::ConditionStatus;
use crate::crd::kms_key::condition;
use crate::keys::claim::ROTATION_CLAIM;
use crate::keys::service::StoredKey;

impl Planner<'_> {
    /// Says when the key rotates, or what keeps it from rotating.
    pub(super) fn rotation(&mut self, stored: &StoredKey, deletion: &Deletion) -> Go<()> {
        if self.is_blocked(stored)? {
            return Ok(());
        }
        if *deletion != Deletion::Off || self.is_going() {
            self.no_rotation(
                "DeletionScheduled",
                "a key that is to be deleted does not rotate",
            );
            return Ok(());
        }
        let interval = match self.observed.key.spec.interval() {
            Ok(Some(interval)) => interval,
            Ok(None) => {
                self.no_rotation("Disabled", "spec.rotation.enabled is not true");
                return Ok(());
            }
            Err(error) => {
                let message = kdc_envelope::ErrorChain::new(&error).to_string();
                self.no_rotation("InvalidInterval", &message);
                return Ok(());
            }
        };
        let length = SignedDuration::try_from(interval.duration()).ok();
        let next = stored.newest().zip(length);
        let next = next.and_then(|(newest, length)| newest.checked_add(length).ok());
        match next {
            Some(next) => self.scheduled(stored, next),
            None => {
                let message = "OpenBao does not say when the newest version was made";
                self.set(
                    condition::ROTATION_SCHEDULED,
                    ConditionStatus::Unknown,
                    "VersionUnknown",
                    message,
                );
                Ok(())
            }
        }
    }

    fn scheduled(&mut self, stored: &StoredKey, next: Timestamp) -> Go<()> {
        self.plan.status.next_rotation_time = Some(k8s_time(next));
        let scheduled = |planner: &mut Self, reason, message: &str| {
            planner.set(
                condition::ROTATION_SCHEDULED,
                ConditionStatus::True,
                reason,
                message,
            );
        };
        if self.now < next {
            self.again(next);
            scheduled(self, "Scheduled", &format!("the key rotates at {next:.0}"));
            return Ok(());
        }
        if let Some(user) = self
            .observed
            .users
            .iter()
            .find(|user| user.holds_rotation.is_some())
        {
            let why = user.holds_rotation.unwrap_or_default();
            let message = format!(
                "the rotation is due and waits for KdcCluster `{}`: {why}",
                user.cluster
            );
            scheduled(self, "WaitingForCluster", &message);
            return Ok(());
        }
        // A claim that is neither over nor expired is another process at work.
        if let Some(Ok(claim)) = self.claim()
            && let Some(expiry) = claim.expiry()
            && self.now < expiry
        {
            self.again(expiry);
            scheduled(
                self,
                "Rotating",
                &format!("a rotation began at {:.0}", claim.since),
            );
            return Ok(());
        }
        self.step(Step::Rotate {
            from: stored.latest_version,
        })
    }

    /// Tidies up after a rotation that is over, and blocks the next one while it is not known how the last one ended.
    fn is_blocked(&mut self, stored: &StoredKey) -> Go<bool> {
        let claim = match self.claim() {
            None => return Ok(false),
            Some(Ok(claim)) => claim,
            Some(Err(error)) => {
                self.block(&format!("{error}; remove it if no rotation is under way"));
                return Ok(true);
            }
        };
        if claim.is_unverified {
            let from = claim.from;
            self.block(&format!(
                "the rotation from version {from} failed, and newer versions may not be stored in OpenBao; look at the key, rotate it once more \
                 by hand with no other change beside it, then remove the annotation {ROTATION_CLAIM}"
            ));
            return Ok(true);
        }
        match stored.latest_version > claim.from {
            true => self.step(Step::ReleaseClaim).map(|()| false),
            false => Ok(false),
        }
    }

    fn block(&mut self, message: &str) {
        self.no_rotation(UNVERIFIED, message);
        self.notice(EventKind::Warning, UNVERIFIED, message.to_owned());
    }
}

const UNVERIFIED: &str = "RotationUnverified";
