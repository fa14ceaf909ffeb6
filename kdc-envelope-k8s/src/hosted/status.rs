//! What the status of a KdcCluster says of its encryption. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::advance::Rows;
use super::goal::Goal;
use super::plan::{Observed, Step};
use super::refused::ConfigError;
use crate::crd::kdc_cluster::{EncryptionStatus, KekRotationStatus, condition};
use crate::crd::{Condition, ConditionStatus, Conditions, KdcCluster, KmsKey};
use crate::rotation::{Blocker, Phase};

/// `status.encryption` and the conditions, before a step and after it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<EncryptionStatus>,
    pub(super) conditions: Conditions,
}

impl Status {
    /// As it is stored.
    pub(super) fn of(cluster: &KdcCluster) -> Self {
        Self {
            encryption: cluster.status.encryption.clone(),
            conditions: cluster.status.conditions.clone(),
        }
    }
}

/// What the status is to say after `step`. `rows` is what was seen of them, if they were looked at.
pub(super) fn status(observed: &Observed, step: &Step, rows: Option<&Rows>) -> Status {
    let cluster = &observed.cluster;
    let mut status = Status::of(cluster);
    let goal = Goal::of(cluster);
    let is_refused = matches!(step, Step::Refuse(_));
    if goal == Goal::Off && status.encryption.is_none() && !is_refused {
        return status;
    }
    let mut encryption = status.encryption.take().unwrap_or_default();
    if goal != Goal::Off && !is_refused {
        keys(observed, &mut encryption);
    }
    progress(observed, step, rows, &mut encryption);
    let mut conditions = Writer {
        observed,
        conditions: &mut status.conditions,
    };
    conditions.config_error(step);
    conditions.available(&encryption, step, rows);
    conditions.rotation(rows);
    conditions.external(goal == Goal::Encrypted && cluster.given_key().is_some());
    status.encryption = Some(encryption);
    status
}

/// Sets the conditions of encryption among those of others.
struct Writer<'w> {
    observed: &'w Observed,
    conditions: &'w mut Conditions,
}

impl Writer<'_> {
    fn set(&mut self, kind: &str, is_so: bool, reason: &str, message: &str) {
        let condition = Condition {
            kind,
            status: ConditionStatus::from(is_so),
            reason,
            message,
        };
        let generation = self.observed.cluster.metadata.generation;
        self.conditions
            .set(&condition, generation, self.observed.now);
    }

    fn config_error(&mut self, step: &Step) {
        let Step::Refuse(errors) = step else {
            let message = "the spec can be carried out";
            return self.set(condition::CONFIG_ERROR, false, "Accepted", message);
        };
        let reason = errors.first().map_or("Refused", ConfigError::reason);
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        self.set(condition::CONFIG_ERROR, true, reason, &lines.join("; "));
    }

    fn available(&mut self, encryption: &EncryptionStatus, step: &Step, rows: Option<&Rows>) {
        let is_ready = encryption.kms_plugin_ready == Some(true);
        let (reason, message) = match (is_ready, step, rows) {
            (true, ..) => (
                "PluginsReady",
                "the plugin of every API server is ready".to_owned(),
            ),
            (_, Step::Wait(waiting), _) => (waiting.reason, waiting.message.clone()),
            (_, Step::Refuse(_), _) => ("Refused", format!("see {}", condition::CONFIG_ERROR)),
            (_, _, Some(rows)) if !rows.blockers.is_empty() => ("Waiting", list(&rows.blockers)),
            (_, Step::Idle, _) => (
                "Disabled",
                "the control plane runs without plugins".to_owned(),
            ),
            _ => (
                "Progressing",
                "the control plane gets its plugins".to_owned(),
            ),
        };
        self.set(condition::AVAILABLE, is_ready, reason, &message);
    }

    fn rotation(&mut self, rows: Option<&Rows>) {
        let Some(rows) = rows else {
            return;
        };
        let is_done = rows.phase == Phase::Done;
        let message = match (is_done, rows.blockers.is_empty()) {
            (true, _) => "every row is under the newest key".to_owned(),
            (false, true) => format!("the change of the rows is at {}", rows.phase),
            (false, false) => format!("waits: {}", list(&rows.blockers)),
        };
        self.set(
            condition::ROTATION_IN_PROGRESS,
            !is_done,
            rows.phase.as_str(),
            &message,
        );
        let stuck = rows
            .blockers
            .iter()
            .filter(|blocker| !blocker.passes_by_itself());
        let stuck: Vec<_> = stuck.cloned().collect();
        match stuck.is_empty() {
            true => self.set(
                condition::ROTATION_BLOCKED,
                false,
                "NotBlocked",
                "nothing is in the way",
            ),
            false => self.set(condition::ROTATION_BLOCKED, true, "Blocked", &list(&stuck)),
        }
    }

    fn external(&mut self, is_given: bool) {
        if !is_given {
            return self.conditions.remove(condition::ROTATION_EXTERNAL);
        }
        let message =
            "spec.encryption.etcd.keyRef names the key, so its rotation is left to its owner";
        self.set(condition::ROTATION_EXTERNAL, true, "KeyRefGiven", message);
    }
}

