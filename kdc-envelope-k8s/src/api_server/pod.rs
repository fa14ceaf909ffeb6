//! The container of kube-apiserver in the specification of a pod.

use std::path::{Path, PathBuf};

use super::argv::{self, PROGRAM, Started};
use super::probe::{Action, Probe};
use super::word::{Variables, Word, of_container};
use super::{ApiServer, Flags, Place, Unclear};
use crate::yaml::Value;

/// What kube-apiserver sees of the world from its pod.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pod {
    /// In the order of the container.
    pub mounts: Vec<Mount>,
    /// Whether it shares the network of the node.
    pub has_host_network: bool,
    /// Those that end it when they fail.
    pub probes: Vec<Probe>,
}

/// A folder or file that the container sees.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mount {
    /// Its path in the container.
    pub inside: PathBuf,
    /// The name of its volume.
    pub volume: String,
    /// Where its content is.
    pub source: Source,
    /// Whether a part of the volume is mounted, which stays the one that it was when the container began.
    pub has_sub_path: bool,
    /// Whether another container of the pod has the volume, too.
    pub is_shared: bool,
}

/// Where the content of a mount is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// At a path of the node.
    Host {
        /// With the part of the volume that is mounted.
        path: PathBuf,
        /// What kubelet makes sure that it is; empty for no check.
        kind: String,
    },
    /// In a folder that lives as long as the pod.
    Empty,
    /// In files that kubelet writes; the field of the volume.
    Written(&'static str),
    /// Somewhere else.
    Other,
    /// Nowhere: the pod has no volume of that name.
    Missing,
}

impl Mount {
    /// Where a path of the container is on the node.
    pub(super) fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        let Source::Host { path, .. } = &self.source else {
            return None;
        };
        let rest = inside.strip_prefix(&self.inside).ok()?;
        match rest.as_os_str().is_empty() {
            true => Some(path.clone()),
            false => Some(path.join(rest)),
        }
    }
}

impl Pod {
    /// The innermost mount that holds a path.
    #[must_use]
    pub fn mount_of(&self, inside: &Path) -> Option<&Mount> {
        let holding = self
            .mounts
            .iter()
            .filter(|mount| inside.starts_with(&mount.inside));
        holding.max_by_key(|mount| mount.inside.components().count())
    }
}

/// The API server among the containers of a pod; `None` if none is one.
pub(super) fn of_spec(spec: &Value) -> Option<Result<ApiServer, Unclear>> {
    let Some(Value::List(containers)) = spec.get("containers") else {
        return None;
    };
    let is_named = |container: &&Value| name_of(container) == PROGRAM;
    let named: Vec<&Value> = containers.iter().filter(is_named).collect();
    if let [first, rest @ ..] = named.as_slice() {
        return Some(match rest {
            [] => of_container_value(first, spec, true),
            _ => Err(Unclear::new(format!(
                "two containers of the name {PROGRAM} in one pod"
            ))),
        });
    }
    let others = containers.iter().filter(|container| {
        let words = Command::of(container).words;
        matches!(
            argv::resolve(&words, &Variables::default()),
            Ok(Some(Started::ApiServer(_)))
        )
    });
    let others: Vec<&Value> = others.collect();
    match others.as_slice() {
        [] => None,
        [one] => Some(of_container_value(one, spec, false)),
        _ => Some(Err(Unclear::new(format!(
            "two containers of {PROGRAM} in one pod"
        )))),
    }
}

fn name_of(value: &Value) -> &str {
    value.get("name").and_then(Value::text).unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    match value.get(name) {
        Some(Value::List(values)) => values,
        _ => &[],
    }
}

/// The words of a container with its environment.
struct Command {
    words: Vec<Word>,
    variables: Variables,
    refusals: Vec<String>,
}

impl Command {
    fn of(container: &Value) -> Self {
        let mut variables = Variables::default();
        variables.is_open = container.get("envFrom").is_some();
        for variable in list(container, "env") {
            let value = match (variable.get("value"), variable.get("valueFrom")) {
                (Some(Value::Text(text)), _) => {
                    let word = of_container(text, &variables);
                    (!word.is_open).then_some(word.text)
                }
                (None, None) => Some(String::new()),
                _ => None,
            };
            variables.set(name_of(variable), value);
        }
        let mut refusals = Vec::new();
        let mut words = Vec::new();
        for field in ["command", "args"] {
            if let Some(value) = container.get(field)
                && !matches!(value, Value::List(_))
            {
                refusals.push(format!(
                    "`{field}` is no list, so that kubelet refuses the manifest"
                ));
            }
            for (index, value) in list(container, field).iter().enumerate() {
                let text = match value {
                    Value::Text(text) => text.as_str(),
                    Value::Bool(true) => "true",
                    Value::Bool(false) => "false",
                    _ => "?",
                };
                if !matches!(value, Value::Text(_)) {
                    refusals.push(format!(
                        "`{field}[{index}]` is no text, so that kubelet refuses the manifest; put it in quotes"
                    ));
                }
                words.push(of_container(text, &variables));
            }
        }
        Self {
            words,
            variables,
            refusals,
        }
    }
}

