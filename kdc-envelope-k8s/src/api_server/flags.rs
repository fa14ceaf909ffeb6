//! The flags of kube-apiserver, as the library reads them that it uses (`spf13/pflag`).

use super::word::Word;

/// The flags that take no word of their own: `--profiling false` is `--profiling` and a word that is ignored. A test compares
/// them with the help of the real kube-apiserver.
const BOOLEANS: [&str; 29] = [
    "aggregator-reject-forwarding-redirect",
    "allow-privileged",
    "anonymous-auth",
    "audit-log-batch-throttle-enable",
    "audit-log-compress",
    "audit-log-truncate-enabled",
    "audit-webhook-batch-throttle-enable",
    "audit-webhook-truncate-enabled",
    "contention-profiling",
    "disable-http2-serving",
    "emulation-forward-compatible",
    "enable-aggregator-routing",
    "enable-bootstrap-token-auth",
    "enable-garbage-collector",
    "enable-logs-handler",
    "enable-priority-and-fairness",
    "encryption-provider-config-automatic-reload",
    "help",
    "log-json-split-stream",
    "log-text-split-stream",
    "permit-address-sharing",
    "permit-port-sharing",
    "profiling",
    "runtime-config-emulation-forward-compatible",
    "service-account-extend-token-expiration",
    "service-account-lookup",
    "shutdown-send-retry-after",
    "version",
    "watch-cache",
];

/// Flags of kube-apiserver in the order in which they were given.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    given: Vec<(String, Word)>,
    refusals: Vec<String>,
    gaps: Vec<String>,
}

/// What is known of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlagValue<'f> {
    /// It is not given.
    Absent,
    /// Its value, the last one that was given.
    Known(&'f str),
    /// It is given, and part of its value is decided elsewhere; the value as it was written.
    Open(&'f str),
}

impl Flags {
    /// Reads arguments.
    pub(super) fn parse(arguments: &[Word]) -> Self {
        let mut flags = Self::default();
        let mut rest = arguments.iter();
        let mut stray = None;
        while let Some(word) = rest.next() {
            if word.is_all_open() {
                flags
                    .gaps
                    .push(format!("`{}` may hold more flags", word.text));
                continue;
            }
            let text = word.text.as_str();
            match text.strip_prefix("--") {
                Some("") => {
                    stray = stray.or_else(|| rest.next());
                    break;
                }
                Some(flag) => flags.long(flag, word.is_open, &mut rest),
                None if text.len() > 1 && text.starts_with('-') => {
                    flags.short(text, &mut rest);
                }
                // kube-apiserver lets empty words pass.
                None if text.is_empty() => {}
                None => stray = stray.or(Some(word)),
            }
        }
        if let Some(stray) = stray {
            let shown: String = stray.text.chars().take(40).collect();
            let refusal = format!(
                "the word `{shown}` belongs to no flag: a flag that is on or off takes its value after `=`"
            );
            flags.refusals.push(refusal);
        }
        flags
    }

    fn long<'w>(
        &mut self,
        flag: &str,
        is_open: bool,
        rest: &mut (impl Iterator<Item = &'w Word> + Clone),
    ) {
        if let Some((name, value)) = flag.split_once('=') {
            let text = value.to_owned();
            return self.add(name, Word { text, is_open });
        }
        if BOOLEANS.contains(&canonical(flag).as_str()) {
            return self.add(flag, Word::known("true"));
        }
        let mut following = rest.clone();
        let is_known = canonical(flag) == super::CONFIG_FLAG;
        match following.next() {
            Some(next) if !is_known && next.text.starts_with("--") => {
                // A flag of a later version may be on or off, too.
                self.gaps.push(format!(
                    "whether `{}` is the value of `--{flag}`",
                    next.text
                ));
                self.add(flag, Word::known("true"));
            }
            Some(next) => {
                self.add(flag, next.clone());
                *rest = following;
            }
            None => self
                .refusals
                .push(format!("--{flag} is the last word and has no value")),
        }
    }

    /// Only `-v` and `-h` are flags of one letter.
    fn short<'w>(&mut self, text: &str, rest: &mut impl Iterator<Item = &'w Word>) {
        match text.strip_prefix("-v") {
            Some("") => drop(rest.next()),
            Some(level) if level.trim_start_matches('=').parse::<u64>().is_ok() => {}
            _ => {
                let name = text.split('=').next().unwrap_or_default();
                self.refusals.push(format!(
                    "`{name}` begins with one `-`; flags begin with two"
                ));
            }
        }
    }

    fn add(&mut self, name: &str, value: Word) {
        self.given.push((canonical(name), value));
    }

    /// The value of a flag, by its name without `--`.
    #[must_use]
    pub fn value(&self, name: &str) -> FlagValue<'_> {
        match self.given.iter().rev().find(|(given, _)| given == name) {
            None => FlagValue::Absent,
            Some((_, word)) if word.is_open => FlagValue::Open(&word.text),
            Some((_, word)) => FlagValue::Known(&word.text),
        }
    }

    /// How many are given.
    #[must_use]
    pub fn count(&self) -> usize {
        self.given.len()
    }

    /// Why kube-apiserver does not start with them.
    #[must_use]
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// What keeps all of them from being known.
    #[must_use]
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }

    pub(super) fn add_gaps(&mut self, gaps: Vec<String>) {
        self.gaps.extend(gaps);
    }

    pub(super) fn add_refusal(&mut self, refusal: String) {
        self.refusals.push(refusal);
    }
}

/// kube-apiserver takes `_` for `-` in the names of flags.
fn canonical(name: &str) -> String {
    name.replace('_', "-")
}

/// A value that is on or off, as Go's `strconv.ParseBool` reads it.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
