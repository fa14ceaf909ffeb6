//! Our engine with its default options, in a process of its own, so that its memory is its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::rewrite::RewriteOptions;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::fixture::Fixture;
use crate::print;

/// Rewrites all Secrets; gives the memory that it took at most, in MiB.
pub(super) async fn rewrite(fixture: &Fixture) -> Result<Option<f64>> {
    let mut child = Command::new(std::env::current_exe()?);
    child
        .arg("rewrite-child")
        .arg(fixture.kubeconfig())
        .arg("secrets");
    let output = tokio::task::spawn_blocking(move || child.output()).await??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    let kib: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Some(kib / 1024.0))
}

/// The child: prints its peak of resident memory in KiB.
pub(super) async fn run_child(kubeconfig: &Path, resource: &str) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.default_retry = false;
    let client = kube::Client::try_from(config)?;
    let resources = [GroupResource::from_text(resource)];
    let report = kdc_envelope_k8s::rewrite::rewrite(
        &client,
        &resources,
        &RewriteOptions::default(),
        &|_| (),
    )
    .await?;
    ensure!(
        report.is_complete(),
        "{} rows were refused",
        report.refused()
    );
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    print(format_args!("{}", kib.context("no VmHWM in /proc")?.trim()));
    Ok(())
}
