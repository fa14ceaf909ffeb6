//! What may be concluded from what was seen, decided in one place.
//!
//! A program that wipes a key, deletes a snapshot or attests that all rows are on the newest key makes a statement about *all* of
//! something: all rows of an etcd, all snapshots of a bucket. Such a statement needs evidence of three kinds: what was looked
//! at and agrees, what was looked at and contradicts, and what was not looked at. [`Evidence`] collects the three,
//! and [`Evidence::conclude`] is the only place that turns them into a verdict:
//!
//! * one contradiction refutes, whatever else is missing;
//! * one gap leaves the statement unknown;
//! * nothing seen leaves it unknown too: an empty answer proves nothing;
//! * only what was seen whole, without a contradiction, is proven.
//!
//! ```
//! use kdc_envelope::evidence::{Conclusion, Evidence, Gap, GapKind};
//!
//! // "No row needs version 1": 150 rows looked at, none of them does ...
//! let mut evidence = Evidence::new();
//! evidence.agrees(150);
//! assert_eq!(evidence.conclude(), Conclusion::Proven { seen: 150 });
//! // ... but one could not be read.
//! evidence.add_gap(Gap::new(GapKind::Unreadable, 1, "/registry/secrets/default/damaged"));
//! assert!(matches!(evidence.conclude(), Conclusion::Unknown(_)));
//! ```

use core::fmt;

/// The most gaps that are kept; more would not be read. One is enough for "unknown".
const MAX_GAPS: usize = 16;

/// Why part of a set could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GapKind {
    /// The place was asked, and holds nothing.
    Empty,
    /// Not examined: it was not asked for, or lies where the caller cannot see.
    NotLookedAt,
    /// Examined, and cannot be understood: damaged, of a later version, or not what was asked for.
    Unreadable,
    /// There were too many to be told apart, so some were only counted.
    TooMany,
    /// What was seen belongs to something else, such as another cluster.
    Unrelated,
}

impl GapKind {
    /// One lower-case word or two, for machines: `empty`, `not-looked-at`, `unreadable`, `too-many`, `unrelated`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotLookedAt => "not-looked-at",
            Self::Unreadable => "unreadable",
            Self::TooMany => "too-many",
            Self::Unrelated => "unrelated",
        }
    }
}

/// Part of a set that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Why.
    pub kind: GapKind,
    /// How many members, as far as that is known; 0 if it is not. Of an empty place, how many should be there.
    pub count: u64,
    /// The place or one of the members, by name, for people.
    pub place: String,
}

impl Gap {
    /// `count` members at `place` that could not be judged; a `count` of 0 means that their number is not known.
    #[must_use]
    pub fn new(kind: GapKind, count: u64, place: impl Into<String>) -> Self {
        Self {
            kind,
            count,
            place: place.into(),
        }
    }
}

/// A clause for people, such as "3 could not be read, among them `/registry/secrets/a/b`".
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, count, place } = self;
        match (kind, count) {
            (GapKind::Empty, 0) => write!(f, "nothing was found in `{place}`"),
            (GapKind::Empty, _) => {
                write!(f, "nothing was found in `{place}`, where {count} should be")
            }
            (GapKind::NotLookedAt, 0) => write!(f, "`{place}` was not looked at"),
            (GapKind::NotLookedAt, _) => {
                write!(f, "{count} were not looked at, among them `{place}`")
            }
            (GapKind::Unreadable, 0) => write!(f, "`{place}` could not be read"),
            (GapKind::Unreadable, _) => {
                write!(f, "{count} could not be read, among them `{place}`")
            }
            (GapKind::TooMany, _) => write!(
                f,
                "{count} in `{place}` are under too many different keys to be told apart"
            ),
            (GapKind::Unrelated, _) => {
                write!(f, "what is in `{place}` seems to belong to something else")
            }
        }
    }
}

/// What was seen of a set about which a statement is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    agreeing: u64,
    contradicting: u64,
    gaps: Vec<Gap>,
}

/// What follows from [`Evidence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conclusion<'e> {
    /// All members were examined, and each agrees.
    Proven {
        /// How many members were examined; at least 1.
        seen: u64,
    },
    /// Members contradict the statement.
    Refuted {
        /// How many members contradict the statement.
        contradicting: u64,
        /// How many members were examined, those included.
        seen: u64,
    },
    /// Some members were not examined or could not be judged, or nothing was there at all.
    Unknown(&'e [Gap]),
}

