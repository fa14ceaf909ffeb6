//! How kube-apiserver is started: whether it uses the EncryptionConfiguration, and whether it can see the socket.

mod mounts;
mod probes;

use std::path::Path;

use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::api_server::{
    ApiServer, CONFIG_FLAG, FlagValue, Place, RELOAD_FLAG, ReadError, parse_bool,
};
use zeroize::Zeroizing;

use super::finding::{Check, Finding, Findings};
use crate::failure::chain;

pub(super) use mounts::check_socket;

const CONFIG: &str = "--encryption-provider-config";
const RELOAD: &str = "--encryption-provider-config-automatic-reload";

/// What to name instead of a file that says too little.
const CURE: &str = "name the manifest of the pod of kube-apiserver, its unit, or a file with its command line such as /proc/PID/cmdline";

/// Reads the file.
pub(super) fn read(path: &Path, findings: &mut Findings<'_>) -> Option<ApiServer> {
    let (check, subject) = (Check::APISERVER, path.display());
    match ApiServer::read(path) {
        Ok(server) => {
            let (form, count) = (server.form, server.flags.count());
            let detail = format_args!("{form}, {count} arguments");
            findings.add(Finding::pass(check, subject, detail));
            Some(server)
        }
        Err(ReadError::Unclear(unclear)) => {
            findings.add(Finding::unknown(check, subject, unclear, CURE));
            None
        }
        Err(error) => {
            findings.add(Finding::fail(check, subject, chain(&error), CURE));
            None
        }
    }
}

/// The findings about flags and probes; `path` is the file of `--encryption-config` and `config` what is in it, if it was given.
pub(super) fn check(
    server: &ApiServer,
    path: Option<&Path>,
    config: Option<&EncryptionConfiguration>,
    findings: &mut Findings<'_>,
) {
    for refusal in server.flags.refusals() {
        let cure = "correct it; kube-apiserver does not start with it as it is";
        findings.add(Finding::fail(
            Check::APISERVER_START,
            "kube-apiserver",
            refusal,
            cure,
        ));
    }
    for gap in server.flags.gaps() {
        let cure = "name what is started in the end, such as /proc/PID/cmdline of kube-apiserver";
        findings.add(Finding::unknown(
            Check::APISERVER_START,
            "kube-apiserver",
            gap,
            cure,
        ));
    }
    findings.add(config_flag(server, path));
    let (check, subject) = (Check::APISERVER_RELOAD, RELOAD);
    let is_on = match server.flags.value(RELOAD_FLAG) {
        FlagValue::Known(value) => parse_bool(value).ok_or(value),
        FlagValue::Absent => Ok(false),
        FlagValue::Open(value) => {
            let detail = format_args!("`{value}`, of which a part is set elsewhere");
            let cure = format_args!("write {RELOAD}=true");
            findings.add(Finding::unknown(check, subject, detail, cure));
            Ok(false)
        }
        _ => Ok(false),
    };
    findings.add(match is_on {
        Ok(true) => mounts::reload(server),
        Ok(false) => {
            let cure = format_args!("add {RELOAD}=true");
            let detail = "off: a change of the configuration needs a restart of every API server";
            Finding::warn(check, subject, detail, cure)
        }
        Err(value) => {
            let detail = format_args!(
                "`{value}` is neither on nor off, so that kube-apiserver does not start"
            );
            Finding::fail(check, subject, detail, format_args!("write {RELOAD}=true"))
        }
    });
    probes::check(server, config, is_on == Ok(true), findings);
}

fn config_flag(server: &ApiServer, config: Option<&Path>) -> Finding {
    let check = Check::APISERVER_CONFIG;
    let value = match server.flags.value(CONFIG_FLAG) {
        FlagValue::Known(value) if !value.is_empty() => value,
        FlagValue::Open(value) => {
            let detail = format_args!("`{value}`, of which a part is set elsewhere");
            return Finding::unknown(check, CONFIG, detail, "write the whole path");
        }
        _ if !server.flags.gaps().is_empty() => {
            let detail = "not given as far as it is known";
            let cure = "write it where kube-apiserver is started";
            return Finding::unknown(check, CONFIG, detail, cure);
        }
        _ => {
            let detail = "not given: nothing is encrypted";
            let cure =
                format_args!("add {CONFIG}=FILE, and mount the folder of FILE if it runs in a pod");
            return Finding::fail(check, CONFIG, detail, cure);
        }
    };
    let inside = Path::new(value);
    if !inside.is_absolute() {
        let detail = format_args!("`{value}` is relative to a folder that is not known");
        return Finding::unknown(check, CONFIG, detail, "write the whole path");
    }
    if let Place::OtherPod(why) = server.place {
        return Finding::unknown(check, CONFIG, format_args!("`{value}`: {why}"), CURE);
    }
    if let Place::Pod(pod) = &server.place
        && let Some(finding) = mounts::of_config(pod, inside)
    {
        return finding;
    }
    let Some(config) = config else {
        return Finding::pass(check, CONFIG, format_args!("`{value}`"));
    };
    match server.on_host(inside) {
        Some(here) => compare(&here, config),
        None => {
            let detail =
                format_args!("`{value}`, of a volume that is not a folder of this machine");
            Finding::pass(check, CONFIG, detail)
        }
    }
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
            let cure = "check the one that kube-apiserver reads, or correct the flag";
            Finding::fail(check, CONFIG, detail, cure)
        }
        _ => {
            let detail = format_args!("`{theirs}` cannot be compared with `{ours}` from here");
            let cure = "run this command on the node of kube-apiserver";
            Finding::warn(check, CONFIG, detail, cure)
        }
    }
}
