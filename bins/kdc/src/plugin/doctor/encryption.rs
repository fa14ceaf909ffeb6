//! The EncryptionConfiguration of kube-apiserver: whether it uses the plugin, and as it should.

use std::path::Path;
use std::time::Duration;

use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::api_server::ApiServer;
use kdc_envelope_k8s::encryption_config::{
    KmsApi, KmsProvider, Place, Provider, ResourceConfiguration,
};
use kdc_envelope_kms::server::{CALL_DEADLINE, SocketAddress};
use zeroize::Zeroizing;

use super::finding::{Check, Finding, Findings};
use super::socket::is_same;
use crate::failure::chain;

/// A call that waits longer keeps a client of the API server waiting.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

const OF_PROVIDER: [Check; 3] = [
    Check::PROVIDER_ORDER,
    Check::PROVIDER_TIMEOUT,
    Check::IDENTITY,
];

/// Reads the file.
pub(super) fn read(path: &Path, findings: &mut Findings<'_>) -> Option<EncryptionConfiguration> {
    let (check, subject) = (Check::ENCRYPTION_CONFIG, path.display());
    let content = match std::fs::read(path) {
        Ok(content) => Zeroizing::new(content),
        Err(error) => {
            let cure = "create it, or correct --encryption-config";
            findings.add(Finding::fail(check, subject, chain(&error), cure));
            return None;
        }
    };
    match EncryptionConfiguration::parse(&content) {
        Ok(config) => {
            let count = config.entries().len();
            findings.add(Finding::pass(
                check,
                subject,
                format_args!("valid, {count} entry(s)"),
            ));
            Some(config)
        }
        Err(error) => {
            let cure = "correct that place; kube-apiserver does not start with it as it is";
            findings.add(Finding::of_error(check, subject, &error, cure));
            None
        }
    }
}

/// Looks for the plugin at `socket` in it, and gives what kube-apiserver dials to reach it. `server` knows under which path it sees
/// a folder of this machine.
pub(super) fn check(
    config: &EncryptionConfiguration,
    socket: &SocketAddress,
    server: Option<&ApiServer>,
    findings: &mut Findings<'_>,
) -> Option<SocketAddress> {
    let providers = || {
        config
            .providers()
            .filter_map(|(place, provider)| match provider {
                Provider::Kms(kms) => Some((place, kms)),
                _ => None,
            })
    };
    let is_ours = |kms: &KmsProvider| {
        dialled(kms).is_some_and(|dialled| is_same(&seen_here(dialled, server), socket))
    };
    let mut has_fault = false;
    for (place, kms) in providers() {
        if let Err(fault) = kms.socket() {
            has_fault = true;
            let cure = "correct the endpoint";
            findings.add(Finding::of_error(Check::KMS_PROVIDER, place, &fault, cure));
        }
    }
    let ours: Vec<(Place, &KmsProvider)> = providers().filter(|(_, kms)| is_ours(kms)).collect();
    if ours.is_empty() && has_fault {
        // The one that is wanted may be the one that cannot be dialled.
        findings.skip(&OF_PROVIDER, socket, "`kms-provider` failed");
        return None;
    }
    if ours.is_empty() {
        let others: Vec<String> = providers()
            .map(|(_, kms)| format!("`{}`", kms.endpoint))
            .collect();
        findings.add(absent(socket, &others));
        findings.skip(&OF_PROVIDER, socket, "`kms-provider` failed");
        return None;
    }
    for (place, kms) in &ours {
        let place = *place;
        findings.add(provider(place, kms));
        let Some(entry) = config.entries().get(place.entry) else {
            continue;
        };
        findings.add(order(config, place, entry));
        findings.add(limit(place, kms));
        findings.add(identity(place, entry));
    }
    let (_, first) = ours.first()?;
    dialled(first)
}

/// What kube-apiserver dials to reach a provider.
fn dialled(kms: &KmsProvider) -> Option<SocketAddress> {
    kms.socket().ok()?.parse().ok()
}

