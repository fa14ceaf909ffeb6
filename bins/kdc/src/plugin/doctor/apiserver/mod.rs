//! What kube-apiserver is told on its command line: whether it uses the EncryptionConfiguration, and whether it can see the socket.

mod manifest;

use std::path::Path;

use kdc_envelope_kms::server::SocketAddress;
use zeroize::Zeroizing;

pub(super) use manifest::ApiServer;

use super::finding::{Check, Finding, Findings};
use super::socket::is_same;
use crate::failure::chain;
use manifest::{Mount, PROGRAM};

const CONFIG: &str = "--encryption-provider-config";
const RELOAD: &str = "--encryption-provider-config-automatic-reload";
/// No manifest is longer, in bytes.
const MAX_LEN: usize = 1 << 20;

/// Reads the file.
pub(super) fn read(path: &Path, findings: &mut Findings<'_>) -> Option<ApiServer> {
    let (check, subject) = (Check::APISERVER, path.display());
    match try_read(path) {
        Ok(server) => {
            let kind = match server.pod {
                Some(_) => "manifest of a pod",
                None => "command line",
            };
            let count = server.arguments.len();
            let detail = format_args!("{kind}, {count} arguments");
            findings.add(Finding::pass(check, subject, detail));
            Some(server)
        }
        Err(detail) => {
            let cure =
                "name the manifest of the pod of kube-apiserver, or a file with its command line";
            findings.add(Finding::fail(check, subject, detail, cure));
            None
        }
    }
}

fn try_read(path: &Path) -> Result<ApiServer, String> {
    let bytes = std::fs::read(path).map_err(|error| chain(&error))?;
    if bytes.len() > MAX_LEN {
        return Err(format!("longer than {MAX_LEN} bytes"));
    }
    let text = String::from_utf8_lossy(&bytes);
    ApiServer::parse(&text)
        .ok_or_else(|| format!("neither a pod with a container of {PROGRAM} nor a command line"))
}

/// The findings about flags and probes; `config` is the file of `--encryption-config`, if it was given.
pub(super) fn check(server: &ApiServer, config: Option<&Path>, findings: &mut Findings<'_>) {
    findings.add(config_flag(server, config));
    let (check, subject) = (Check::APISERVER_RELOAD, RELOAD);
    findings.add(match server.flag(RELOAD) {
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Finding::pass(check, subject, "on"),
        _ => {
            let cure = format_args!("add {RELOAD}=true");
            let detail = "off: a change of the configuration needs a restart of every API server";
            Finding::warn(check, subject, detail, cure)
        }
    });
    findings.add(probes(server));
}

fn config_flag(server: &ApiServer, config: Option<&Path>) -> Finding {
    let check = Check::APISERVER_CONFIG;
    let Some(value) = server.flag(CONFIG).filter(|value| !value.is_empty()) else {
        let detail = "not given: nothing is encrypted";
        let cure =
            format_args!("add {CONFIG}=FILE, and mount the folder of FILE if it runs in a pod");
        return Finding::fail(check, CONFIG, detail, cure);
    };
    let inside = Path::new(value);
    if let Some(pod) = &server.pod
        && pod.mount_of(inside).is_none()
    {
        let detail = format_args!("`{value}` is not on any volume of the container");
        let cure = "mount the folder with the file into the container of kube-apiserver";
        return Finding::fail(check, CONFIG, detail, cure);
    }
    let Some(config) = config else {
        return Finding::pass(check, CONFIG, format_args!("`{value}`"));
    };
    let here = match (&server.pod, server.on_host(inside)) {
        (_, Some(path)) => path,
        (None, None) => inside.to_owned(),
        (Some(_), None) => {
            let detail =
                format_args!("`{value}`, of a volume that is not a folder of this machine");
            return Finding::pass(check, CONFIG, detail);
        }
    };
    compare(&here, config)
}

