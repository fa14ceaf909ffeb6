//! The API server among the objects of a file.

use std::path::Path;

use super::argv::{self, PROGRAM};
use super::word::{Variables, Word};
use super::{ApiServer, Files, Unclear, k3s, kubeadm, nothing_found, of_started, parse_at, pod};
use crate::yaml::Value;

/// Objects inside others; no honest file has more levels.
const MAX_DEPTH: usize = 40;
/// Descriptions inside descriptions, as in a ConfigMap.
const MAX_NESTED: usize = 2;

/// Objects of other programs, and who knows what they become.
const OTHERS: [(&str, &str); 5] = [
    (
        "TenantControlPlane",
        "the Deployment that Kamaji makes of it",
    ),
    ("Cluster", "the pod's manifest on a node"),
    (
        "ClusterConfig",
        "the command line of the process, in /proc/PID/cmdline",
    ),
    (
        "HostedCluster",
        "the Deployment kube-apiserver in the namespace of the control plane",
    ),
    (
        "KubeAPIServer",
        "the static pod in /etc/kubernetes/manifests",
    ),
];

pub(super) fn parse(
    documents: &[(u64, Value)],
    path: &Path,
    files: &dyn Files,
    depth: usize,
) -> Result<ApiServer, Unclear> {
    let mut search = Search {
        path,
        files,
        depth,
        found: Vec::new(),
        kinds: Vec::new(),
    };
    for (index, (line, value)) in documents.iter().enumerate() {
        let before = search.found.len();
        search.root(value);
        let is_pod = value.get("kind").and_then(Value::text) == Some("Pod");
        if index > 0 && is_pod {
            for (_, server) in search.found.iter_mut().skip(before) {
                if let Ok(server) = server {
                    server.flags.add_refusal(format!(
                        "kubelet reads the first document of a file alone, and this pod begins in line {line}; give it a file of its own"
                    ));
                }
            }
        }
    }
    search.conclude()
}

/// The API servers found so far, each with the kind of its object.
struct Search<'s> {
    path: &'s Path,
    files: &'s dyn Files,
    depth: usize,
    found: Vec<(String, Result<ApiServer, Unclear>)>,
    kinds: Vec<String>,
}

