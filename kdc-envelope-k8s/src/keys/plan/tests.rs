use core::time::Duration;

use super::*;
use crate::crd::kms_key::KmsKeySpec;
use jiff::SignedDuration;
use serde_json::{Value, json};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + days * 86_400).unwrap()
}

/// A KMSKey and all that is around it; made on day 0.
struct Case {
    key: KmsKey,
    place: Result<KeyPlace, PlaceError>,
    look: Result<KeyLook, ServiceError>,
    users: Vec<KeyUser>,
    snapshots: Snapshots,
}

impl Case {
    fn new(spec: Value) -> Self {
        let object = json!({"metadata": {"name": "prod-etcd", "namespace": "acme-docs", "generation": 3}, "spec": spec});
        Self {
            key: serde_json::from_value(object).unwrap(),
            place: Ok(KeyPlace::new("acme", "transit", "acme-docs-prod-etcd")),
            look: Ok(KeyLook::Found(stored(&[0]))),
            users: Vec::new(),
            snapshots: Snapshots::Unknown,
        }
    }

    fn rotating(interval: &str) -> Self {
        Self::new(json!({"purpose": "etcd", "rotation": {"enabled": true, "interval": interval}}))
    }

    fn with(mut self, look: Result<KeyLook, ServiceError>) -> Self {
        self.look = look;
        self
    }

    fn used(mut self, holds_rotation: Option<&'static str>) -> Self {
        self.users.push(KeyUser {
            cluster: "prod".into(),
            holds_rotation,
        });
        self
    }

    fn claimed(mut self, claim: &str) -> Self {
        let annotations = self.key.metadata.annotations.get_or_insert_default();
        annotations.insert(ROTATION_CLAIM.to_owned(), claim.to_owned());
        self
    }

    fn plan(&self, now: Timestamp) -> Plan {
        let observed = ObservedKey {
            key: &self.key,
            place: &self.place,
            look: self.place.is_ok().then_some(&self.look),
            users: &self.users,
            snapshots: self.snapshots,
        };
        plan(&observed, now)
    }

    /// Takes the status of a plan over, as if it was written.
    fn settle(&mut self, now: Timestamp) -> Plan {
        let plan = self.plan(now);
        self.key.status = plan.status.clone();
        plan
    }
}

/// A key whose versions were made on these days.
fn stored(days: &[i64]) -> StoredKey {
    let versions = (1..).zip(days.iter().map(|day| at(*day)));
    StoredKey {
        kind: "aes256-gcm96".to_owned(),
        latest_version: u32::try_from(days.len()).unwrap(),
        created: versions.collect(),
        min_decryption_version: 1,
        ..StoredKey::default()
    }
}

fn found(days: &[i64]) -> Result<KeyLook, ServiceError> {
    Ok(KeyLook::Found(stored(days)))
}

fn error(kind: ServiceErrorKind) -> ServiceError {
    ServiceError {
        kind,
        message: "in the words of OpenBao".into(),
    }
}

/// Status and reason of a condition.
fn shown<'p>(plan: &'p Plan, kind: &str) -> (&'static str, &'p str) {
    let found = plan.status.conditions.get(kind).unwrap();
    (found.status.as_str(), found.reason)
}

fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.notices.iter().map(|notice| notice.reason).collect()
}

// Creation and profile.

#[test]
fn the_transit_mount_and_the_namespace_are_created_on_the_first_key() {
    let steps = [
        (KeyLook::NoNamespace, Step::CreateNamespace),
        (KeyLook::NoMount, Step::CreateMount),
        (KeyLook::NoKey, Step::CreateKey(Algorithm::Aes256Gcm96)),
    ];
    for (look, step) in steps {
        let case = Case::new(json!({})).with(Ok(look));
        assert_eq!(case.plan(at(0)).step, Some(step));
    }
    let other = Case::new(json!({"algorithm": "chacha20-poly1305"})).with(Ok(KeyLook::NoKey));
    let step = Step::CreateKey(Algorithm::ChaCha20Poly1305);
    assert_eq!(other.plan(at(0)).step, Some(step));
}

