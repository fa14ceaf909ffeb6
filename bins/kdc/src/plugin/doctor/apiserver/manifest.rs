//! How kube-apiserver is started: from the manifest of its pod, or from a plain file with its command line.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::is_same_path;

/// The name of the program.
pub(super) const PROGRAM: &str = "kube-apiserver";

/// How kube-apiserver is started.
#[derive(Debug)]
pub(in crate::plugin::doctor) struct ApiServer {
    pub(super) arguments: Vec<String>,
    /// What is known of its pod, if it runs in one.
    pub(super) pod: Option<Pod>,
}

#[derive(Debug)]
pub(super) struct Pod {
    mounts: Vec<Mount>,
    pub(super) has_host_network: bool,
    /// The path of the liveness probe.
    pub(super) liveness: Option<String>,
}

/// A folder or file that the container sees.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) inside: PathBuf,
    /// The path on the node; `None` for other kinds of volumes.
    pub(super) host: Option<PathBuf>,
    pub(super) volume: String,
}

impl ApiServer {
    /// Understands the text of a file; `None` if it is neither the one nor the other.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(manifest) = serde_saphyr::from_str::<Manifest>(text)
            && let Some(server) = of_pod(manifest.spec)
        {
            return Some(server);
        }
        // Of /proc/PID/cmdline the words end in zero bytes.
        let words = text.split(|c: char| c.is_whitespace() || c == '\0');
        let arguments: Vec<String> = words
            .map(|word| word.replace(['"', '\'', '\\'], ""))
            .filter(|word| !word.is_empty())
            .collect();
        let is_command_line =
            text.contains(PROGRAM) && arguments.iter().any(|word| word.starts_with("--"));
        is_command_line.then_some(Self {
            arguments,
            pod: None,
        })
    }

    /// The value of a flag: the last one counts.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let mut found = None;
        let mut rest = self.arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            if argument == name {
                let next = rest.peek().filter(|next| !next.starts_with('-'));
                found = Some(next.map_or("true", |next| next.as_str()));
            } else if let Some(value) = argument
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                found = Some(value);
            }
        }
        found
    }

    /// Where a path of the container is on the node; `None` if that is not known.
    pub(in crate::plugin::doctor) fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        let mount = self.pod.as_ref()?.mount_of(inside)?;
        let host = mount.host.as_ref()?;
        let rest = inside.strip_prefix(&mount.inside).ok()?;
        match rest.as_os_str().is_empty() {
            true => Some(host.clone()),
            false => Some(host.join(rest)),
        }
    }
}

impl Pod {
    /// The innermost mount that holds a path.
    pub(super) fn mount_of(&self, inside: &Path) -> Option<&Mount> {
        let holding = self
            .mounts
            .iter()
            .filter(|mount| inside.starts_with(&mount.inside));
        holding.max_by_key(|mount| mount.inside.components().count())
    }

    /// A mount that leads to a path of the node, or might.
    pub(super) fn mount_to(&self, socket: &Path) -> Option<&Mount> {
        self.mounts.iter().find(|mount| match &mount.host {
            Some(host) => socket.ancestors().any(|above| is_same_path(above, host)),
            None => socket.starts_with(&mount.inside),
        })
    }
}

