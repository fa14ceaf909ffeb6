//! The findings for people: a line each, and the cure below it. What was skipped for one reason is one line.

use super::finding::{Finding, Outcome, Report, Verdict};
use crate::failure::{Failure, escaped};
use crate::output::{Output, Tone};

/// Where the text of a line begins after the name of its check.
const CHECK_WIDTH: usize = 18;
const INDENT: usize = CHECK_WIDTH + 8;

/// Writes findings as they come.
pub(super) struct Table<'a> {
    out: &'a mut Output,
    skipped: Option<Skipped>,
}

/// Checks that were skipped one after the other, for one reason.
struct Skipped {
    checks: Vec<&'static str>,
    text: String,
}

impl<'a> Table<'a> {
    pub(super) const fn new(out: &'a mut Output) -> Self {
        Self { out, skipped: None }
    }

    pub(super) fn add(&mut self, finding: &Finding) -> Result<(), Failure> {
        let check = finding.check.as_str();
        let text = text(finding);
        if finding.outcome == Outcome::Skip {
            match &mut self.skipped {
                Some(skipped) if skipped.text == text => skipped.checks.push(check),
                _ => {
                    self.end_skipped()?;
                    self.skipped = Some(Skipped {
                        checks: vec![check],
                        text,
                    });
                }
            }
            return Ok(());
        }
        self.end_skipped()?;
        let (word, tone) = match finding.outcome {
            Outcome::Warn => ("warn", Tone::Warning),
            Outcome::Fail => ("FAIL", Tone::Bad),
            Outcome::Unknown => ("????", Tone::Warning),
            _ => ("pass", Tone::Good),
        };
        self.line(word, tone, check, &text)?;
        if !finding.cure.is_empty() {
            let cure = escaped(&finding.cure);
            self.out.line(format_args!("{:INDENT$}cure: {cure}", ""))?;
        }
        // A step may take seconds; a reader in a pipe need not wait for the last.
        self.out.flush()
    }

    fn end_skipped(&mut self) -> Result<(), Failure> {
        let Some(Skipped { checks, text }) = self.skipped.take() else {
            return Ok(());
        };
        match checks.as_slice() {
            [check] => self.line("skip", Tone::Faint, check, &text),
            all => {
                let count = format!("{} checks", all.len());
                self.line("skip", Tone::Faint, &count, &text)?;
                let all = all.join(", ");
                self.out.line(format_args!("{:INDENT$}{all}", ""))
            }
        }
    }

    fn line(&mut self, word: &str, tone: Tone, check: &str, text: &str) -> Result<(), Failure> {
        let word = self.out.paint(tone, word);
        let text = escaped(text);
        self.out
            .line(format_args!("{word}  {check:<CHECK_WIDTH$}  {text}"))
    }

    pub(super) fn conclude(mut self, report: &Report) -> Result<(), Failure> {
        self.end_skipped()?;
        let (verdict, tone) = match report.verdict {
            Verdict::Ready => ("ready", Tone::Good),
            Verdict::ReadyWithWarnings => ("ready, with warnings", Tone::Warning),
            Verdict::NotReady => ("not ready", Tone::Bad),
            Verdict::CannotTell => ("cannot tell", Tone::Warning),
        };
        let verdict = self.out.paint(tone, verdict);
        let count = |outcome| report.count(outcome);
        let unknown = match count(Outcome::Unknown) {
            0 => String::new(),
            unknown => format!(", {unknown} unknown"),
        };
        self.out.line(format_args!(
            "{verdict}: {} passed, {} warned, {} failed, {} skipped{unknown}",
            count(Outcome::Pass),
            count(Outcome::Warn),
            count(Outcome::Fail),
            count(Outcome::Skip)
        ))
    }
}

fn text(finding: &Finding) -> String {
    let key = finding.key.as_ref().map(|key| format!("{key}: "));
    let key = key.unwrap_or_default();
    format!("{key}{}: {}", finding.subject, finding.detail)
}
