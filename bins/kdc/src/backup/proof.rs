//! From what was seen in a bucket to an exit code.

use kdc_envelope::evidence::{Conclusion, Evidence, Gap, GapKind};

use super::state::{Known, State};
use crate::failure::{Exit, Failure};

/// The exit code of a statement about all snapshots; or, if not enough was seen for it, the failure that says so.
pub(super) fn verdict(evidence: &Evidence, statement: &str) -> Result<Exit, Failure> {
    let gaps = match evidence.conclude() {
        Conclusion::Proven { .. } => return Ok(Exit::Ok),
        Conclusion::Unknown(gaps) => gaps,
        _ => return Ok(Exit::Negative),
    };
    let is_empty = gaps.iter().all(|gap| gap.kind == GapKind::Empty);
    let exit = if is_empty {
        Exit::NoInput
    } else {
        Exit::Negative
    };
    let gaps: Vec<String> = gaps.iter().map(ToString::to_string).collect();
    let line = format!("{statement} is not proven: {}", gaps.join("; "));
    let failure = Failure::new(exit, line);
    Err(match is_empty {
        true => failure.hint("is it the right --bucket, and the right --cluster?"),
        false => failure.hint("`kdc backup list` shows each"),
    })
}

/// Entries of one kind that could not be judged: how many, and the first of them by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Unjudged {
    count: u64,
    example: Option<String>,
}

impl Unjudged {
    pub(super) fn add(&mut self, name: String) {
        self.count += 1;
        self.example = self
            .example
            .take()
            .map(|first| first.min(name.clone()))
            .or(Some(name));
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// A gap, if there are any.
    pub(super) fn gap(&self, kind: GapKind) -> Option<Gap> {
        let example = self.example.as_ref()?;
        Some(Gap::new(kind, self.count, example))
    }
}

/// What a pass came across of which nothing is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Unknowns {
    /// kdc did not look at it.
    pub(super) not_looked_at: Unjudged,
    /// Without metadata that can be used, so that nothing tells what it is or needs.
    pub(super) unreadable: Unjudged,
}

impl Unknowns {
    pub(super) fn add(&mut self, known: &Known) {
        match known.state {
            State::NotLookedAt => self.not_looked_at.add(known.name()),
            State::Foreign | State::Plaintext => {}
            _ if known.metadata.is_none() => self.unreadable.add(known.name()),
            _ => {}
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.not_looked_at.count() + self.unreadable.count()
    }

    pub(super) fn tell(&self, evidence: &mut Evidence) {
        let gaps = [
            self.not_looked_at.gap(GapKind::NotLookedAt),
            self.unreadable.gap(GapKind::Unreadable),
        ];
        for gap in gaps.into_iter().flatten() {
            evidence.add_gap(gap);
        }
    }
}

/// Nothing at all was there.
pub(super) fn nothing_in(place: &str) -> Gap {
    Gap::new(GapKind::Empty, 0, place)
}

/// A bucket, or the part of it that was asked for, for people.
pub(super) fn place(bucket: &str, cluster: Option<&str>) -> String {
    cluster.map_or_else(
        || bucket.to_owned(),
        |cluster| format!("{bucket}/{cluster}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_is_not_well_and_what_was_not_seen_is_named() {
        let mut evidence = Evidence::new();
        evidence.add_gap(nothing_in("bucket"));
        let failure = verdict(&evidence, "it").unwrap_err();
        assert_eq!(failure.exit(), Exit::NoInput);
        let mut evidence = Evidence::new();
        evidence.agrees(3);
        assert_eq!(verdict(&evidence, "it").unwrap(), Exit::Ok);
        let mut unjudged = Unjudged::default();
        for name in ["b/x", "a/x", "c/x"] {
            unjudged.add(name.to_owned());
        }
        evidence.add_gap(unjudged.gap(GapKind::NotLookedAt).unwrap());
        let failure = verdict(&evidence, "it").unwrap_err();
        assert_eq!(failure.exit(), Exit::Negative);
        let line = failure.line().unwrap();
        assert!(
            line.starts_with("it is not proven: 3 were not looked at, among them `a/x`"),
            "{line}"
        );
        evidence.contradicts(1);
        assert_eq!(verdict(&evidence, "it").unwrap(), Exit::Negative);
    }
}
