//! Which version writes: pure decisions over what OpenBao showed.
//!
//! A version is announced when it is older than the hold time by the server's own clock. All replicas see the same creation time and
//! the same clock, so they announce at about the same moment, also one that was just started. Until then each of them has
//! polled at least once and can read the new version.
//!
//! Where the server tells no time that can be true, that of this machine counts, and in any case as much has passed as until the newest
//! version was made: what was held by then was announced by then, and a replica that starts must not go back behind it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope::KeyId;

use super::clock::{Clocks, Doubt};
use super::key::{KeyIdentity, TransitKey, TransitKeyName, own_version};
use crate::error::BaoError;

/// The version that wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) version: u32,
    pub(super) key_id: KeyId,
}

/// What is known about the key; replaced as a whole.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) key: Arc<TransitKey>,
    pub(super) announced: Option<Announced>,
    identity: KeyIdentity,
}

/// A look at the key, and what follows from it.
#[derive(Debug)]
pub(super) struct Observation {
    /// The view if nothing is announced anew.
    pub(super) view: View,
    /// The version that shall wrap from now on; announced before, or to be tried first.
    pub(super) candidate: Announced,
    /// How long until a newer version may be announced.
    pub(super) next_after: Option<Duration>,
    /// What the operator should know.
    pub(super) notes: Vec<Note>,
    /// Why the clock of the server does not count.
    pub(super) doubt: Option<Doubt>,
}

/// Something that happened to the key. Of several versions the newest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A version came.
    NewVersion(u32),
    /// A version vanished that was never announced: a rotation that was not stored.
    Vanished(u32),
    /// A version has another creation time: what it and others wrapped before is lost.
    Replaced {
        /// The newest of them.
        version: u32,
        /// How many there are.
        count: usize,
    },
    /// It is another key under the same name.
    Recreated,
}

impl View {
    /// The version behind a key id of this key, if it may still decrypt.
    pub(super) fn version_of(&self, key_id: &KeyId) -> Option<u32> {
        let version = own_version(key_id)?;
        let created = *self.key.versions.get(&version)?;
        self.identity
            .is_id_of(key_id, version, created)
            .then_some(version)
    }

    /// Whether the key id of a version that may still decrypt is not one of this key, as far as creation times tell.
    pub(super) fn denies(&self, announced: &Announced) -> bool {
        announced.version >= self.key.min_decryption_version
            && self.version_of(&announced.key_id).is_none()
    }

    pub(super) fn announce(mut self, announced: Announced) -> Self {
        self.announced = Some(announced);
        self
    }
}

/// Draws the conclusions.
pub(super) fn observe(
    identity: &KeyIdentity,
    before: Option<&View>,
    key: TransitKey,
    clocks: Clocks,
    hold: Duration,
) -> Result<Observation, BaoError> {
    key.check(&identity.key)?;
    let notes = before.map_or_else(Vec::new, |before| compare(&before.key, &key));
    let is_another = notes.contains(&Note::Recreated);
    let announced = before
        .filter(|_| !is_another)
        .and_then(|before| before.announced.as_ref());
    if let Some(Announced { version, .. }) = announced
        && key.latest_version < *version
    {
        return Err(went_back(&identity.key, *version, key.latest_version));
    }
    let lowest = announced
        .map_or(1, |announced| announced.version)
        .max(key.min_encryption_version)
        .max(key.min_decryption_version);
    let newest = key.versions.values().copied().max().unwrap_or_default();
    let (now, doubt) = clocks.believed(newest);
    let (version, next_after) =
        choose(&key.versions, lowest, now, hold).ok_or_else(|| nothing_usable(&identity.key))?;
    let candidate = announce(identity, &key, version)?;
    let announced = announced
        .filter(|announced| key.versions.contains_key(&announced.version))
        .map(|announced| announce(identity, &key, announced.version))
        .transpose()?;
    Ok(Observation {
        view: View {
            key: Arc::new(key),
            announced,
            identity: identity.clone(),
        },
        candidate,
        next_after,
        notes,
        doubt,
    })
}

