//! The socket: its folder, who listens, and whether a plugin that runs already is well.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kdc_envelope_kms::client::{KmsClient, StatusAnswer};
use kdc_envelope_kms::server::{BindError, SocketAddress, SocketOptions, check_place};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::STEP_LIMIT;
use super::finding::{Check, Finding, Findings};
use crate::failure::chain;

const OUTSIDE: [Check; 2] = [Check::SOCKET, Check::PLUGIN];

pub(super) async fn check(options: &SocketOptions, findings: &mut Findings<'_>) {
    let address = &options.address;
    match check_place(options) {
        Ok(()) => findings.add(folder(address)),
        // The user who runs this need not be that of kms-plugin, whose folder it may be.
        Err(error @ BindError::ForeignFolder { .. }) => {
            let cure = "if kms-plugin runs as another user, give the folder to that one or to root";
            let detail = chain(&error);
            findings.add(Finding::warn(Check::SOCKET_FOLDER, address, detail, cure));
        }
        Err(error) => {
            let cure = "let the user of kms-plugin enter the folder, or choose another one";
            findings.add(Finding::of_error(
                Check::SOCKET_FOLDER,
                address,
                &error,
                cure,
            ));
            findings.skip(&OUTSIDE, address, "`socket-folder` failed");
            return;
        }
    }
    if listener(options, findings).await {
        findings.add(plugin(address).await);
    } else {
        findings.skip(&[Check::PLUGIN], address, "no process listens");
    }
}

fn folder(address: &SocketAddress) -> Finding {
    let SocketAddress::Path(path) = address else {
        let detail = "abstract: who may connect is decided by user id alone";
        return Finding::pass(Check::SOCKET_FOLDER, address, detail);
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let detail = match std::fs::metadata(folder) {
        Ok(metadata) => format!(
            "mode {:04o}, owner {}:{}",
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid()
        ),
        Err(error) => error.to_string(),
    };
    Finding::pass(Check::SOCKET_FOLDER, folder.display(), detail)
}

/// Whether a process listens.
async fn listener(options: &SocketOptions, findings: &mut Findings<'_>) -> bool {
    let address = &options.address;
    let connected = timeout(STEP_LIMIT, UnixStream::connect(path_to_dial(address))).await;
    let finding = match connected {
        Ok(Ok(stream)) => {
            let who = stream.peer_cred().map_or_else(
                |error| error.to_string(),
                |peer| match peer.pid() {
                    Some(pid) => format!("process {pid} of user {}", peer.uid()),
                    None => format!("a process of user {}", peer.uid()),
                },
            );
            findings.add(Finding::pass(
                Check::SOCKET,
                address,
                format_args!("{who} listens"),
            ));
            return true;
        }
        Ok(Err(error)) => match error.kind() {
            ErrorKind::NotFound => {
                let mode = options.mode;
                let detail = format_args!("not there; kms-plugin makes it with mode {mode}");
                Finding::pass(Check::SOCKET, address, detail)
            }
            ErrorKind::ConnectionRefused => {
                let detail = "no process listens; kms-plugin creates it or replaces a stale one";
                Finding::pass(Check::SOCKET, address, detail)
            }
            ErrorKind::PermissionDenied => {
                let cure = "run this command as the user of kube-apiserver; if that is so, let it in with --socket-group";
                Finding::warn(Check::SOCKET, address, "this user may not connect", cure)
            }
            _ => {
                let cure = "remove what is there, or choose another path";
                Finding::fail(Check::SOCKET, address, chain(&error), cure)
            }
        },
        Err(_) => {
            let cure = "restart the process that listens there";
            let detail = format_args!(
                "the process that listens accepts no connection within {STEP_LIMIT:?}"
            );
            Finding::fail(Check::SOCKET, address, detail, cure)
        }
    };
    findings.add(finding);
    false
}

/// As tokio takes it: an abstract name begins with a NUL byte.
fn path_to_dial(address: &SocketAddress) -> PathBuf {
    match address {
        SocketAddress::Path(path) => path.clone(),
        other => OsString::from(other.to_string().replacen('@', "\0", 1)).into(),
    }
}

async fn plugin(address: &SocketAddress) -> Finding {
    let check = Check::PLUGIN;
    let client = KmsClient::new(address).with_timeout(STEP_LIMIT);
    match client.status().await {
        Ok(status) if is_well(&status) => {
            let detail = format_args!("healthy, key id {}", status.key_id);
            Finding::pass(check, address, detail)
        }
        Ok(status) => {
            let detail = format_args!("version `{}`, health `{}`", status.version, status.healthz);
            let cure = "check the log of the plugin; `kdc plugin check` says more";
            Finding::fail(check, address, detail, cure)
        }
        Err(error) => {
            let cure = "check the log of the plugin, and add this user to --allow-uid if it refuses users; `kdc plugin check` says more";
            Finding::fail(check, address, chain(&error), cure)
        }
    }
}

fn is_well(status: &StatusAnswer) -> bool {
    status.healthz == "ok" && status.version.starts_with("v2") && !status.key_id.is_empty()
}

/// Whether two addresses are one socket, whichever links lead there.
pub(super) fn is_same(one: &SocketAddress, other: &SocketAddress) -> bool {
    match (one, other) {
        (SocketAddress::Path(one), SocketAddress::Path(other)) => resolved(one) == resolved(other),
        (one, other) => one == other,
    }
}

/// The path with the links of its folder followed, as far as the folder is there.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute
        .parent()
        .and_then(|folder| folder.canonicalize().ok());
    match (folder, absolute.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    }
}
