//! What the container of kube-apiserver sees: the file of its configuration, and the socket.

use std::path::Path;

use kdc_envelope_k8s::api_server::{ApiServer, CONFIG_FLAG, FlagValue, Mount, Place, Pod, Source};
use kdc_envelope_kms::server::SocketAddress;

use super::super::finding::{Check, Finding, Findings};
use super::super::socket::is_same;
use super::{CONFIG, CURE, RELOAD};

/// What keeps the container from seeing the file of its configuration.
pub(super) fn of_config(pod: &Pod, inside: &Path) -> Option<Finding> {
    let shown = inside.display();
    let fail = |detail: String, cure: &str| {
        Some(Finding::fail(Check::APISERVER_CONFIG, CONFIG, detail, cure))
    };
    let Some(mount) = pod.mount_of(inside) else {
        let cure = "mount the folder with the file into the container of kube-apiserver";
        return fail(
            format!("`{shown}` is not on any volume of the container"),
            cure,
        );
    };
    let volume = &mount.volume;
    match &mount.source {
        Source::Missing => fail(missing(volume), "add it to `volumes`"),
        Source::Empty if !mount.is_shared => {
            let detail =
                format!("`{shown}` is on the emptyDir `{volume}`, into which nothing writes");
            fail(detail, "mount the folder with the file instead")
        }
        Source::Host { path, kind } => {
            let is_file = mount.inside == inside;
            if let Some(detail) = wrong_kind(volume, kind, is_file) {
                return fail(detail, "set the type that fits, or leave it out");
            }
            let target = mount_target(path, mount, inside)?;
            let detail = format!(
                "`{shown}` leads to `{}` of the node, which the container does not see",
                target.display()
            );
            fail(
                detail,
                "put the file itself into the folder that is mounted",
            )
        }
        _ => None,
    }
}

fn missing(volume: &str) -> String {
    format!("the pod has no volume `{volume}`, so that kubelet refuses it")
}

/// What is wrong with the type of a hostPath volume that holds a file, or a folder.
fn wrong_kind(volume: &str, kind: &str, is_file: bool) -> Option<String> {
    let fits = match kind {
        "" => true,
        "File" | "FileOrCreate" => is_file,
        "Directory" | "DirectoryOrCreate" => !is_file,
        _ => false,
    };
    let what = if is_file { "a file" } else { "a folder" };
    (!fits).then(|| {
        format!("the volume `{volume}` has the type `{kind}` and should hold {what}, so that the pod does not start as it should")
    })
}

/// Where a link in a mounted folder leads, if that is outside of it.
fn mount_target(host: &Path, mount: &Mount, inside: &Path) -> Option<std::path::PathBuf> {
    let rest = inside.strip_prefix(&mount.inside).ok()?;
    if rest.as_os_str().is_empty() {
        return None;
    }
    let (folder, target) = (
        host.canonicalize().ok()?,
        host.join(rest).canonicalize().ok()?,
    );
    (!target.starts_with(folder)).then_some(target)
}

/// The finding about reload that is on: whether a changed file can be seen at all. Tools rename files into place, and a mount of a file
/// keeps the one that it began with.
pub(super) fn reload(server: &ApiServer) -> Finding {
    let check = Check::APISERVER_RELOAD;
    let mount = match (&server.place, server.flags.value(CONFIG_FLAG)) {
        (Place::Pod(pod), FlagValue::Known(value)) => {
            let inside = Path::new(value);
            pod.mount_of(inside)
                .map(|mount| (mount, mount.inside == inside))
        }
        _ => None,
    };
    let (volume, what) = match mount {
        Some((mount, _)) if mount.has_sub_path && matches!(mount.source, Source::Written(_)) => (
            &mount.volume,
            "a part by subPath, which kubelet never writes again",
        ),
        Some((mount, true)) if mount.has_sub_path => (
            &mount.volume,
            "the file alone by subPath, so that a file renamed into its place is never seen",
        ),
        Some((mount, true)) => (
            &mount.volume,
            "the file alone, so that a file renamed into its place is never seen",
        ),
        _ => return Finding::pass(check, RELOAD, "on"),
    };
    let detail = format_args!("on, but the volume `{volume}` mounts {what}");
    Finding::warn(
        check,
        RELOAD,
        detail,
        "mount the folder with the file, without subPath",
    )
}

/// The finding about one socket: whether kube-apiserver can see it. `dialled` is how its configuration calls it, if that is known.
pub(in super::super) fn check_socket(
    server: &ApiServer,
    socket: &SocketAddress,
    dialled: Option<&SocketAddress>,
    findings: &mut Findings<'_>,
) {
    let check = Check::APISERVER_MOUNT;
    let pod = match &server.place {
        Place::Pod(pod) => pod,
        Place::OtherPod(why) => {
            findings.add(Finding::unknown(check, socket, why, CURE));
            return;
        }
        _ => {
            let why = "no pod: kube-apiserver sees the folders of the machine";
            findings.add(Finding::skip(check, socket, why));
            return;
        }
    };
    let path = match socket {
        SocketAddress::Path(path) => std::path::absolute(path).ok(),
        _ => None,
    };
    findings.add(match (path, dialled) {
        (Some(path), Some(SocketAddress::Path(dialled))) => mounted(&path, pod.mount_of(dialled)),
        (Some(path), _) => mounted(&path, mount_to(pod, &path)),
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

/// The mount that leads to a path of the node, or might.
fn mount_to<'p>(pod: &'p Pod, socket: &Path) -> Option<&'p Mount> {
    pod.mounts.iter().find(|mount| match &mount.source {
        Source::Host { path, .. } => socket.ancestors().any(|above| is_same_path(above, path)),
        _ => socket.starts_with(&mount.inside),
    })
}

/// The finding about the mount through which kube-apiserver reaches the socket.
fn mounted(socket: &Path, mount: Option<&Mount>) -> Finding {
    let check = Check::APISERVER_MOUNT;
    let subject = socket.display();
    let folder = socket.parent().unwrap_or(socket).display();
    let cure = format!(
        "add a hostPath volume of `{folder}` (type DirectoryOrCreate) and mount it at `{folder}`"
    );
    let Some(mount) = mount else {
        let detail = format_args!("`{folder}` is not mounted into kube-apiserver");
        return Finding::fail(check, subject, detail, cure);
    };
    let (volume, inside) = (&mount.volume, mount.inside.display());
    let wrong = match &mount.source {
        Source::Host { path, .. } if is_same_path(path, socket) => {
            let detail = "the socket itself is mounted; it is made anew at each start of the plugin, and the mount keeps the old one";
            let cure = format_args!("mount the folder `{folder}` instead");
            return Finding::fail(check, subject, detail, cure);
        }
        Source::Host { kind, .. } => wrong_kind(volume, kind, false),
        Source::Missing => Some(missing(volume)),
        Source::Written(field) => Some(format!(
            "the volume `{volume}` is a {field}, in which no socket can be"
        )),
        Source::Empty if !mount.is_shared => Some(format!(
            "the volume `{volume}` is an emptyDir that no other container has"
        )),
        _ => None,
    };
    match wrong {
        Some(detail) => Finding::fail(check, subject, detail, cure),
        None => Finding::pass(
            check,
            subject,
            format_args!("volume `{volume}` at `{inside}`"),
        ),
    }
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    let address = |path: &Path| SocketAddress::Path(path.to_owned());
    is_same(&address(one), &address(other))
}