/// The newest version from `lowest` on whose hold is over, and the time until the next one's is. If none is that old, the oldest, as with
/// those who saw the key grow; but the newest but one if nothing tells the time.
fn choose(
    versions: &BTreeMap<u32, u64>,
    lowest: u32,
    now: Option<u64>,
    hold: Duration,
) -> Option<(u32, Option<Duration>)> {
    let newest = versions.values().copied().max().unwrap_or_default();
    let time = now.unwrap_or_default().max(newest);
    let left =
        |created: u64| hold.saturating_sub(Duration::from_secs(time.saturating_sub(created)));
    let usable = || versions.range(lowest..);
    let (oldest, _) = usable().next()?;
    let held = usable()
        .rev()
        .find(|(_, created)| left(**created).is_zero());
    let last_but_one = || usable().rev().nth(1).filter(|_| now.is_none());
    let chosen = held
        .or_else(last_but_one)
        .map_or(*oldest, |(version, _)| *version);
    let next = versions
        .range(chosen..)
        .skip(1)
        .map(|(_, created)| left(*created))
        .min();
    Some((chosen, next))
}

fn compare(before: &TransitKey, after: &TransitKey) -> Vec<Note> {
    let first = |key: &TransitKey| key.versions.get(&1).copied();
    let all_differ = before
        .versions
        .iter()
        .all(|(version, created)| after.versions.get(version) != Some(created));
    let first_differs = matches!((first(before), first(after)), (Some(a), Some(b)) if a != b);
    if first_differs && all_differ {
        return vec![Note::Recreated];
    }
    let replaced = || {
        let all = before.versions.iter();
        all.filter(|(version, created)| {
            let now = after.versions.get(version);
            now.is_some_and(|now| now != *created)
        })
    };
    let newest = replaced().next_back();
    let replaced = newest.map(|(version, _)| Note::Replaced {
        version: *version,
        count: replaced().count(),
    });
    let beyond = |key: &TransitKey, latest: u32| {
        let mut all = key.versions.range(latest.saturating_add(1)..);
        all.next_back().map(|(version, _)| *version)
    };
    let vanished = beyond(before, after.latest_version).map(Note::Vanished);
    let new = beyond(after, before.latest_version).map(Note::NewVersion);
    [replaced, vanished, new].into_iter().flatten().collect()
}

fn announce(identity: &KeyIdentity, key: &TransitKey, version: u32) -> Result<Announced, BaoError> {
    key.versions
        .get(&version)
        .and_then(|created| identity.key_id(version, *created))
        .map(|key_id| Announced { version, key_id })
        .ok_or_else(|| nothing_usable(&identity.key))
}

fn went_back(key: &TransitKeyName, from: u32, to: u32) -> BaoError {
    BaoError::WentBack {
        key: key.shown(),
        from,
        to,
    }
}