#[test]
fn a_key_that_is_there_is_ready_and_its_id_is_organization_mount_and_name() {
    let plan = Case::new(json!({})).plan(at(1));
    assert_eq!(plan.step, None);
    assert_eq!(shown(&plan, "Ready"), ("True", "KeyReady"));
    assert_eq!(shown(&plan, "OpenBaoMounted"), ("True", "Mounted"));
    assert_eq!(shown(&plan, "RotationScheduled"), ("False", "Disabled"));
    let status = &plan.status;
    assert_eq!(
        status.key_id.as_deref(),
        Some("acme/transit/keys/acme-docs-prod-etcd")
    );
    assert_eq!(
        (status.current_version, status.min_decryption_version),
        (Some(1), Some(1))
    );
    assert_eq!(status.last_rotated_time, None, "version 1 is no rotation");
    assert_eq!(status.conditions.observed_generation("Ready"), Some(3));
}

#[test]
fn what_came_back_is_checked_against_the_profile() {
    type Change = fn(&mut StoredKey);
    let changes: [(&str, Change); 4] = [
        ("type", |key| key.kind = "rsa-4096".to_owned()),
        ("exportable", |key| key.exportable = true),
        ("allow_plaintext_backup", |key| {
            key.allow_plaintext_backup = true
        }),
        ("derived", |key| key.derived = true),
    ];
    for (field, change) in changes {
        let mut key = stored(&[0]);
        change(&mut key);
        let plan = Case::rotating("7d")
            .with(Ok(KeyLook::Found(key)))
            .plan(at(30));
        assert_eq!(plan.step, None, "{field}: it is not even rotated");
        assert_eq!(shown(&plan, "Ready"), ("False", "ProfileMismatch"));
        let ready = plan.status.conditions.get("Ready").unwrap();
        assert!(ready.message.contains(field), "{}", ready.message);
    }
    let mut deleted = stored(&[0]);
    deleted.soft_deleted = true;
    let plan = Case::new(json!({}))
        .with(Ok(KeyLook::Found(deleted)))
        .plan(at(0));
    assert_eq!(shown(&plan, "Ready"), ("False", "SoftDeleted"));
}

#[test]
fn deletion_and_rotation_by_openbao_itself_are_forbidden_again_when_they_drifted() {
    let mut key = stored(&[0]);
    key.deletion_allowed = true;
    key.auto_rotate_period = Duration::from_hours(1);
    let plan = Case::rotating("7d")
        .with(Ok(KeyLook::Found(key)))
        .plan(at(30));
    let drift = vec!["deletion_allowed", "auto_rotate_period"];
    assert_eq!(
        plan.step,
        Some(Step::ProtectKey(drift)),
        "before it is rotated"
    );
}

#[test]
fn each_refusal_of_the_spec_names_the_field_and_touches_nothing() {
    for (field, value) in [
        ("purpose", json!("x")),
        ("algorithm", json!("rsa-4096")),
        ("deletionPolicy", json!("now")),
        ("exportable", json!(true)),
    ] {
        for look in [Ok(KeyLook::NoKey), found(&[0])] {
            let mut case = Case::rotating("7d").with(look);
            let mut spec = serde_json::to_value(&case.key.spec).unwrap();
            spec[field] = value.clone();
            case.key.spec = serde_json::from_value::<KmsKeySpec>(spec).unwrap();
            let plan = case.plan(at(30));
            assert_eq!(plan.step, None, "{field}");
            assert_eq!(shown(&plan, "Ready"), ("False", "InvalidSpec"));
            let ready = plan.status.conditions.get("Ready").unwrap();
            assert!(ready.message.contains(field), "{}", ready.message);
        }
    }
}

#[test]
fn a_key_without_a_place_is_refused() {
    let mut case = Case::rotating("7d");
    let rival = ObjectKey::new("acme-b", "c");
    let place = KeyPlace::new("acme", "transit", "acme-b-c");
    case.place = Err(PlaceError::Taken { rival, place });
    let plan = case.plan(at(30));
    assert_eq!(plan.step, None);
    assert_eq!(shown(&plan, "Ready"), ("False", "NameTaken"));
}

// What was not answered, and what went away.