/// `is_named` says that it has the name of the program, so that words alone are its flags.
fn of_container_value(
    container: &Value,
    spec: &Value,
    is_named: bool,
) -> Result<ApiServer, Unclear> {
    let Command {
        words,
        variables,
        refusals,
    } = Command::of(container);
    let Some(first) = words.first() else {
        return Err(Unclear::new(format!(
            "the container {PROGRAM} has no command line: a patch, or the image has one"
        )));
    };
    let arguments = match argv::resolve(&words, &variables)? {
        Some(Started::ApiServer(arguments)) => arguments,
        Some(Started::K3s { .. }) => {
            return Err(Unclear::new("k3s or RKE2 in a container".to_owned()));
        }
        None if is_named && first.text.starts_with("--") => words.clone(),
        None => {
            let shown: String = first.text.chars().take(80).collect();
            return Err(Unclear::new(format!(
                "the container {PROGRAM} starts `{shown}`, of which it is not known what it starts"
            )));
        }
    };
    let mut flags = Flags::parse(&arguments);
    for refusal in refusals {
        flags.add_refusal(refusal);
    }
    let mounts = list(container, "volumeMounts").iter();
    let mounts: Vec<Mount> = mounts
        .map(|value| mount(value, container, spec, &variables))
        .collect();
    if let Some(path) = mounted_twice(&mounts) {
        let path = path.display();
        flags.add_refusal(format!(
            "two volumes are mounted at `{path}`, so that kubelet refuses the pod"
        ));
    }
    Ok(ApiServer {
        form: "manifest of a pod",
        flags,
        place: Place::Pod(Pod {
            mounts,
            has_host_network: matches!(spec.get("hostNetwork"), Some(Value::Bool(true))),
            probes: ["livenessProbe", "startupProbe"]
                .into_iter()
                .filter_map(|name| Some(probe(name, container.get(name)?)))
                .collect(),
        }),
    })
}

fn mounted_twice(mounts: &[Mount]) -> Option<&Path> {
    let mut paths: Vec<&Path> = mounts.iter().map(|mount| mount.inside.as_path()).collect();
    paths.sort_unstable();
    let mut pairs = paths.iter().zip(paths.iter().skip(1));
    pairs.find(|(one, other)| one == other).map(|(one, _)| *one)
}

fn mount(value: &Value, container: &Value, spec: &Value, variables: &Variables) -> Mount {
    let text = |name| {
        value
            .get(name)
            .and_then(Value::text)
            .filter(|text| !text.is_empty())
    };
    let name = name_of(value);
    let sub_path = match (text("subPath"), text("subPathExpr")) {
        (Some(path), _) => Some(Word::known(path)),
        (None, Some(path)) => Some(of_container(path, variables)),
        (None, None) => None,
    };
    let volume = list(spec, "volumes")
        .iter()
        .find(|volume| name_of(volume) == name);
    let source = match (volume.map(source), &sub_path) {
        (None, _) => Source::Missing,
        (Some(Source::Host { .. }), Some(below)) if below.is_open => Source::Other,
        // What kubelet makes sure of is of the volume, not of its part.
        (Some(Source::Host { path, .. }), Some(below)) => Source::Host {
            path: path.join(&below.text),
            kind: String::new(),
        },
        (Some(source), _) => source,
    };
    let has_volume = |other: &Value| {
        !std::ptr::eq(other, container)
            && list(other, "volumeMounts")
                .iter()
                .any(|mount| name_of(mount) == name)
    };
    let mut others = list(spec, "containers")
        .iter()
        .chain(list(spec, "initContainers"));
    Mount {
        inside: PathBuf::from(text("mountPath").unwrap_or_default()),
        volume: name.to_owned(),
        source,
        has_sub_path: sub_path.is_some(),
        is_shared: others.any(has_volume),
    }
}

fn source(volume: &Value) -> Source {
    const WRITTEN: [&str; 4] = ["secret", "configMap", "projected", "downwardAPI"];
    if let Some(host) = volume.get("hostPath") {
        let text = |name| host.get(name).and_then(Value::text).unwrap_or_default();
        return Source::Host {
            path: PathBuf::from(text("path")),
            kind: text("type").to_owned(),
        };
    }
    let has = |name: &str| matches!(volume, Value::Map(fields) if fields.iter().any(|(field, _)| **field == name));
    if has("emptyDir") {
        return Source::Empty;
    }
    match WRITTEN.into_iter().find(|name| has(name)) {
        Some(name) => Source::Written(name),
        None => Source::Other,
    }
}

fn probe(name: &'static str, value: &Value) -> Probe {
    let action = if let Some(get) = value.get("httpGet") {
        Action::Get(
            get.get("path")
                .and_then(Value::text)
                .unwrap_or("/")
                .to_owned(),
        )
    } else if let Some(exec) = value.get("exec") {
        let words = list(exec, "command").iter().filter_map(Value::text);
        Action::Exec(words.map(str::to_owned).collect())
    } else if value.get("tcpSocket").is_some() {
        Action::Connect
    } else {
        Action::Other
    };
    Probe { name, action }
}
