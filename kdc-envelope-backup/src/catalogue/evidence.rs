//! What a pass came across of which nothing is known: gaps in the evidence for a statement about all snapshots.

use kdc_envelope::evidence::{Evidence, Gap, GapKind};

use super::state::{CatalogueEntry, State};

/// Entries of one kind that could not be judged: how many, and the first of them by name.
#[derive(Debug, Clone, Default)]
pub struct Unjudged {
    count: u64,
    example: Option<String>,
}

impl Unjudged {
    /// Adds one.
    pub fn add(&mut self, name: String) {
        self.count += 1;
        self.example = self
            .example
            .take()
            .map(|first| first.min(name.clone()))
            .or(Some(name));
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// A gap, if there are any.
    #[must_use]
    pub fn gap(&self, kind: GapKind) -> Option<Gap> {
        let example = self.example.as_ref()?;
        Some(Gap::new(kind, self.count, example))
    }
}

/// Entries of which nothing is known.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Unknowns {
    /// They were not looked at.
    pub not_looked_at: Unjudged,
    /// Without metadata that can be used, so that nothing tells what they are or need.
    pub unreadable: Unjudged,
}

impl Unknowns {
    /// Adds an entry, if it is one of these.
    pub fn add(&mut self, found: &CatalogueEntry) {
        match found.state {
            State::NotLookedAt => self.not_looked_at.add(found.name()),
            State::Foreign | State::Plaintext => {}
            _ if found.metadata.is_none() => self.unreadable.add(found.name()),
            _ => {}
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.not_looked_at.count() + self.unreadable.count()
    }

    /// Adds them to the evidence, as gaps.
    pub fn report(&self, evidence: &mut Evidence) {
        let gaps = [
            self.not_looked_at.gap(GapKind::NotLookedAt),
            self.unreadable.gap(GapKind::Unreadable),
        ];
        for gap in gaps.into_iter().flatten() {
            evidence.add_gap(gap);
        }
    }
}

/// The gap of a store, or of a part of one, that holds nothing at all.
#[must_use]
pub fn nothing_in(place: &str) -> Gap {
    Gap::new(GapKind::Empty, 0, place)
}

/// A store, or the part of it that was asked for, for people.
#[must_use]
pub fn place(store: &str, cluster: Option<&str>) -> String {
    cluster.map_or_else(|| store.to_owned(), |cluster| format!("{store}/{cluster}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_the_first_of_what_it_counts() {
        let mut unjudged = Unjudged::default();
        assert!(unjudged.gap(GapKind::NotLookedAt).is_none());
        for name in ["b/x", "a/x", "c/x"] {
            unjudged.add(name.to_owned());
        }
        let gap = unjudged.gap(GapKind::NotLookedAt).unwrap();
        assert_eq!(gap.to_string(), "3 were not looked at, among them `a/x`");
    }
}