fn list(blockers: &[Blocker]) -> String {
    let lines: Vec<_> = blockers.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn keys(observed: &Observed, encryption: &mut EncryptionStatus) {
    let cluster = &observed.cluster;
    let key = cluster.key_name();
    let etcd = cluster.etcd();
    let backup = etcd.and_then(|etcd| etcd.backup.as_ref()?.key_ref.clone());
    encryption.resolved_backup_key_ref = Some(backup.unwrap_or_else(|| key.clone()));
    encryption.resolved_key_ref = Some(key);
    if let Some(key) = &observed.key {
        encryption.current_key_version = version(key.status.current_version);
        encryption.kek_rotation = Some(rotation(key));
    }
}

fn version(version: Option<i64>) -> Option<i32> {
    version.and_then(|version| i32::try_from(version).ok())
}

/// The rotation of the key, as the KMSKey has it.
fn rotation(key: &KmsKey) -> KekRotationStatus {
    let spec = key.spec.rotation.as_ref();
    KekRotationStatus {
        enabled: Some(spec.and_then(|rotation| rotation.enabled).unwrap_or(false)),
        current_version: version(key.status.current_version),
        last_rotated_time: key.status.last_rotated_time.clone(),
        next_rotation_time: key.status.next_rotation_time.clone(),
        min_decryption_version: version(key.status.min_decryption_version),
    }
}

fn progress(
    observed: &Observed,
    step: &Step,
    rows: Option<&Rows>,
    encryption: &mut EncryptionStatus,
) {
    if let Some(are_ready) = rows.and_then(|rows| rows.are_plugins_ready) {
        encryption.kms_plugin_ready = Some(are_ready);
    }
    if let Some(rows) = rows {
        let was_running = encryption.rewrap_in_progress == Some(true);
        let is_running = matches!(rows.phase, Phase::Rewriting | Phase::Verifying);
        if was_running && matches!(rows.phase, Phase::Pruning | Phase::Done) {
            encryption.last_rewrap_completed = Some(Time(observed.now));
        }
        encryption.rewrap_in_progress = Some(is_running);
    }
    encryption.disable_migration_progress = match (Goal::of(&observed.cluster), step) {
        (Goal::Decrypted, Step::UpdateControlPlane { .. }) => Some(100),
        (Goal::Decrypted, Step::Idle) | (Goal::Off | Goal::Encrypted, _) => None,
        (Goal::Decrypted, _) => {
            let now = rows.map_or(0, decrypted);
            Some(encryption.disable_migration_progress.unwrap_or(0).max(now))
        }
    };
    if let Step::UpdateControlPlane {
        is_attached: false, ..
    } = step
    {
        encryption.kms_plugin_ready = Some(false);
        encryption.rewrap_in_progress = Some(false);
    }
}

/// How much is decrypted, in percent, of a change that is not done.
fn decrypted(rows: &Rows) -> i32 {
    match (rows.phase, &rows.pass) {
        (Phase::Rewriting, Some(pass)) => {
            let resources = u64::try_from(pass.resources).unwrap_or(u64::MAX).max(1);
            let whole = u64::try_from(pass.resources_done).unwrap_or_default() * 100;
            let part = pass.total.filter(|total| *total > 0);
            let part = part.map_or(0, |total| pass.done.min(total) * 100 / total);
            let share = (whole + part) / resources;
            i32::try_from(share).unwrap_or(99).clamp(1, 90)
        }
        (Phase::Verifying, _) => 95,
        (Phase::Pruning, _) => 98,
        (Phase::Done, _) => 99,
        _ => 0,
    }
}
