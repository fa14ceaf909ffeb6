//! The flags that OpenShift passes to a KMS plugin beside its API servers, said in our own.
//!
//! They are Go's: one dash or two, the value behind `=` or as the next argument, and of a flag that is given twice the last
//! one counts. An empty value is as good as none.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use kdc_envelope_bao::TransitKeyName;

const LISTEN: &str = "listen-address";
const ADDRESS: &str = "vault-address";
const KEY: &str = "vault-key-path";
const ROLE_ID: &str = "approle-role-id";
const SECRET_ID: &str = "approle-secret-id-path";
const CA: &str = "tls-ca-file";
const SNI: &str = "tls-sni";
const NAMESPACE: &str = "vault-namespace";
const AUTH_NAMESPACE: &str = "vault-auth-namespace";
const METRICS: &str = "metrics-port";

const ALL: [&str; 10] = [
    LISTEN,
    ADDRESS,
    KEY,
    ROLE_ID,
    SECRET_ID,
    CA,
    SNI,
    NAMESPACE,
    AUTH_NAMESPACE,
    METRICS,
];

/// Arguments that are neither of the one set nor of the other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenShiftError {
    #[error(
        "`{0}` is not among OpenShift's flags, which are used here; use those alone, or none of them"
    )]
    Mixed(String),
    #[error("-{0} needs a value")]
    NoValue(&'static str),
    #[error("-{0} is missing; OpenShift's flags need it")]
    Missing(&'static str),
    #[error("-listen-address must be unix:///PATH")]
    Listen,
    #[error("-vault-key-path must be MOUNT/keys/NAME, such as transit/keys/kms")]
    Key,
    #[error("-metrics-port must be a port number, or 0 for none")]
    Port,
}

/// Our arguments for those of OpenShift; all others as they are. The first one is the name of the program.
pub(crate) fn translate(arguments: Vec<OsString>) -> Result<Vec<OsString>, OpenShiftError> {
    if !arguments.iter().skip(1).any(|one| flag(one).is_some()) {
        return Ok(arguments);
    }
    let mut rest = arguments.into_iter();
    let mut translated: Vec<OsString> = rest.next().into_iter().collect();
    let mut rest = rest.peekable();
    translated.extend(rest.next_if(|one| one == "validate"));
    let mut given = BTreeMap::new();
    while let Some(argument) = rest.next() {
        let (name, value) =
            flag(&argument).ok_or_else(|| OpenShiftError::Mixed(shown(&argument)))?;
        let value = match value {
            Some(value) => value.to_owned(),
            None => rest.next().ok_or(OpenShiftError::NoValue(name))?,
        };
        given.insert(name, value);
    }
    given.retain(|_, value| !value.is_empty());
    translated.extend(ours(&given)?);
    Ok(translated)
}

/// Which of the flags an argument is, and the value if it is in it.
fn flag(argument: &OsStr) -> Option<(&'static str, Option<&OsStr>)> {
    use std::os::unix::ffi::OsStrExt as _;

    let bytes = argument.as_bytes();
    let bare = bytes
        .strip_prefix(b"--")
        .or_else(|| bytes.strip_prefix(b"-"))?;
    let mut parts = bare.splitn(2, |byte| *byte == b'=');
    let name = parts.next()?;
    let known = ALL.into_iter().find(|known| known.as_bytes() == name)?;
    Some((known, parts.next().map(OsStr::from_bytes)))
}

/// A flag without its value, which may be a credential.
fn shown(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let name = text.split('=').next().unwrap_or_default();
    match name.starts_with('-') {
        true => name.escape_debug().to_string(),
        false => "an argument without a dash".to_owned(),
    }
}

fn ours(given: &BTreeMap<&'static str, OsString>) -> Result<Vec<OsString>, OpenShiftError> {
    let mut all: Vec<OsString> = vec!["--bao-auth=approle".into()];
    let mut add = |flag: &str, value: &OsStr| {
        let mut argument = OsString::from(flag);
        argument.push("=");
        argument.push(value);
        all.push(argument);
    };
    let required = |name| given.get(name).ok_or(OpenShiftError::Missing(name));
    let listen = required(LISTEN)?;
    if !listen.to_string_lossy().starts_with("unix:///") {
        return Err(OpenShiftError::Listen);
    }
    add("--socket", listen);
    add("--bao-address", required(ADDRESS)?);
    let path = required(KEY)?
        .to_str()
        .and_then(key)
        .ok_or(OpenShiftError::Key)?;
    add("--bao-mount", OsStr::new(path.mount()));
    add("--bao-key", OsStr::new(path.name()));
    add("--bao-role-id", required(ROLE_ID)?);
    add("--bao-secret-id-file", required(SECRET_ID)?);
    for (theirs, flag) in [
        (CA, "--bao-ca-file"),
        (SNI, "--bao-server-name"),
        (NAMESPACE, "--bao-namespace"),
        (AUTH_NAMESPACE, "--bao-auth-namespace"),
    ] {
        if let Some(value) = given.get(theirs) {
            add(flag, value);
        }
    }
    if let Some(port) = given.get(METRICS) {
        let port: Option<u16> = port.to_str().and_then(|port| port.parse().ok());
        match port.ok_or(OpenShiftError::Port)? {
            0 => {}
            port => add("--http-address", OsStr::new(&format!("127.0.0.1:{port}"))),
        }
    }
    Ok(all)
}

/// `MOUNT/keys/NAME` or `MOUNT/NAME`.
fn key(path: &str) -> Option<TransitKeyName> {
    let (mount, name) = path.trim_start_matches('/').rsplit_once('/')?;
    let mount = mount.strip_suffix("/keys").unwrap_or(mount);
    // The name of a mount may end in a slash, which would make two of one here.
    if mount.ends_with('/') {
        return None;
    }
    TransitKeyName::new(mount, name).ok()
}