/// The socket that kube-apiserver dials, by its path on this machine.
fn seen_here(dialled: SocketAddress, server: Option<&ApiServer>) -> SocketAddress {
    match (&dialled, server) {
        (SocketAddress::Path(path), Some(server)) => match server.on_host(path) {
            Some(path) => SocketAddress::Path(path),
            None => dialled,
        },
        _ => dialled,
    }
}

fn absent(socket: &SocketAddress, others: &[String]) -> Finding {
    let endpoint = match socket {
        SocketAddress::Path(path) => format!("unix://{}", path.display()),
        other => format!("unix:///{other}"),
    };
    let detail = match others {
        [] => "no provider is a KMS plugin".to_owned(),
        others => format!(
            "no KMS provider has this socket; there are {}",
            others.join(", ")
        ),
    };
    let cure = format_args!(
        "add to `providers`: kms: {{apiVersion: v2, name: kube-dc-kms-plugin, endpoint: '{endpoint}', timeout: 3s}}"
    );
    Finding::fail(Check::KMS_PROVIDER, socket, detail, cure)
}

fn provider(place: Place, kms: &KmsProvider) -> Finding {
    let name = &kms.name;
    match kms.api {
        KmsApi::V2 => {
            let detail = format_args!("`{name}`, KMS v2, endpoint {}", kms.endpoint);
            Finding::pass(Check::KMS_PROVIDER, place, detail)
        }
        other => {
            let detail = format_args!(
                "`{name}` speaks KMS {}, kms-plugin v2 alone",
                other.as_str()
            );
            let cure = "write `apiVersion: v2` into the provider, and remove `cachesize`";
            Finding::fail(Check::KMS_PROVIDER, place, detail, cure)
        }
    }
}

/// Who writes what the entry names.
fn order(config: &EncryptionConfiguration, place: Place, entry: &ResourceConfiguration) -> Finding {
    let check = Check::PROVIDER_ORDER;
    let other_writers: Vec<String> = entry
        .resources
        .iter()
        .filter_map(|resource| {
            let providers = config.providers_of(resource).providers;
            let (first, writer) = providers.first()?;
            (*first != place).then(|| format!("{resource} by `{}`", writer.as_str()))
        })
        .collect();
    if other_writers.is_empty() {
        let all: Vec<String> = entry.resources.iter().map(ToString::to_string).collect();
        let detail = format_args!("first: writes {}", all.join(", "));
        return Finding::pass(check, place, detail);
    }
    let detail = format_args!(
        "not first, so it only reads; written are {}",
        other_writers.join(", ")
    );
    let cure = "when every API server has this provider, make it the first of the list and rewrite all objects";
    Finding::warn(check, place, detail, cure)
}

fn limit(place: Place, kms: &KmsProvider) -> Finding {
    let check = Check::PROVIDER_TIMEOUT;
    let timeout = kms.timeout;
    let cure = "set `timeout: 3s`, the default of kube-apiserver";
    if timeout <= CALL_DEADLINE {
        let detail = format_args!(
            "{timeout:?}; kms-plugin takes up to {CALL_DEADLINE:?} when OpenBao is slow"
        );
        return Finding::warn(check, place, detail, cure);
    }
    if timeout > LONGEST_TIMEOUT {
        let detail = format_args!(
            "{timeout:?}; requests to the API server wait as long when the plugin is away"
        );
        return Finding::warn(check, place, detail, cure);
    }
    Finding::pass(check, place, format_args!("{timeout:?}"))
}

/// Whether objects that are not encrypted yet can be read.
fn identity(place: Place, entry: &ResourceConfiguration) -> Finding {
    let check = Check::IDENTITY;
    let is_identity = |provider: &Provider| matches!(provider, Provider::Identity);
    let position = entry.providers.iter().position(is_identity);
    match position {
        None => {
            let detail = "no `identity`: objects that are not encrypted yet cannot be read";
            let cure = "add `identity: {}` as the last provider, unless all objects were rewritten";
            Finding::warn(check, place, detail, cure)
        }
        Some(at) if at + 1 == entry.providers.len() => Finding::pass(
            check,
            place,
            "`identity` is last: what is not encrypted yet can be read",
        ),
        Some(_) => {
            let cure = "move `identity` to the end of the list";
            Finding::warn(check, place, "`identity` is not the last provider", cure)
        }
    }
}
