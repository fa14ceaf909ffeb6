//! Credential plugins: a program that prints an ExecCredential (`k8s.io/client-go/plugin/pkg/client/auth/exec`).
//!
//! A plugin runs once here, so that what it gives is known to be usable before the client has it. What is good for a limited
//! time only is fetched again by the client, when that time is over.

use std::io::{self, IsTerminal as _};
use std::path::MAIN_SEPARATOR;
use std::process::{Command, Stdio};

use kube::config::{Cluster, ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::view::View;
use super::{KubeconfigError, KubeconfigFault};

/// Of the extension of a cluster that is handed to plugins.
const EXTENSION: &str = "client.authentication.k8s.io/exec";

/// What a plugin gave.
pub(super) enum Given {
    /// A token without an end.
    Token(Zeroizing<String>),
    /// A certificate and its key, in PEM.
    Certificate {
        certificate: String,
        key: Zeroizing<String>,
    },
    /// Something with an end, to be fetched anew with this.
    ShortLived(Box<ExecConfig>),
}

#[derive(Deserialize)]
struct Credential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    expiration_timestamp: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key_data: Option<String>,
}

/// Runs the plugin that the mapping `exec` of a user describes, and waits for it.
pub(super) fn run(plugin: &View<'_>, cluster: &View<'_>) -> Result<Given, KubeconfigError> {
    let (config, hint) = config(plugin, cluster)?;
    let failed = |what: String| {
        let place = plugin.place_of("command");
        KubeconfigError::new(
            plugin.file,
            KubeconfigFault::Plugin,
            format!("{place}: {what}"),
        )
    };
    let is_interactive = config.interactive_mode != Some(ExecInteractiveMode::Never);
    let mut command = command(&config, is_interactive);
    let output = command.output().map_err(|error| {
        let name = config.command.as_deref().unwrap_or_default();
        failed(format!(
            "cannot run the credential plugin `{name}`: {error}{hint}"
        ))
    })?;
    if !output.status.success() {
        // What it printed on standard output may be a token.
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let said = said.map_or_else(String::new, |line| format!(": {line}"));
        return Err(failed(format!(
            "the credential plugin failed with {}{said}",
            output.status
        )));
    }
    let printed = Zeroizing::new(output.stdout);
    let credential: Result<Credential, _> = serde_saphyr::from_slice(&printed);
    let status = credential.ok().and_then(|credential| credential.status);
    let Some(status) = status else {
        let what = "the credential plugin printed no ExecCredential with a status; run it by hand";
        return Err(failed(what.to_owned()));
    };
    match status {
        Status {
            client_certificate_data: Some(certificate),
            client_key_data: Some(key),
            ..
        } => {
            let key = Zeroizing::new(key);
            Ok(Given::Certificate { certificate, key })
        }
        Status {
            token: Some(_),
            expiration_timestamp: Some(_),
            ..
        } => Ok(Given::ShortLived(Box::new(config))),
        Status {
            token: Some(token), ..
        } => Ok(Given::Token(Zeroizing::new(token))),
        _ => Err(failed(
            "the credential plugin gave neither a token nor a certificate with its key".to_owned(),
        )),
    }
}

/// What the mapping says, and a hint for those who have not installed the plugin.
fn config(plugin: &View<'_>, cluster: &View<'_>) -> Result<(ExecConfig, String), KubeconfigError> {
    let command = plugin.text("command")?;
    let command = command.ok_or_else(|| plugin.wrong(".command is missing"))?;
    let command = match command.contains(MAIN_SEPARATOR) {
        true => plugin.resolve(&command).to_string_lossy().into_owned(),
        false => command,
    };
    let api_version = plugin.text("apiVersion")?;
    let api_version = api_version.ok_or_else(|| plugin.wrong(".apiVersion is missing"))?;
    let mut env = Vec::new();
    for variable in plugin.list("env")? {
        let name = variable.text("name")?;
        let name = name.ok_or_else(|| variable.wrong(".name is missing"))?;
        let value = variable.text("value")?.unwrap_or_default();
        env.push([("name".to_owned(), name), ("value".to_owned(), value)].into());
    }
    let is_terminal = io::stdin().is_terminal();
    let interactive_mode = match plugin.text("interactiveMode")?.as_deref() {
        Some("Always") if !is_terminal => {
            return Err(plugin.unsupported(
                ".interactiveMode is Always, and standard input is no terminal; run this on a terminal, or use another user",
            ));
        }
        Some("Never") => ExecInteractiveMode::Never,
        Some("Always" | "IfAvailable") | None if is_terminal => ExecInteractiveMode::IfAvailable,
        Some("IfAvailable") | None => ExecInteractiveMode::Never,
        Some(_) => {
            return Err(plugin.wrong(".interactiveMode has to be Never, IfAvailable or Always"));
        }
    };
    let hint = plugin.text("installHint")?.unwrap_or_default();
    let hint: Vec<_> = hint.split_whitespace().collect();
    let hint = match hint.is_empty() {
        true => "; is it installed, and in PATH?".to_owned(),
        false => format!("; {}", hint.join(" ")),
    };
    let provide_cluster_info = plugin.flag("provideClusterInfo")?;
    let args = plugin.texts("args")?;
    let about = provide_cluster_info.then(|| about(cluster)).transpose()?;
    let config = ExecConfig {
        api_version: Some(api_version),
        command: Some(command),
        args: Some(args),
        env: Some(env),
        interactive_mode: Some(interactive_mode),
        provide_cluster_info,
        cluster: about,
        ..ExecConfig::default()
    };
    Ok((config, hint))
}

/// The cluster as a plugin is told of it.
fn about(cluster: &View<'_>) -> Result<ExecAuthCluster, KubeconfigError> {
    let authority = cluster.path("certificate-authority")?;
    let of_kube = Cluster {
        server: cluster.text("server")?,
        insecure_skip_tls_verify: Some(cluster.flag("insecure-skip-tls-verify")?),
        certificate_authority: authority.map(|path| path.to_string_lossy().into_owned()),
        certificate_authority_data: cluster.text("certificate-authority-data")?,
        proxy_url: cluster.text("proxy-url")?,
        tls_server_name: cluster.text("tls-server-name")?,
        ..Cluster::default()
    };
    let about = ExecAuthCluster::try_from(&of_kube);
    let mut about = about.map_err(|_| cluster.wrong(".certificate-authority cannot be read"))?;
    for extension in cluster.list("extensions")? {
        if extension.text("name")?.as_deref() == Some(EXTENSION) {
            about.config = extension.raw("extension");
        }
    }
    Ok(about)
}

fn command(config: &ExecConfig, is_interactive: bool) -> Command {
    let mut command = Command::new(config.command.as_deref().unwrap_or_default());
    command.args(config.args.iter().flatten());
    for variable in config.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let information = json!({
        "apiVersion": config.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": is_interactive, "cluster": config.cluster},
    });
    command.env("KUBERNETES_EXEC_INFO", information.to_string());
    if is_interactive {
        command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        command.stdin(Stdio::null());
    }
    command
}
