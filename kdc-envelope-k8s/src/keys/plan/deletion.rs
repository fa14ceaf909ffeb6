//! The countdown to the deletion of a key.

use jiff::{SignedDuration, Timestamp};

use super::{Go, Planner, Step, k8s_time};
use crate::controller::EventKind;
use crate::crd::kms_key::{DeletionPolicy, Purpose};

/// How long a deletion can be cancelled.
pub const COUNTDOWN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What keeps a KMSKey until its key was deleted.
pub const FINALIZER: &str = "security.kube-dc.com/openbao-key";

/// What is known of snapshots whose data keys are wrapped with a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Snapshots {
    /// Nothing, so that there may be some.
    #[default]
    Unknown,
    /// The operator says that there are none.
    None,
}

/// How far the deletion of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletion {
    /// The key is to stay.
    Off,
    /// The countdown runs.
    Scheduled,
    /// The countdown is over, and nothing speaks against it.
    Due,
}

impl Planner<'_> {
    /// Starts, goes on with, or cancels the countdown.
    pub(super) fn deletion(&mut self, policy: DeletionPolicy) -> Deletion {
        let before = self.observed.key.status.scheduled_deletion.as_ref();
        let before = before.map(|time| time.0);
        match policy {
            DeletionPolicy::Retain => {
                self.cancel("spec.deletionPolicy is retain", before);
                Deletion::Off
            }
            DeletionPolicy::Schedule if !self.observed.users.is_empty() => {
                let users = self.observed.users.iter();
                let users: Vec<_> = users.map(|user| format!("`{}`", user.cluster)).collect();
                let users = users.join(", ");
                self.remark =
                    format!("; its deletion is refused while it is in use by KdcCluster {users}");
                self.cancel(&format!("KdcCluster {users} uses the key"), before);
                let message = format!("the key is not deleted: it is in use by KdcCluster {users}");
                self.notice(EventKind::Warning, "DeletionRefused", message);
                Deletion::Off
            }
            DeletionPolicy::Schedule => self.countdown(before),
        }
    }

    fn countdown(&mut self, before: Option<Timestamp>) -> Deletion {
        let Some(at) = before.or_else(|| self.now.checked_add(COUNTDOWN).ok()) else {
            return Deletion::Off;
        };
        if before.is_none() {
            let message = format!(
                "the key will be deleted at {at:.0}, with everything that it encrypted; set spec.deletionPolicy to retain to keep it"
            );
            self.notice(EventKind::Warning, "DeletionScheduled", message);
        }
        self.plan.status.scheduled_deletion = Some(k8s_time(at));
        self.remark = format!("; it will be deleted at {at:.0}");
        if self.now < at {
            self.again(at);
            return Deletion::Scheduled;
        }
        if self.may_have_snapshots() {
            "; its countdown to deletion is over, and it stays: it is not known whether snapshots need it"
                .clone_into(&mut self.remark);
            return Deletion::Scheduled;
        }
        Deletion::Due
    }

    fn may_have_snapshots(&self) -> bool {
        let is_application = self.observed.key.spec.purpose() == Ok(Purpose::Application);
        !is_application && self.observed.snapshots == Snapshots::Unknown
    }

    fn cancel(&mut self, why: &str, before: Option<Timestamp>) {
        self.plan.status.scheduled_deletion = None;
        if before.is_some() {
            let message = format!("the deletion of the key is cancelled: {why}");
            self.notice(EventKind::Normal, "DeletionCancelled", message);
        }
    }

    /// The object waits for its key only as long as that is to be deleted.
    pub(super) fn finalizer(&mut self, deletion: &Deletion) -> Go<()> {
        let is_wanted = *deletion != Deletion::Off;
        match (is_wanted, self.has_finalizer()) {
            (true, false) if !self.is_going() => self.step(Step::AddFinalizer),
            (false, true) => self.step(Step::RemoveFinalizer),
            _ => Ok(()),
        }
    }
}