fn of_pod(spec: PodSpec) -> Option<ApiServer> {
    let spec = match spec.template {
        Some(template) => template.spec,
        None => spec,
    };
    let is_server = |container: &Container| {
        let words = container.command.iter().chain(&container.args);
        let is_program = |word: &String| word.rsplit('/').next() == Some(PROGRAM);
        container.name == PROGRAM || words.into_iter().any(is_program)
    };
    let container = spec.containers.into_iter().find(is_server)?;
    let host = |name: &str| {
        let volume = spec.volumes.iter().find(|volume| volume.name == name)?;
        volume.host_path.as_ref().map(|host| host.path.clone())
    };
    let mounts = container.volume_mounts.into_iter().map(|mount| Mount {
        host: host(&mount.name).map(|path| match &mount.sub_path {
            Some(below) => path.join(below),
            None => path,
        }),
        inside: mount.mount_path,
        volume: mount.name,
    });
    let liveness = container.liveness_probe.and_then(|probe| probe.http_get);
    Some(ApiServer {
        pod: Some(Pod {
            mounts: mounts.collect(),
            has_host_network: spec.host_network,
            liveness: liveness.map(|get| get.path),
        }),
        arguments: [container.command, container.args].concat(),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    containers: Vec<Container>,
    volumes: Vec<Volume>,
    host_network: bool,
    /// Of a Deployment or StatefulSet.
    template: Option<Box<Manifest>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    command: Vec<String>,
    args: Vec<String>,
    volume_mounts: Vec<VolumeMount>,
    liveness_probe: Option<Probe>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeMount {
    name: String,
    mount_path: PathBuf,
    sub_path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HostPath {
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpGet {
    path: String,
}

#[cfg(test)]
mod tests {
    use super::super::{CONFIG, RELOAD, mounted};
    use super::*;
    use crate::plugin::doctor::finding::Finding;

    const POD: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver}
spec:
  hostNetwork: true
  containers:
  - command: [kube-apiserver, --etcd-servers=https://127.0.0.1:2379, '--encryption-provider-config=/etc/kubernetes/enc/config.yaml']
    image: registry.k8s.io/kube-apiserver:v1.36.3
    name: kube-apiserver
    livenessProbe: {httpGet: {host: 127.0.0.1, path: /livez, port: 6443}}
    volumeMounts:
    - {mountPath: /run/kms-plugin, name: kms}
    - {mountPath: /etc/kubernetes/enc, name: enc, readOnly: true}
  volumes:
  - {name: kms, hostPath: {path: /run/kms-plugin, type: DirectoryOrCreate}}
  - {name: enc, hostPath: {path: /etc/kubernetes/elsewhere}}
";

    fn of_mount(server: &ApiServer, socket: &str) -> Finding {
        let socket = Path::new(socket);
        mounted(socket, server.pod.as_ref().unwrap().mount_to(socket))
    }

    #[test]
    fn a_pod_is_understood_with_its_mounts() {
        let server = ApiServer::parse(POD).unwrap();
        assert_eq!(server.flag(CONFIG), Some("/etc/kubernetes/enc/config.yaml"));
        assert_eq!(server.flag(RELOAD), None);
        assert_eq!(
            server
                .on_host(Path::new("/etc/kubernetes/enc/config.yaml"))
                .unwrap(),
            Path::new("/etc/kubernetes/elsewhere/config.yaml")
        );
        assert_eq!(server.on_host(Path::new("/etc/hosts")), None);
        let finding = of_mount(&server, "/run/kms-plugin/kms.sock");
        assert_eq!(finding.detail, "volume `kms` at `/run/kms-plugin`");
        assert!(of_mount(&server, "/run/other/kms.sock").is_failure());
    }

    #[test]
    fn a_socket_that_is_mounted_itself_is_a_failure() {
        let text = POD.replace(
            "hostPath: {path: /run/kms-plugin,",
            "hostPath: {path: /run/kms-plugin/kms.sock,",
        );
        let server = ApiServer::parse(&text).unwrap();
        let finding = of_mount(&server, "/run/kms-plugin/kms.sock");
        assert!(finding.is_failure() && finding.cure.contains("mount the folder"));
    }

    #[test]
    fn command_lines_of_units_and_of_processes_are_understood() {
        for text in [
            "ExecStart=/usr/bin/kube-apiserver \\\n  --a=b \\\n  --encryption-provider-config=\"/etc/enc.yaml\" \\\n --encryption-provider-config-automatic-reload\n",
            "/usr/bin/kube-apiserver\0--encryption-provider-config\0/etc/enc.yaml\0--encryption-provider-config-automatic-reload=true\0",
        ] {
            let server = ApiServer::parse(text).unwrap();
            assert_eq!(server.flag(CONFIG), Some("/etc/enc.yaml"));
            assert_eq!(server.flag(RELOAD), Some("true"));
            assert!(server.pod.is_none());
        }
        assert!(ApiServer::parse("hello").is_none());
        assert!(ApiServer::parse("kind: Pod\nspec: {containers: [{name: etcd}]}").is_none());
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let server = ApiServer::parse(
            "kube-apiserver --encryption-provider-config=/a --encryption-provider-config /b",
        )
        .unwrap();
        assert_eq!(server.flag(CONFIG), Some("/b"));
    }
}