#[test]
fn a_missing_answer_is_unknown_and_never_a_reason_to_create_rotate_or_delete() {
    for policy in ["retain", "schedule"] {
        let mut case = Case::rotating("7d");
        case.key.spec.deletion_policy = Some(policy.to_owned());
        case.settle(at(0));
        case.key.metadata.finalizers = (policy == "schedule").then(|| vec![FINALIZER.to_owned()]);
        case.snapshots = Snapshots::None;
        let case = case.with(Err(error(ServiceErrorKind::Unavailable)));
        let plan = case.plan(at(400));
        assert_eq!(plan.step, None, "{policy}");
        assert_eq!(shown(&plan, "Ready"), ("Unknown", "OpenBaoUnavailable"));
        assert_eq!(
            shown(&plan, "OpenBaoMounted"),
            ("Unknown", "OpenBaoUnavailable")
        );
        assert!(plan.failure.is_some());
        assert_eq!(plan.status.current_version, case.key.status.current_version);
    }
    let denied = Case::new(json!({}))
        .with(Err(error(ServiceErrorKind::Denied)))
        .plan(at(0));
    assert_eq!(denied.step, None);
    assert_eq!(shown(&denied, "Ready"), ("False", "OpenBaoDenied"));
}

#[test]
fn the_words_of_an_outage_do_not_change_the_status_again_and_again() {
    let mut case = Case::new(json!({})).with(Err(error(ServiceErrorKind::Unavailable)));
    case.settle(at(0));
    let mut other = error(ServiceErrorKind::Unavailable);
    other.message = "other words".into();
    let case = case.with(Err(other));
    assert_eq!(case.plan(at(1)).status, case.key.status);
}

#[test]
fn a_key_that_was_there_and_is_gone_is_never_made_again() {
    for look in [KeyLook::NoKey, KeyLook::NoMount, KeyLook::NoNamespace] {
        let mut case = Case::rotating("7d");
        case.settle(at(0));
        let plan = case.with(Ok(look.clone())).plan(at(1));
        assert_eq!(plan.step, None, "{look:?}");
        assert_eq!(shown(&plan, "Ready"), ("False", "KeyMissing"));
        assert_eq!(shown(&plan, "RotationScheduled"), ("False", "KeyMissing"));
    }
}

#[test]
fn a_key_that_went_back_to_an_older_version_is_not_rotated() {
    let mut case = Case::rotating("7d").with(found(&[0, 1, 2]));
    case.settle(at(2));
    let plan = case.with(found(&[0, 1])).plan(at(30));
    assert_eq!(plan.step, None);
    assert_eq!(shown(&plan, "Ready"), ("False", "KeyWentBack"));
}

// Rotation.

#[test]
fn the_first_rotation_is_counted_from_the_creation_of_version_1() {
    let case = Case::rotating("90d").with(found(&[5]));
    let early = case.plan(at(95) - SignedDuration::from_secs(1));
    assert_eq!(early.step, None);
    assert_eq!(shown(&early, "RotationScheduled"), ("True", "Scheduled"));
    assert_eq!(early.status.next_rotation_time, Some(k8s_time(at(95))));
    assert_eq!(early.again, Some(at(95)));
    assert_eq!(case.plan(at(95)).step, Some(Step::Rotate { from: 1 }));
}

#[test]
fn a_missed_rotation_is_done_once_not_once_for_each_interval() {
    let late = at(5 + 4 * 90);
    let mut case = Case::rotating("90d").with(found(&[5]));
    assert_eq!(case.plan(late).step, Some(Step::Rotate { from: 1 }));
    case = case.with(found(&[5, 5 + 4 * 90]));
    let after = case.plan(late + DAY);
    assert_eq!(after.step, None);
    assert_eq!(
        after.status.next_rotation_time,
        Some(k8s_time(late + DAY * 90))
    );
}

#[test]
fn the_times_of_the_status_are_those_of_openbao() {
    let plan = Case::rotating("30d").with(found(&[0, 7])).plan(at(20));
    assert_eq!(plan.status.last_rotated_time, Some(k8s_time(at(7))));
    assert_eq!(plan.status.next_rotation_time, Some(k8s_time(at(37))));
    let mut timeless = stored(&[0]);
    timeless.created.clear();
    let plan = Case::rotating("30d")
        .with(Ok(KeyLook::Found(timeless)))
        .plan(at(99));
    assert_eq!(plan.step, None);
    assert_eq!(
        shown(&plan, "RotationScheduled"),
        ("Unknown", "VersionUnknown")
    );
}