impl Evidence {
    /// Of a set of which no member was examined yet: nothing follows from it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            agreeing: 0,
            contradicting: 0,
            gaps: Vec::new(),
        }
    }

    /// `count` members were examined and agree with the statement.
    pub const fn agrees(&mut self, count: u64) {
        self.agreeing = self.agreeing.saturating_add(count);
    }

    /// `count` members were examined and contradict it.
    pub const fn contradicts(&mut self, count: u64) {
        self.contradicting = self.contradicting.saturating_add(count);
    }

    /// A part of the set could not be judged.
    pub fn add_gap(&mut self, gap: Gap) {
        if self.gaps.len() < MAX_GAPS {
            self.gaps.push(gap);
        }
    }

    /// As [`Self::add_gap`], of each of these.
    pub fn add_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>) {
        gaps.into_iter().for_each(|gap| self.add_gap(gap));
    }

    /// Adds what was seen of another part of the set.
    pub fn merge(&mut self, other: Self) {
        self.agrees(other.agreeing);
        self.contradicts(other.contradicting);
        self.add_gaps(other.gaps);
    }

    /// How many members were examined.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.agreeing.saturating_add(self.contradicting)
    }

    /// How many members contradict the statement.
    #[must_use]
    pub const fn contradicting(&self) -> u64 {
        self.contradicting
    }

    /// What could not be judged, the first 16 of it in the order in which it was found.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// What follows.
    #[must_use]
    pub fn conclude(&self) -> Conclusion<'_> {
        let seen = self.seen();
        match self.contradicting {
            0 if self.gaps.is_empty() && seen > 0 => Conclusion::Proven { seen },
            0 => Conclusion::Unknown(&self.gaps),
            contradicting => Conclusion::Refuted {
                contradicting,
                seen,
            },
        }
    }

    /// Whether [`Self::conclude`] says that the statement is proven.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        matches!(self.conclude(), Conclusion::Proven { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence() -> impl Strategy<Value = Evidence> {
        let gap = (0_u64..3).prop_map(|count| Gap::new(GapKind::NotLookedAt, count, "somewhere"));
        let gaps = prop::collection::vec(gap, 0..20);
        let numbers = (prop_oneof![0_u64..3, Just(u64::MAX)], 0_u64..3);
        (numbers, gaps).prop_map(|((agreeing, contradicting), gaps)| {
            let mut evidence = Evidence::new();
            evidence.agrees(agreeing);
            evidence.contradicts(contradicting);
            for gap in gaps {
                evidence.add_gap(gap);
            }
            evidence
        })
    }

    #[test]
    fn nothing_seen_proves_nothing() {
        assert_eq!(Evidence::new().conclude(), Conclusion::Unknown(&[]));
        let mut evidence = Evidence::default();
        evidence.agrees(0);
        assert!(!evidence.is_proof());
    }

    #[test]
    fn a_contradiction_counts_more_than_a_gap() {
        let mut evidence = Evidence::new();
        evidence.agrees(5);
        evidence.contradicts(2);
        evidence.add_gap(Gap::new(GapKind::NotLookedAt, 0, "elsewhere"));
        let refuted = Conclusion::Refuted {
            contradicting: 2,
            seen: 7,
        };
        assert_eq!(evidence.conclude(), refuted);
    }

    #[test]
    fn gaps_are_told_in_words() {
        let text = |kind, count| Gap::new(kind, count, "/registry/").to_string();
        assert_eq!(text(GapKind::Empty, 0), "nothing was found in `/registry/`");
        assert_eq!(
            text(GapKind::Empty, 3),
            "nothing was found in `/registry/`, where 3 should be"
        );
        assert_eq!(
            text(GapKind::NotLookedAt, 0),
            "`/registry/` was not looked at"
        );
        assert_eq!(
            text(GapKind::Unreadable, 3),
            "3 could not be read, among them `/registry/`"
        );
    }

    proptest! {
        #[test]
        fn more_gaps_never_make_a_proof(mut evidence in evidence(), other in evidence()) {
            let was_proof = evidence.is_proof();
            let has_gap = !other.gaps().is_empty();
            let refutes = other.contradicting() > 0;
            evidence.merge(other);
            if has_gap || refutes {
                prop_assert!(!evidence.is_proof());
            }
            if was_proof && !has_gap && !refutes {
                prop_assert!(evidence.is_proof());
            }
        }

        #[test]
        fn the_order_of_looking_does_not_matter(a in evidence(), b in evidence()) {
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.merge(b);
            ba.merge(a);
            let verdict = |evidence: &Evidence| (evidence.is_proof(), evidence.contradicting() > 0);
            prop_assert_eq!(verdict(&ab), verdict(&ba));
            prop_assert_eq!(ab.seen(), ba.seen());
        }

        #[test]
        fn what_is_proven_was_seen_whole(evidence in evidence()) {
            if let Conclusion::Proven { seen } = evidence.conclude() {
                prop_assert!(seen > 0 && evidence.gaps().is_empty() && evidence.contradicting() == 0);
            }
        }
    }
}
