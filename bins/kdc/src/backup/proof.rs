//! From what was seen in a bucket to an exit code.

use kdc_envelope::evidence::{Conclusion, Evidence, GapKind};

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

#[cfg(test)]
mod tests {
    use kdc_envelope_backup::catalogue::{Unjudged, nothing_in};

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