fn nothing_usable(key: &TransitKeyName) -> BaoError {
    BaoError::Profile {
        key: key.shown(),
        reason: "no version may both encrypt and decrypt; lower min_encryption_version or rotate"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_secs(180);

    fn identity() -> KeyIdentity {
        KeyIdentity {
            namespace: None,
            key: TransitKeyName::new("transit", "k").unwrap(),
        }
    }

    fn key(created: &[u64]) -> TransitKey {
        let keys: BTreeMap<String, u64> = (1u32..)
            .zip(created)
            .map(|(version, time)| (version.to_string(), *time))
            .collect();
        serde_json::from_value(serde_json::json!({
            "type": "aes256-gcm96", "latest_version": created.len(), "keys": keys,
        }))
        .unwrap()
    }

    fn look(before: Option<&View>, created: &[u64], now: u64) -> Result<Observation, BaoError> {
        observe(&identity(), before, key(created), agreed(now), HOLD)
    }

    /// Both clocks say so.
    fn agreed(now: u64) -> Clocks {
        Clocks {
            server: Some(now),
            own: now,
        }
    }

    /// The version that a replica writes with which starts while the clocks say this.
    fn started(created: &[u64], server: Option<u64>, own: u64) -> (u32, Option<Doubt>) {
        let clocks = Clocks { server, own };
        let seen = observe(&identity(), None, key(created), clocks, HOLD).unwrap();
        (seen.candidate.version, seen.doubt)
    }

    fn settled(created: &[u64], now: u64) -> View {
        let observation = look(None, created, now).unwrap();
        observation.view.announce(observation.candidate)
    }

    #[test]
    fn a_first_version_is_used_at_once_and_a_later_one_after_its_hold() {
        let first = look(None, &[1_000], 1_000).unwrap();
        assert_eq!((first.candidate.version, first.next_after), (1, None));
        let view = first.view.announce(first.candidate);
        let fresh = look(Some(&view), &[1_000, 2_000], 2_060).unwrap();
        assert_eq!(fresh.candidate.version, 1);
        assert_eq!(fresh.next_after, Some(Duration::from_secs(120)));
        assert_eq!(fresh.notes, [Note::NewVersion(2)]);
        let due = look(Some(&view), &[1_000, 2_000], 2_180).unwrap();
        assert_eq!((due.candidate.version, due.next_after), (2, None));
    }

    #[test]
    fn a_replica_that_just_started_waits_as_the_others_do() {
        let started = look(None, &[1_000, 2_000], 2_060).unwrap();
        assert_eq!(started.candidate.version, 1);
        assert_eq!(
            look(None, &[1_000, 2_000], 2_200)
                .unwrap()
                .candidate
                .version,
            2
        );
    }

    #[test]
    fn a_new_version_reads_before_it_writes() {
        let view = settled(&[1_000], 5_000);
        let seen = look(Some(&view), &[1_000, 5_001], 5_002).unwrap();
        let id = identity().key_id(2, 5_001).unwrap();
        assert_eq!(seen.candidate.version, 1);
        assert_eq!(seen.view.version_of(&id), Some(2));
    }

    #[test]
    fn a_version_in_use_that_vanishes_is_an_error_and_one_that_was_not_is_noted() {
        let view = settled(&[1_000, 2_000], 5_000);
        let error = look(Some(&view), &[1_000], 5_100).unwrap_err();
        assert!(matches!(error, BaoError::WentBack { from: 2, to: 1, .. }));
        let waiting = look(Some(&settled(&[1_000], 4_000)), &[1_000, 4_001], 4_002).unwrap();
        let phantom = look(Some(&waiting.view), &[1_000], 4_003).unwrap();
        assert_eq!(phantom.notes, [Note::Vanished(2)]);
        assert_eq!(phantom.candidate.version, 1);
    }

    #[test]
    fn a_version_made_anew_gets_another_key_id() {
        let view = settled(&[1_000, 2_000], 5_000);
        let old = view.announced.clone().unwrap();
        let again = look(Some(&view), &[1_000, 6_000], 6_001).unwrap();
        assert_eq!(
            again.notes,
            [Note::Replaced {
                version: 2,
                count: 1
            }]
        );
        assert_eq!(again.candidate.version, 2);
        assert_ne!(again.candidate.key_id, old.key_id);
        assert_eq!(again.view.version_of(&old.key_id), None);
        assert!(again.view.denies(&old));
    }

    #[test]
    fn a_key_made_anew_under_its_name_is_another_key() {
        let view = settled(&[1_000, 2_000], 5_000);
        let another = look(Some(&view), &[6_000], 6_001).unwrap();
        assert_eq!(another.notes, [Note::Recreated]);
        assert_eq!(another.candidate.version, 1);
        assert!(another.view.announced.is_none());
    }

    #[test]
    fn a_version_that_may_not_decrypt_any_more_is_not_denied() {
        let view = settled(&[1_000], 5_000);
        let old = view.announced.clone().unwrap();
        assert!(!view.denies(&old));
        let mut later = key(&[1_000, 5_001]);
        later.versions.remove(&1);
        later.min_decryption_version = 2;
        let seen = observe(&identity(), Some(&view), later, agreed(5_002), HOLD).unwrap();
        assert_eq!(seen.view.version_of(&old.key_id), None);
        assert!(!seen.view.denies(&old));
    }

    #[test]
    fn minimums_of_the_server_are_kept_even_before_the_hold_is_over() {
        let view = settled(&[1_000], 5_000);
        let mut forced = key(&[1_000, 5_001]);
        forced.min_encryption_version = 2;
        let seen = observe(&identity(), Some(&view), forced, agreed(5_002), HOLD).unwrap();
        assert_eq!(seen.candidate.version, 2);
        let mut nothing = key(&[1_000]);
        nothing.min_encryption_version = 2;
        assert!(observe(&identity(), None, nothing, agreed(1), HOLD).is_err());
    }

    /// Five versions, a day apart.
    const DAILY: [u64; 5] = [100_000, 186_400, 272_800, 359_200, 445_600];

    #[test]
    fn a_replica_that_starts_without_the_time_of_the_server_does_not_go_back() {
        let now = 500_000;
        assert_eq!(started(&DAILY, Some(now), now), (5, None));
        for (server, doubt) in [
            (None, Doubt::Missing),
            (Some(0), Doubt::Behind),
            (Some(DAILY[0]), Doubt::Behind),
            (Some(DAILY[4] - 61), Doubt::Behind),
        ] {
            assert_eq!(started(&DAILY, server, now), (5, Some(doubt)));
            // The clock of this machine cannot be right either. Version 4 was held when version 5 was made.
            assert_eq!(started(&DAILY, server, 0), (4, Some(Doubt::NoClock)));
        }
    }

    #[test]
    fn a_time_of_the_server_that_is_ahead_does_not_end_a_hold() {
        let now = DAILY[4] + 10;
        let ahead = Some(now + 3 * 3_600);
        assert_eq!(started(&DAILY, ahead, now), (4, Some(Doubt::Ahead)));
        // The clock of a machine that stands before the newest version proves nothing against that of the server.
        assert_eq!(started(&DAILY, ahead, 0), (5, None));
        assert_eq!(started(&DAILY, Some(now + 60), now), (4, None));
    }

    #[test]
    fn versions_made_in_a_row_are_used_from_the_newest_but_one_if_nothing_tells_the_time() {
        let burst = [1_000, 1_001, 1_002, 1_003];
        assert_eq!(started(&burst, None, 0), (3, Some(Doubt::NoClock)));
        assert_eq!(started(&burst[..1], None, 0), (1, Some(Doubt::NoClock)));
        assert_eq!(started(&burst, Some(1_010), 1_010), (1, None));
    }

    #[test]
    fn without_the_servers_clock_there_is_no_haste() {
        let seen = started(&[1_000, 2_000], None, 2_010);
        assert_eq!(seen, (1, Some(Doubt::Missing)));
        assert_eq!(started(&[1_000, 2_000], None, 2_180).0, 2);
    }

    #[test]
    fn many_versions_are_noted_once() {
        let many: Vec<u64> = (1_000..3_000).collect();
        let view = settled(&[1_000], 5_000);
        let seen = look(Some(&view), &many, 5_000).unwrap();
        assert_eq!(seen.notes, [Note::NewVersion(2_000)]);
        let again = look(Some(&seen.view), &[1_000], 5_001).unwrap();
        assert_eq!(again.notes, [Note::Vanished(2_000)]);
    }

    proptest! {
        /// Whatever the clocks say, a replica that starts goes back behind no version that was held when the next one was made.
        #[test]
        fn no_clock_makes_a_start_go_back(
            gaps in proptest::collection::vec(1u64..1_000, 1..12),
            server in proptest::option::of(0u64..20_000),
            own in 0u64..20_000,
        ) {
            let created: Vec<u64> = gaps.iter().scan(1_000, |at, gap| { *at += gap; Some(*at) }).collect();
            let newest = *created.last().unwrap();
            let proven = created.iter().rposition(|at| newest - at >= HOLD.as_secs());
            let (version, _) = started(&created, server, own);
            prop_assert!(version as usize > proven.map_or(0, |index| index));
        }

        /// Whatever the server shows, the version that writes never goes back unless the key is another one.
        #[test]
        fn versions_go_forward(
            steps in proptest::collection::vec((1usize..6, 0u64..400, any::<bool>()), 1..30),
        ) {
            let mut created = vec![1_000];
            let (mut now, mut view): (u64, Option<View>) = (1_000, None);
            for (versions, pass, keeps) in steps {
                now += pass;
                created.truncate(if keeps { created.len() } else { versions.min(created.len()) });
                while created.len() < versions {
                    created.push(now);
                }
                let Ok(seen) = look(view.as_ref(), &created, now) else { continue };
                let last = view.as_ref().and_then(|view| view.announced.as_ref().map(|a| a.version));
                if let Some(last) = last {
                    prop_assert!(seen.candidate.version >= last);
                }
                prop_assert_eq!(seen.view.version_of(&seen.candidate.key_id), Some(seen.candidate.version));
                view = Some(seen.view.announce(seen.candidate));
            }
        }
    }
}
