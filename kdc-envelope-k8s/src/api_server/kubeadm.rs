//! kubeadm's ClusterConfiguration, from which it writes the manifest of a static pod.

use std::path::PathBuf;

use super::pod::{Mount, Pod, Source};
use super::probe::{Action, Probe};
use super::word::Word;
use super::{ApiServer, Flags, Place};
use crate::yaml::Value;

/// Folders that every API server of kubeadm sees.
const FOLDERS: [&str; 2] = ["/etc/kubernetes/pki", "/etc/ssl/certs"];

/// Whether an object is one, also inside another, where it has no kind.
pub(super) fn is_configuration(value: &Value) -> bool {
    let version = value.get("apiVersion").and_then(Value::text);
    let is_kubeadm = version.is_some_and(|version| version.starts_with("kubeadm.k8s.io/"));
    is_kubeadm && value.get("kind").and_then(Value::text) == Some("ClusterConfiguration")
}

pub(super) fn parse(value: &Value) -> ApiServer {
    let api_server = value.get("apiServer");
    let of_server = |name| api_server.and_then(|server| server.get(name));
    let mut refusals = Vec::new();
    let mut words = Vec::new();
    let mut add = |name: &str, value: Option<&Value>| match value {
        Some(Value::Text(value)) => words.push(Word::known(format!("--{name}={}", **value))),
        _ => refusals.push(format!(
            "extraArgs: the value of `{name}` is no text; put it in quotes"
        )),
    };
    match of_server("extraArgs") {
        Some(Value::Map(fields)) => {
            for (name, value) in fields {
                add(name, Some(value));
            }
        }
        Some(Value::List(values)) => {
            for value in values {
                let name = value.get("name").and_then(Value::text).unwrap_or_default();
                add(name, value.get("value"));
            }
        }
        Some(_) => add("extraArgs", None),
        None => {}
    }
    let mut flags = Flags::parse(&words);
    for refusal in refusals {
        flags.add_refusal(refusal);
    }
    let mut mounts: Vec<Mount> = FOLDERS
        .iter()
        .map(|folder| host_path(folder, folder, folder, ""))
        .collect();
    if let Some(Value::List(volumes)) = of_server("extraVolumes") {
        for volume in volumes {
            let text = |name| volume.get(name).and_then(Value::text).unwrap_or_default();
            mounts.push(host_path(
                text("name"),
                text("hostPath"),
                text("mountPath"),
                text("pathType"),
            ));
        }
    }
    let probe = |name| Probe {
        name,
        action: Action::Get("/livez".to_owned()),
    };
    ApiServer {
        form: "configuration of kubeadm",
        flags,
        place: Place::Pod(Pod {
            mounts,
            has_host_network: true,
            probes: vec![probe("livenessProbe"), probe("startupProbe")],
        }),
    }
}

fn host_path(name: &str, host: &str, inside: &str, kind: &str) -> Mount {
    Mount {
        inside: PathBuf::from(inside),
        volume: name.to_owned(),
        source: Source::Host {
            path: PathBuf::from(host),
            kind: kind.to_owned(),
        },
        has_sub_path: false,
        is_shared: false,
    }
}
