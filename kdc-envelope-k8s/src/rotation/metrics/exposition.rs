//! The text format of Prometheus, version 0.0.4, as far as it is needed.

use crate::rotation::Timestamp;

/// The longest text that is read, in bytes. A large kube-apiserver shows some 10 MB.
pub(crate) const MAX_METRICS_LEN: usize = 64 << 20;

/// The latest time that is taken: the year 9999.
const MAX_SECONDS: f64 = 253_402_300_799.0;

/// Metrics cannot be understood. Quotes nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Longer than any server's.
    #[error("the metrics have {0} bytes; at most 67108864 are read")]
    TooLong(usize),
    /// A line that should be understood.
    #[error("line {line} of the metrics: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// One line.
pub(super) struct Sample<'t> {
    line: usize,
    pub(super) name: &'t str,
    labels: Vec<(&'t str, String)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(known, _)| *known == name)
            .map(|(_, value)| &**value)
    }

    pub(super) const fn error(&self, problem: &'static str) -> MetricsError {
        MetricsError::Line {
            line: self.line,
            problem,
        }
    }

    /// The value as seconds since 1970, rounded down, so that nothing seems later than it was.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds are checked"
    )]
    pub(super) fn time(&self) -> Result<Timestamp, MetricsError> {
        if (0.0..=MAX_SECONDS).contains(&self.value) {
            Ok(Timestamp::from_secs(self.value as u64))
        } else {
            Err(self.error("no time"))
        }
    }
}

/// The samples of the metrics with these names. Lines of others are not looked at.
pub(super) fn samples<'t>(text: &'t str, names: &[&str]) -> Result<Vec<Sample<'t>>, MetricsError> {
    if text.len() > MAX_METRICS_LEN {
        return Err(MetricsError::TooLong(text.len()));
    }
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let end = line.find(['{', ' ', '\t']).unwrap_or(line.len());
        let Some((name, rest)) = line.split_at_checked(end) else {
            continue;
        };
        if names.contains(&name) {
            let line = index + 1;
            let sample = sample(line, name, rest);
            samples.push(sample.ok_or(MetricsError::Line {
                line,
                problem: "not in the text format of Prometheus",
            })?);
        }
    }
    Ok(samples)
}

fn sample<'t>(line: usize, name: &'t str, rest: &'t str) -> Option<Sample<'t>> {
    let mut labels = Vec::new();
    let rest = match rest.strip_prefix('{') {
        Some(inner) => parse_labels(inner, &mut labels)?,
        None => rest,
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    // A time of the sample may follow.
    let is_time = |word: &str| word.parse::<i64>().is_ok();
    if words.next().is_some_and(|word| !is_time(word)) || words.next().is_some() {
        return None;
    }
    Some(Sample {
        line,
        name,
        labels,
        value,
    })
}

/// Gives what follows the closing brace.
fn parse_labels<'t>(mut rest: &'t str, labels: &mut Vec<(&'t str, String)>) -> Option<&'t str> {
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((name, value));
        rest = after;
    }
}

/// The text up to the closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(index + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