/// Whether the file that kube-apiserver reads is the one that was looked at.
fn compare(here: &Path, config: &Path) -> Finding {
    let check = Check::APISERVER_CONFIG;
    let (theirs, ours) = (here.display(), config.display());
    if let (Ok(here), Ok(config)) = (here.canonicalize(), config.canonicalize())
        && here == config
    {
        return Finding::pass(check, CONFIG, format_args!("is `{ours}`"));
    }
    let content = |path| std::fs::read(path).map(Zeroizing::new);
    match (content(here), content(config)) {
        (Ok(one), Ok(other)) if one == other => {
            let detail = format_args!("`{theirs}`, with the same content as `{ours}`");
            Finding::pass(check, CONFIG, detail)
        }
        (Ok(_), Ok(_)) => {
            let detail = format_args!("`{theirs}` is another file than `{ours}`");
            let cure = "look at the one that kube-apiserver reads, or correct the flag";
            Finding::fail(check, CONFIG, detail, cure)
        }
        _ => {
            let detail = format_args!("`{theirs}` cannot be compared with `{ours}` from here");
            let cure = "run this command on the node of kube-apiserver";
            Finding::warn(check, CONFIG, detail, cure)
        }
    }
}

/// A plugin that is away makes `/healthz` fail, and with it the probe.
fn probes(server: &ApiServer) -> Finding {
    let (check, subject) = (Check::APISERVER_PROBES, "livenessProbe");
    let Some(path) = server.pod.as_ref().and_then(|pod| pod.liveness.as_deref()) else {
        return Finding::skip(check, subject, "no liveness probe is known");
    };
    if path.starts_with("/healthz") {
        let detail = format_args!(
            "`{path}` fails with the plugin: kubelet restarts kube-apiserver, which then cannot read anything"
        );
        return Finding::warn(check, subject, detail, "probe /livez instead");
    }
    if path.contains("exclude=kms-provider") {
        let detail = format_args!("`{path}`; the exclusion is not needed since Kubernetes 1.29");
        return Finding::pass(check, subject, detail);
    }
    Finding::pass(
        check,
        subject,
        format_args!("`{path}` does not depend on the plugin"),
    )
}

/// The finding about one socket: whether kube-apiserver can see it. `dialled` is how its configuration calls it, if that is known.
pub(super) fn check_socket(
    server: &ApiServer,
    socket: &SocketAddress,
    dialled: Option<&SocketAddress>,
    findings: &mut Findings<'_>,
) {
    let check = Check::APISERVER_MOUNT;
    let Some(pod) = &server.pod else {
        let why = "no pod: kube-apiserver sees the folders of the machine";
        findings.add(Finding::skip(check, socket, why));
        return;
    };
    let path = match socket {
        SocketAddress::Path(path) => std::path::absolute(path).ok(),
        _ => None,
    };
    findings.add(match (path, dialled) {
        (Some(path), Some(SocketAddress::Path(dialled))) => mounted(&path, pod.mount_of(dialled)),
        (Some(path), _) => mounted(&path, pod.mount_to(&path)),
        _ if pod.has_host_network => {
            Finding::pass(check, socket, "the network of the host is shared")
        }
        _ => {
            let detail = "abstract sockets are of a network, and the pod has its own";
            let cure = "set hostNetwork: true in the pod of kube-apiserver, or take a path";
            Finding::fail(check, socket, detail, cure)
        }
    });
}

/// The finding about the mount through which kube-apiserver reaches the socket.
fn mounted(socket: &Path, mount: Option<&Mount>) -> Finding {
    let check = Check::APISERVER_MOUNT;
    let subject = socket.display();
    let folder = socket.parent().unwrap_or(socket).display();
    let Some(mount) = mount else {
        let detail = format_args!("`{folder}` is not mounted into kube-apiserver");
        let cure = format_args!(
            "add a hostPath volume of `{folder}` (type DirectoryOrCreate) and mount it at `{folder}`"
        );
        return Finding::fail(check, subject, detail, cure);
    };
    if mount
        .host
        .as_deref()
        .is_some_and(|host| is_same_path(host, socket))
    {
        let detail = "the socket itself is mounted; it is made anew at each start of the plugin, and the mount keeps the old one";
        let cure = format_args!("mount the folder `{folder}` instead");
        return Finding::fail(check, subject, detail, cure);
    }
    let inside = mount.inside.display();
    Finding::pass(
        check,
        subject,
        format_args!("volume `{}` at `{inside}`", mount.volume),
    )
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    let address = |path: &Path| SocketAddress::Path(path.to_owned());
    is_same(&address(one), &address(other))
}
