//! Probes that fail with the plugin, so that kubelet ends kube-apiserver when it is needed most.

use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::api_server::{ApiServer, Dependence, KmsChecks, Place, Probe};
use kdc_envelope_k8s::encryption_config::{KmsApi, Provider};

use super::super::finding::{Check, Finding, Findings};

/// The findings about all probes that end the container.
pub(super) fn check(
    server: &ApiServer,
    config: Option<&EncryptionConfiguration>,
    reloads: bool,
    findings: &mut Findings<'_>,
) {
    let check = Check::APISERVER_PROBES;
    let probes = match &server.place {
        Place::Pod(pod) => pod.probes.as_slice(),
        _ => &[],
    };
    if !probes.iter().any(|probe| probe.name == "livenessProbe") {
        findings.add(Finding::skip(
            check,
            "livenessProbe",
            "no liveness probe is known",
        ));
    }
    let checks = kms_checks(config, reloads);
    for probe in probes {
        findings.add(of(probe, checks));
    }
}

/// How kube-apiserver names its checks. Without its configuration, as it does for KMS v2.
fn kms_checks(config: Option<&EncryptionConfiguration>, reloads: bool) -> KmsChecks {
    let providers = config
        .into_iter()
        .flat_map(EncryptionConfiguration::providers);
    let kms: Vec<KmsApi> = providers
        .filter_map(|(_, provider)| match provider {
            Provider::Kms(kms) => Some(kms.api),
            _ => None,
        })
        .collect();
    let has_v1 = kms.iter().any(|api| matches!(api, KmsApi::V1 { .. }));
    match has_v1 && !reloads {
        true => KmsChecks::Each(kms.len()),
        false => KmsChecks::One,
    }
}

fn of(probe: &Probe, checks: KmsChecks) -> Finding {
    let (check, subject) = (Check::APISERVER_PROBES, probe.name);
    let path = probe.path().unwrap_or("its command");
    let cure = "probe /livez instead";
    match probe.dependence(checks) {
        Dependence::Plugin if subject == "startupProbe" => {
            let detail = format_args!(
                "`{path}` fails while the plugin is away: kubelet ends kube-apiserver before it has started, again and again"
            );
            Finding::warn(check, subject, detail, cure)
        }
        Dependence::Plugin => {
            let detail = format_args!(
                "`{path}` fails with the plugin: kubelet restarts kube-apiserver, which then cannot read anything"
            );
            Finding::warn(check, subject, detail, cure)
        }
        Dependence::NotServed => {
            let detail =
                format_args!("`{path}` is not served by kube-apiserver, so that it always fails");
            Finding::fail(check, subject, detail, cure)
        }
        Dependence::None if path.contains("livez") && path.contains("exclude=kms-provider") => {
            let detail =
                format_args!("`{path}`; the exclusion is not needed since Kubernetes 1.29");
            Finding::pass(check, subject, detail)
        }
        Dependence::None => {
            let path = probe.path().unwrap_or("a connection");
            Finding::pass(
                check,
                subject,
                format_args!("`{path}` does not depend on the plugin"),
            )
        }
        _ => {
            let detail = format_args!("`{path}`: whether it fails with the plugin is not known");
            Finding::unknown(check, subject, detail, "probe /livez with httpGet")
        }
    }
}