#[test]
fn an_interval_that_is_refused_stops_rotation_and_not_the_key() {
    for interval in ["2w", "59m", "731d", ""] {
        let plan = Case::rotating(interval).plan(at(900));
        assert_eq!(plan.step, None, "{interval}");
        assert_eq!(
            shown(&plan, "RotationScheduled"),
            ("False", "InvalidInterval")
        );
        assert_eq!(shown(&plan, "Ready"), ("True", "KeyReady"));
        assert_eq!(plan.status.next_rotation_time, None);
    }
}

#[test]
fn a_rotation_queues_until_the_last_one_reached_all_rows_of_each_cluster() {
    let why = "the last rotation has not reached all of its rows";
    let plan = Case::rotating("7d").used(None).used(Some(why)).plan(at(8));
    assert_eq!(plan.step, None);
    assert_eq!(
        shown(&plan, "RotationScheduled"),
        ("True", "WaitingForCluster")
    );
    let plan = Case::rotating("7d").used(None).plan(at(8));
    assert_eq!(plan.step, Some(Step::Rotate { from: 1 }));
}

#[test]
fn min_decryption_version_is_shown_and_no_step_can_change_it() {
    let mut key = stored(&[0, 1, 2]);
    key.min_decryption_version = 2;
    let plan = Case::rotating("7d")
        .with(Ok(KeyLook::Found(key)))
        .plan(at(3));
    assert_eq!(plan.status.min_decryption_version, Some(2));
    assert_eq!(plan.step, None);
}

// One rotator.

#[test]
fn a_claim_of_another_process_keeps_a_rotation_away_until_it_expires() {
    let claim = Claim::new(1, at(8));
    let case = Case::rotating("7d").claimed(&claim.to_string());
    let soon = case.plan(at(8) + SignedDuration::from_secs(1));
    assert_eq!(soon.step, None);
    assert_eq!(shown(&soon, "RotationScheduled"), ("True", "Rotating"));
    assert_eq!(soon.again, claim.expiry());
    let later = case.plan(claim.expiry().unwrap());
    assert_eq!(later.step, Some(Step::Rotate { from: 1 }));
}

#[test]
fn a_claim_whose_rotation_happened_is_released_and_nothing_is_rotated_twice() {
    let claim = Claim::new(1, at(8)).to_string();
    let case = Case::rotating("7d").with(found(&[0, 8])).claimed(&claim);
    assert_eq!(case.plan(at(8)).step, Some(Step::ReleaseClaim));
    let case = Case::rotating("7d").with(found(&[0, 8]));
    assert_eq!(case.plan(at(8)).step, None);
}

#[test]
fn a_rotation_whose_end_is_not_known_is_never_retried_blindly() {
    let unverified = Claim::new(1, at(8)).unverified().to_string();
    for (claim, look) in [
        (&*unverified, found(&[0])),
        (&*unverified, found(&[0, 8])),
        ("nonsense", found(&[0])),
    ] {
        let plan = Case::rotating("7d").with(look).claimed(claim).plan(at(400));
        assert_eq!(plan.step, None, "{claim}");
        assert_eq!(
            shown(&plan, "RotationScheduled"),
            ("False", "RotationUnverified")
        );
        assert_eq!(
            shown(&plan, "Ready"),
            ("True", "KeyReady"),
            "it still serves"
        );
        assert_eq!(reasons(&plan), ["RotationUnverified"]);
    }
}

// Deletion.

fn scheduled() -> Case {
    let mut case = Case::new(json!({"purpose": "application", "deletionPolicy": "schedule"}));
    case.key.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    case
}

#[test]
fn retain_leaves_the_key() {
    let mut case = Case::new(json!({"deletionPolicy": "retain"}));
    case.key.metadata.deletion_timestamp = Some(k8s_time(at(1)));
    let plan = case.plan(at(99));
    assert_eq!((plan.step, plan.status.scheduled_deletion), (None, None));
}

#[test]
fn schedule_starts_a_countdown_of_30_days_and_the_key_goes_at_its_end() {
    let mut case = scheduled();
    case.key.metadata.finalizers = None;
    assert_eq!(
        case.plan(at(1)).step,
        Some(Step::AddFinalizer),
        "before the countdown"
    );
    let mut case = scheduled();
    let first = case.settle(at(1));
    assert_eq!(reasons(&first), ["DeletionScheduled"]);
    assert_eq!(case.key.status.scheduled_deletion, Some(k8s_time(at(31))));
    let later = case.settle(at(20));
    assert_eq!(later.step, None);
    assert_eq!(later.again, Some(at(31)), "it goes on from where it began");
    assert_eq!(shown(&later, "Ready"), ("True", "KeyReady"));
    assert_eq!(case.plan(at(31)).step, Some(Step::DeleteKey));
}