impl Search<'_> {
    fn root(&mut self, value: &Value) {
        if let Value::List(values) = value {
            return self.root_list(values);
        }
        if k3s::is_config(value) {
            let server = k3s::of_config(value, self.path);
            self.found.push(("config.yaml".to_owned(), Ok(server)));
            return;
        }
        let is_machine = value.get("machine").is_some() && value.get("cluster").is_some();
        if is_machine {
            let why = "the configuration of a machine of Talos, which decides on encryption itself; see `talosctl get staticpods`";
            self.found
                .push(("Talos".to_owned(), Err(Unclear::new(why.to_owned()))));
            return;
        }
        if value.get("kind").is_none()
            && value
                .get("spec")
                .is_some_and(|spec| spec.get("containers").is_some())
        {
            let why = "an object without a kind: a patch of a manifest; name the manifest that it becomes a part of";
            self.found
                .push(("patch".to_owned(), Err(Unclear::new(why.to_owned()))));
            return;
        }
        self.object(value, 0);
    }

    /// A command as a list of words, or a patch in JSON.
    fn root_list(&mut self, values: &[Value]) {
        let words: Option<Vec<Word>> = values
            .iter()
            .map(|value| value.text().map(Word::known))
            .collect();
        let variables = Variables::default();
        let server = match words {
            Some(words) => argv::resolve(&words, &variables)
                .and_then(|started| of_started(started, "command line", &variables, self.files)),
            None if values.iter().any(|value| value.get("op").is_some()) => {
                let why = "a patch; name the manifest that it is applied to";
                Err(Unclear::new(why.to_owned()))
            }
            None => return values.iter().for_each(|value| self.object(value, 0)),
        };
        self.found.push(("list".to_owned(), server));
    }

    /// Looks through an object and all in it.
    fn object(&mut self, value: &Value, depth: usize) {
        if depth > MAX_DEPTH {
            let why = "objects nested too deeply".to_owned();
            self.found.push((String::new(), Err(Unclear::new(why))));
            return;
        }
        match value {
            Value::List(values) => values
                .iter()
                .for_each(|value| self.object(value, depth + 1)),
            Value::Map(fields) => {
                let kind = value.get("kind").and_then(Value::text);
                if let Some(kind) = kind {
                    self.note(kind, value);
                }
                if let Some(server) = pod::of_spec(value) {
                    let kind = self.kinds.last().cloned().unwrap_or_default();
                    self.found.push((kind, server));
                    return;
                }
                if kubeadm::is_configuration(value) {
                    self.found
                        .push(("ClusterConfiguration".to_owned(), Ok(kubeadm::parse(value))));
                    return;
                }
                let is_text_holder = matches!(kind, Some("ConfigMap" | "Secret"));
                for (name, value) in fields {
                    match name.as_str() {
                        "clusterConfiguration" if value.get("apiServer").is_some() => {
                            self.found.push((
                                "clusterConfiguration".to_owned(),
                                Ok(kubeadm::parse(value)),
                            ));
                        }
                        "data" if is_text_holder => self.texts(value),
                        _ => self.object(value, depth + 1),
                    }
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, kind: &str, value: &Value) {
        let metadata = value.get("metadata");
        let name = metadata
            .and_then(|metadata| metadata.get("name"))
            .and_then(Value::text);
        let shown: String = match name {
            Some(name) => format!("{kind} `{name}`"),
            None => kind.to_owned(),
        };
        self.kinds.push(shown.chars().take(100).collect());
    }

    /// Descriptions that stand in the values of a ConfigMap.
    fn texts(&mut self, data: &Value) {
        let Value::Map(fields) = data else {
            return;
        };
        for (name, value) in fields {
            let Some(text) = value
                .text()
                .filter(|text| text.contains(PROGRAM) || text.contains("apiServer"))
            else {
                continue;
            };
            if self.depth >= MAX_NESTED {
                let why = "descriptions inside descriptions".to_owned();
                self.found.push((name.to_string(), Err(Unclear::new(why))));
                continue;
            }
            match parse_at(text, Path::new(name.as_str()), self.files, self.depth + 1) {
                Err(unclear) if unclear.is_unrelated => {}
                outcome => self.found.push((name.to_string(), outcome)),
            }
        }
    }

    fn conclude(self) -> Result<ApiServer, Unclear> {
        let mut found = self.found.into_iter();
        match (found.next(), found.next()) {
            (Some((_, server)), None) => server,
            (Some((one, _)), Some((other, _))) => Err(Unclear::new(format!(
                "more than one {PROGRAM}: in {one} and in {other}; name a file with one"
            ))),
            (None, _) => Err(not_found(&self.kinds)),
        }
    }
}

/// Says what was there instead.
fn not_found(kinds: &[String]) -> Unclear {
    const SHOWN: usize = 3;
    let other = kinds.iter().find_map(|shown| {
        let kind = shown.split(' ').next().unwrap_or_default();
        OTHERS
            .iter()
            .find(|(other, _)| *other == kind)
            .map(|(_, instead)| (shown, instead))
    });
    if let Some((kind, instead)) = other {
        return Unclear::new(format!(
            "{kind} says only in part how {PROGRAM} is started; name {instead}"
        ));
    }
    match kinds {
        [] => nothing_found(),
        kinds => {
            let shown: Vec<&str> = kinds.iter().take(SHOWN).map(String::as_str).collect();
            let more = if kinds.len() > SHOWN {
                " and others"
            } else {
                ""
            };
            Unclear::unrelated(format!(
                "no container of {PROGRAM} in {}{more}",
                shown.join(", ")
            ))
        }
    }
}
