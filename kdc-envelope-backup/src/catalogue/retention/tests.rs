use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{Candidate, Decision, GRACE, Retention, plan};
use crate::catalogue::State;
use crate::store::Seen;

const DAY: u64 = 86_400;
const NOW: u64 = 1000 * DAY;

fn candidate(cluster: &str, id: &str, state: State, age: u64) -> Candidate {
    Candidate {
        cluster: cluster.to_owned(),
        id: id.to_owned(),
        state,
        created: NOW - age * DAY,
        modified: NOW - age * DAY,
        bytes: 1,
        seen: Seen::Orphan { modified: 0 },
    }
}

fn decide(candidates: &[Candidate], retention: Retention) -> Vec<Decision> {
    plan(candidates, &retention, NOW)
}

#[test]
fn each_cluster_keeps_its_own() {
    let complete = |cluster, id, age| candidate(cluster, id, State::CompleteV2, age);
    let candidates = [
        complete("a", "1", 9),
        complete("a", "2", 5),
        complete("a", "3", 1),
        complete("b", "1", 900),
    ];
    let last = Retention {
        last: Some(2),
        ..Retention::default()
    };
    use Decision::{DeleteOld, KeepLast, KeepNewest, KeepNoRule, KeepWithin};
    assert_eq!(
        decide(&candidates, last),
        [DeleteOld, KeepLast, KeepNewest, KeepNewest]
    );
    let within = Retention {
        within: Some(Duration::from_secs(5 * DAY)),
        ..Retention::default()
    };
    assert_eq!(
        decide(&candidates, within),
        [DeleteOld, KeepWithin, KeepNewest, KeepNewest]
    );
    let either = Retention {
        last: Some(1),
        within: Some(Duration::from_secs(9 * DAY)),
        ..Retention::default()
    };
    assert_eq!(
        decide(&candidates, either),
        [KeepWithin, KeepWithin, KeepNewest, KeepNewest]
    );
    let nothing = decide(&candidates, Retention::default());
    assert_eq!(nothing, [KeepNoRule, KeepNoRule, KeepNewest, KeepNewest]);
}

#[test]
fn only_old_orphans_go_and_only_when_asked() {
    let mut orphan = candidate("a", "o", State::Orphan, 2);
    let mut retention = Retention::default();
    assert_eq!(decide(&[orphan.clone()], retention), [Decision::KeepOrphan]);
    retention.orphans = true;
    assert_eq!(
        decide(&[orphan.clone()], retention),
        [Decision::DeleteOrphan]
    );
    orphan.modified = NOW - GRACE.as_secs();
    assert_eq!(decide(&[orphan.clone()], retention), [Decision::KeepYoung]);
    orphan.modified = NOW + 5;
    assert_eq!(decide(&[orphan], retention), [Decision::KeepYoung]);
}

#[test]
fn damaged_ones_do_not_stand_in_for_good_ones() {
    let candidates = [
        candidate("a", "good", State::CompleteV1, 90),
        candidate("a", "bad", State::MetadataDamaged, 1),
        candidate("a", "new", State::UnknownSchema, 0),
        candidate("a", "later", State::TimeUnknown, 0),
        candidate("a", "pipe", State::NotLookedAt, 0),
    ];
    let retention = Retention {
        last: Some(1),
        orphans: true,
        ..Retention::default()
    };
    use Decision::{KeepNewest, KeepUnknown};
    assert_eq!(
        decide(&candidates, retention),
        [
            KeepNewest,
            KeepUnknown,
            KeepUnknown,
            KeepUnknown,
            KeepUnknown
        ]
    );
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let state = prop::sample::select(&State::ALL[..11]);
    ("[ab]", "[a-z]{1,3}", state, 0..60_u64)
        .prop_map(|(cluster, id, state, age)| candidate(&cluster, &id, state, age))
}

fn any_retention() -> impl Strategy<Value = Retention> {
    let within = prop::option::of((0..60 * DAY).prop_map(Duration::from_secs));
    (prop::option::of(1..10_u64), within, any::<bool>()).prop_map(|(last, within, orphans)| {
        Retention {
            last,
            within,
            orphans,
        }
    })
}

proptest! {
    #[test]
    fn what_must_stay_stays(candidates in prop::collection::vec(any_candidate(), 0..40), retention in any_retention()) {
        let decisions = decide(&candidates, retention);
        prop_assert_eq!(decisions.len(), candidates.len());
        let pairs = || candidates.iter().zip(&decisions);
        for (candidate, decision) in pairs() {
            let is_understood = candidate.state.is_complete() || candidate.state == State::Orphan;
            prop_assert!(is_understood || !decision.is_delete());
            if candidate.state == State::Orphan {
                prop_assert!(retention.orphans || !decision.is_delete());
            }
        }
        let clusters: BTreeSet<&str> = candidates.iter().map(|c| c.cluster.as_str()).collect();
        for cluster in clusters {
            let complete = || pairs().filter(|(c, _)| c.cluster == cluster && c.state.is_complete());
            let kept = complete().filter(|(_, decision)| !decision.is_delete());
            let oldest_kept = kept.clone().map(|(c, _)| c.created).min();
            // Some stay, as many as were asked for, and none that is newer than one that stays goes.
            let total = complete().count() as u64;
            prop_assert!(kept.count() as u64 >= total.min(retention.last.unwrap_or(1)));
            for (gone, _) in complete().filter(|(_, decision)| decision.is_delete()) {
                prop_assert!(Some(gone.created) <= oldest_kept);
                if let Some(within) = retention.within {
                    prop_assert!(NOW - gone.created > within.as_secs());
                }
            }
        }
    }

    #[test]
    fn pruning_twice_deletes_nothing_more(candidates in prop::collection::vec(any_candidate(), 0..40), retention in any_retention()) {
        let decisions = decide(&candidates, retention);
        let pairs = candidates.iter().zip(&decisions);
        let left: Vec<Candidate> = pairs
            .filter(|(_, decision)| !decision.is_delete())
            .map(|(candidate, _)| candidate.clone())
            .collect();
        prop_assert!(!decide(&left, retention).iter().any(|decision| decision.is_delete()));
    }
}