#[test]
fn the_countdown_is_cancelled_by_setting_retain_back() {
    let mut case = scheduled();
    case.settle(at(1));
    case.key.spec.deletion_policy = Some("retain".to_owned());
    let plan = case.plan(at(31));
    assert_eq!(plan.step, Some(Step::RemoveFinalizer));
    case.key.metadata.finalizers = None;
    let plan = case.settle(at(31));
    assert_eq!(
        (plan.step.clone(), plan.status.scheduled_deletion.clone()),
        (None, None)
    );
    assert_eq!(reasons(&plan), ["DeletionCancelled"]);
}

#[test]
fn a_countdown_is_cancelled_while_openbao_is_away_too() {
    let mut case = scheduled();
    case.settle(at(1));
    case.key.spec.deletion_policy = Some("retain".to_owned());
    case.key.metadata.finalizers = None;
    let plan = case
        .with(Err(error(ServiceErrorKind::Unavailable)))
        .plan(at(2));
    assert_eq!(plan.status.scheduled_deletion, None);
}

#[test]
fn deletion_is_refused_while_a_cluster_uses_the_key() {
    let mut case = scheduled();
    case.settle(at(1));
    let mut case = case.used(None);
    assert_eq!(case.plan(at(40)).step, Some(Step::RemoveFinalizer));
    case.key.metadata.finalizers = None;
    let plan = case.plan(at(40));
    assert_eq!(
        (plan.step.clone(), plan.status.scheduled_deletion.clone()),
        (None, None)
    );
    assert_eq!(reasons(&plan), ["DeletionCancelled", "DeletionRefused"]);
    let ready = plan.status.conditions.get("Ready").unwrap();
    assert!(
        ready
            .message
            .contains("refused while it is in use by KdcCluster `prod`")
    );
}

#[test]
fn deletion_is_refused_while_a_retained_backup_may_need_the_key() {
    for purpose in ["etcd", "backup"] {
        let mut case = scheduled();
        case.key.spec.purpose = Some(purpose.to_owned());
        case.settle(at(1));
        let plan = case.plan(at(99));
        assert_eq!(plan.step, None, "{purpose}");
        let ready = plan.status.conditions.get("Ready").unwrap();
        assert!(ready.message.contains("snapshots"), "{}", ready.message);
        case.snapshots = Snapshots::None;
        assert_eq!(case.plan(at(99)).step, Some(Step::DeleteKey), "{purpose}");
    }
}

#[test]
fn a_deleted_key_is_not_made_again_and_lets_its_object_go() {
    let mut case = scheduled();
    case.settle(at(1));
    let mut case = case.with(Ok(KeyLook::NoKey));
    let plan = case.settle(at(31));
    assert_eq!(plan.step, None);
    assert_eq!(shown(&plan, "Ready"), ("False", "Deleted"));
    case.key.metadata.deletion_timestamp = Some(k8s_time(at(32)));
    assert_eq!(case.plan(at(32)).step, Some(Step::RemoveFinalizer));
}

#[test]
fn a_key_that_is_to_be_deleted_does_not_rotate() {
    let mut case = scheduled();
    case.key.spec.rotation = Case::rotating("1d").key.spec.rotation;
    let plan = case.plan(at(20));
    assert_eq!(plan.step, None);
    assert_eq!(
        shown(&plan, "RotationScheduled"),
        ("False", "DeletionScheduled")
    );
}

#[test]
fn no_key_is_made_for_an_object_that_is_being_deleted() {
    let mut case = scheduled().with(Ok(KeyLook::NoKey));
    case.key.metadata.deletion_timestamp = Some(k8s_time(at(2)));
    assert_eq!(case.plan(at(3)).step, None);
}

#[test]
fn a_plan_for_what_did_not_change_changes_no_status() {
    for mut case in [
        Case::rotating("7d"),
        scheduled(),
        Case::rotating("1w"),
        Case::new(json!({})),
    ] {
        case.settle(at(1));
        assert_eq!(case.plan(at(2)).status, case.key.status);
    }
}
