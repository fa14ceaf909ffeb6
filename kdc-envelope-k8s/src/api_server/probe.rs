//! Which probes fail when a KMS plugin is away (`pkg/server/healthz` and `pkg/server/options` of `k8s.io/apiserver`).

use crate::percent;

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Asks for a path with its query.
    Get(String),
    /// Runs a command.
    Exec(Vec<String>),
    /// Connects.
    Connect,
    /// Something else.
    Other,
}

/// A probe of the container of kube-apiserver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// `livenessProbe` or `startupProbe`.
    pub name: &'static str,
    /// What it does.
    pub action: Action,
}

/// How kube-apiserver calls the health of its plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KmsChecks {
    /// `kms-providers`: all at once, with automatic reload or without a KMS v1 provider.
    One,
    /// `kms-provider-0` and so on, without reload and with a KMS v1 provider; so many.
    Each(usize),
}

/// What the outcome of a probe depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dependence {
    /// Not on a plugin.
    None,
    /// On the health of the plugins.
    Plugin,
    /// On nothing: kube-apiserver does not serve this path.
    NotServed,
    /// It cannot be told.
    Unknown,
}

impl Probe {
    /// The path that is asked for, with its query, if that can be told.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.action {
            Action::Get(path) => Some(path),
            Action::Exec(words) => {
                let mut found = words.iter().flat_map(|word| paths(word));
                found.next().filter(|_| found.next().is_none())
            }
            _ => None,
        }
    }

    /// What its outcome depends on.
    #[must_use]
    pub fn dependence(&self, checks: KmsChecks) -> Dependence {
        match (&self.action, self.path()) {
            (Action::Connect, _) => Dependence::None,
            (_, Some(path)) => Dependence::of_path(path, checks),
            _ => Dependence::Unknown,
        }
    }
}

/// The paths of health checks in a word of a command, which may be a whole script.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '|' | ')');
    let begins = ["/livez", "/readyz", "/healthz"]
        .into_iter()
        .flat_map(|name| text.match_indices(name).map(|(at, _)| at));
    begins.filter_map(move |at| {
        let rest = text.get(at..)?;
        rest.get(..rest.find(is_end).unwrap_or(rest.len()))
    })
}

impl Dependence {
    /// Of a request for a path with its query.
    #[must_use]
    pub fn of_path(path: &str, checks: KmsChecks) -> Self {
        let path = path.split('#').next().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        // kubelet puts the slash in front that is missing.
        let path = path.strip_prefix('/').unwrap_or(path);
        let (root, check) = match path.split_once('/') {
            Some((root, check)) => (root, Some(check)),
            None => (path, None),
        };
        let names = checks.names();
        let is_kms = |name: &str| names.iter().any(|known| known == name);
        match (root, check) {
            ("livez", Some(check)) if check.starts_with("kms-provider") => Self::NotServed,
            ("livez" | "readyz" | "healthz", Some("")) => Self::NotServed,
            ("livez", _) | ("version", None) => Self::None,
            ("readyz" | "healthz", Some(check)) if is_kms(check) => Self::Plugin,
            ("readyz" | "healthz", Some(check)) if check.starts_with("kms-provider") => {
                Self::NotServed
            }
            ("readyz" | "healthz", Some(_)) => Self::None,
            ("readyz" | "healthz", None) => {
                let excluded = excluded(query);
                match names.iter().all(|name| excluded.contains(name)) {
                    true => Self::None,
                    false => Self::Plugin,
                }
            }
            _ => Self::Unknown,
        }
    }
}

impl KmsChecks {
    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        match self {
            Self::One => vec!["kms-providers".to_owned()],
            Self::Each(count) => (0..count)
                .map(|index| format!("kms-provider-{index}"))
                .collect(),
        }
    }
}

/// The values of `exclude` in a query, by the rules of Go's `url.ParseQuery`.
fn excluded(query: &str) -> Vec<String> {
    let parameters = query
        .split('&')
        .filter(|parameter| !parameter.contains(';'));
    parameters
        .filter_map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (unescape(name)? == "exclude").then(|| unescape(value))?
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    String::from_utf8(percent::decoded(&text.replace('+', " "))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_read_as_kube_apiserver_reads_them() {
        use Dependence::{None, NotServed, Plugin, Unknown};
        for (path, one, each) in [
            ("/livez", None, None),
            ("livez?verbose", None, None),
            ("/livez?exclude=kms-provider-0", None, None),
            ("/livez/ping", None, None),
            ("/livez/kms-providers", NotServed, NotServed),
            ("/readyz", Plugin, Plugin),
            ("/readyz?verbose", Plugin, Plugin),
            ("/readyz?exclude=kms-providers", None, Plugin),
            (
                "/readyz?verbose&exclude=etcd&exclude=kms-providers",
                None,
                Plugin,
            ),
            ("/readyz?exclude=kms%2Dproviders", None, Plugin),
            ("/readyz?exclude=etcd,kms-providers", Plugin, Plugin),
            ("/readyz?exclude=kms-provider", Plugin, Plugin),
            ("/readyz?exclude=kms-provider-0", Plugin, None),
            ("/readyz?Exclude=kms-providers", Plugin, Plugin),
            ("/readyz?exclude=kms-providers;verbose", Plugin, Plugin),
            ("/readyz#?exclude=kms-providers", Plugin, Plugin),
            ("/readyz/etcd", None, None),
            ("/readyz/kms-providers", Plugin, NotServed),
            ("/readyz/", NotServed, NotServed),
            ("/healthz", Plugin, Plugin),
            ("/healthz?exclude=kms-providers", None, Plugin),
            (
                "/healthz/kms-providers?exclude=kms-providers",
                Plugin,
                NotServed,
            ),
            ("/healthz/kms-provider-0", NotServed, Plugin),
            ("/healthz/ping", None, None),
            ("/version", None, None),
            ("/healthzy", Unknown, Unknown),
            ("/metrics", Unknown, Unknown),
        ] {
            assert_eq!(Dependence::of_path(path, KmsChecks::One), one, "{path}");
            assert_eq!(
                Dependence::of_path(path, KmsChecks::Each(1)),
                each,
                "{path} of each"
            );
        }
    }

    #[test]
    fn commands_are_looked_through_for_one_path() {
        let probe = |words: &[&str]| Probe {
            name: "livenessProbe",
            action: Action::Exec(words.iter().map(|word| (*word).to_owned()).collect()),
        };
        for (words, path) in [
            (
                &[
                    "curl",
                    "-fk",
                    "https://127.0.0.1:6443/readyz?exclude=kms-providers",
                ][..],
                Some("/readyz?exclude=kms-providers"),
            ),
            (
                &[
                    "sh",
                    "-c",
                    "curl -fk 'https://localhost:6443/healthz' || exit 1",
                ],
                Some("/healthz"),
            ),
            (&["kubectl", "get", "--raw=/livez"], Some("/livez")),
            (
                &[
                    "sh",
                    "-c",
                    "curl -f http://x/livez && curl -f http://x/readyz",
                ],
                None,
            ),
            (&["/bin/check"], None),
        ] {
            assert_eq!(probe(words).path(), path, "{words:?}");
        }
        assert_eq!(
            probe(&["/bin/check"]).dependence(KmsChecks::One),
            Dependence::Unknown
        );
    }
}
