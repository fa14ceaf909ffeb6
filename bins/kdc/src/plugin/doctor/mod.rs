//! `kdc plugin doctor`: everything between a kube-apiserver and its key in OpenBao, checked from where the plugin runs.

mod apiserver;
mod bao;
mod certificate;
mod encryption;
mod files;
mod finding;
mod jwt;
mod key;
mod login;
mod login_refused;
mod reach;
mod rights;
mod settings;
mod show;
mod socket;
mod tls;
mod token;
mod trial;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use kdc_shared::plugin::Options;
use kdc_shared::plugin::{KeySettings, KeySource};

use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use crate::runtime;
use bao::Known;
use finding::{Check, Finding, Findings, Report, Verdict};
use show::Table;

/// How long each step over the network may take.
const STEP_LIMIT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  With the settings that kms-plugin has, on the node or in its pod:
    kdc plugin doctor --config /etc/kms-plugin/kms-plugin.yaml

  With kube-apiserver, as kubeadm runs it:
    kdc plugin doctor --config /etc/kms-plugin/kms-plugin.yaml \\
        --encryption-config /etc/kubernetes/encryption/config.yaml \\
        --apiserver-manifest /etc/kubernetes/manifests/kube-apiserver.yaml

  What must be fixed, for a program:
    kdc plugin doctor --config FILE --output json | jq '.results[] | select(.outcome == \"fail\")'

It logs in once, may renew that token, and wraps and unwraps random bytes. It opens no wrapped secret id, and changes nothing.
Exit code 0 if nothing must be fixed, 1 if something must or if it cannot be told.";

/// Settings are those of kms-plugin, by the same flags, environment variables and file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// What kms-plugin is or will be started with.
    #[command(flatten)]
    options: Options,
    /// The EncryptionConfiguration of kube-apiserver.
    #[arg(long, value_name = "FILE", help_heading = "API server")]
    encryption_config: Option<PathBuf>,
    /// How kube-apiserver is started: the manifest of its pod, its unit, a configuration of kubeadm, k3s or RKE2, or a command line.
    #[arg(long, value_name = "FILE", help_heading = "API server")]
    apiserver_manifest: Option<PathBuf>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(super) fn run(arguments: Doctor, out: &mut Output) -> Result<Exit, Failure> {
    let format = arguments.output;
    let runtime = runtime::start()?;
    let report = match format {
        Format::Json => {
            let report = runtime.block_on(examine(arguments, Findings::new(&mut |_| {})));
            out.json(&report)?;
            report
        }
        Format::Text => {
            let mut table = Table::new(out);
            let mut written = Ok(());
            let mut tell = |finding: &Finding| {
                if written.is_ok() {
                    written = table.add(finding);
                }
            };
            let report = runtime.block_on(examine(arguments, Findings::new(&mut tell)));
            written?;
            table.conclude(&report)?;
            report
        }
    };
    Ok(match report.verdict {
        Verdict::NotReady | Verdict::CannotTell => Exit::Negative,
        Verdict::Ready | Verdict::ReadyWithWarnings => Exit::Ok,
    })
}

async fn examine(arguments: Doctor, mut findings: Findings<'_>) -> Report {
    let Doctor {
        options,
        encryption_config,
        apiserver_manifest,
        ..
    } = arguments;
    let keys = settings::gather(options, &mut findings);
    if keys.is_empty() {
        let why = "the settings are not complete";
        findings.skip(&Check::OF_ADDRESS, "OpenBao", why);
        findings.skip(&[Check::LOGIN], "OpenBao", why);
        findings.skip(&Check::OF_TOKEN, "OpenBao", why);
        let local = [Check::SOCKET_FOLDER, Check::SOCKET, Check::PLUGIN];
        findings.skip(&local, "socket", why);
    }
    let mut known = Known::default();
    for key in &keys {
        findings.concern((keys.len() > 1).then_some(key.name.as_str()));
        match &key.source {
            KeySource::File(source) => files::check_key_file(source, &mut findings),
            KeySource::Bao(source) => {
                bao::check(source, &key.name, &mut known, &mut findings).await;
            }
        }
        socket::check(&key.socket, &mut findings).await;
    }
    findings.concern(None);
    let server = apiserver_manifest.and_then(|path| apiserver::read(&path, &mut findings));
    let path = encryption_config.as_deref();
    let config = path.and_then(|path| encryption::read(path, &mut findings));
    if let Some(server) = &server {
        apiserver::check(server, path, config.as_ref(), &mut findings);
    }
    for key in &keys {
        findings.concern((keys.len() > 1).then_some(key.name.as_str()));
        let KeySettings { socket, .. } = key;
        let (socket, server) = (&socket.address, server.as_ref());
        let dialled = config
            .as_ref()
            .and_then(|config| encryption::check(config, socket, server, &mut findings));
        if let Some(server) = server {
            apiserver::check_socket(server, socket, dialled.as_ref(), &mut findings);
        }
    }
    findings.into_report()
}
