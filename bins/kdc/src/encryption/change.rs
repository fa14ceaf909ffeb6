//! `kdc encryption enable|rotate|disable|abort|resume`.

use clap::Args;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
use kdc_envelope_k8s::rewrite::resolve;
use kdc_envelope_k8s::rotation::Blocker;
use kdc_envelope_k8s::rotation::request::{ChangeRequest, Prepared};

use super::backups::BackupFlags;
use super::drive::drive;
use super::flags::{ClusterFlags, NodeFlags, RewriteFlags, TimeoutFlag, YesFlag};
use super::request::{EnableFlags, SubsetFlags, prepare};
use super::{plan, refusal};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, note};
use crate::runtime;

const ENABLE: &str = "\
Examples:
  kdc encryption plan enable --provider aesgcm
  kdc encryption enable --provider aesgcm
  kdc encryption enable --resources 'secrets,configmaps,*.apps' --kms-name kdc \\
      --kms-endpoint unix:///run/kms-plugin/kms.sock
  kdc encryption enable --provider aesgcm \\
      --node https://10.0.0.1:6443=/mnt/cp-1/encryption-provider.conf \\
      --node https://10.0.0.2:6443=/mnt/cp-2/encryption-provider.conf";

const ROTATE: &str = "\
Examples:
  kdc encryption plan rotate
  kdc encryption rotate --resources secrets --rate 200
  kdc encryption rotate --yes --output json";

const DISABLE: &str = "\
Examples:
  kdc encryption plan disable
  kdc encryption disable --resources configmaps";

const ABORT: &str = "\
Examples:
  kdc encryption plan abort
  kdc encryption abort";

const RESUME: &str = "\
Examples:
  kdc encryption status
  kdc encryption resume --timeout 1h";

/// What every change needs.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    yes: YesFlag,
    #[command(flatten)]
    timeout: TimeoutFlag,
    /// How to show the outcome.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    nodes: NodeFlags,
    #[command(flatten)]
    rewrite: RewriteFlags,
    #[command(flatten)]
    backups: BackupFlags,
}

/// Encrypt resources, or let another provider encrypt them.
///
/// Works on a running cluster: rows that are plain, or of another provider, are rewritten. The API servers need
/// --encryption-provider-config and --encryption-provider-config-automatic-reload=true; without the latter, restart each
/// one when this waits for it.
#[derive(Debug, Args)]
#[command(after_help = ENABLE)]
pub(crate) struct Enable {
    #[command(flatten)]
    pub(super) wanted: EnableFlags,
    #[command(flatten)]
    common: Common,
}

/// Write with a new key, and rewrite every row.
#[derive(Debug, Args)]
#[command(after_help = ROTATE)]
pub(crate) struct Rotate {
    #[command(flatten)]
    pub(super) subset: SubsetFlags,
    #[command(flatten)]
    common: Common,
}

/// Store resources unencrypted again.
#[derive(Debug, Args)]
#[command(after_help = DISABLE)]
pub(crate) struct Disable {
    #[command(flatten)]
    pub(super) subset: SubsetFlags,
    #[command(flatten)]
    common: Common,
}

/// Abort the change in progress and return to the previous keys; safe at any point.
#[derive(Debug, Args)]
#[command(after_help = ABORT)]
pub(crate) struct Abort {
    #[command(flatten)]
    common: Common,
}

/// Continue the last change after a crash, or rewrite rows after the key of a KMS plugin was rotated.
#[derive(Debug, Args)]
#[command(after_help = RESUME)]
pub(crate) struct Resume {
    #[command(flatten)]
    common: Common,
}

pub(super) fn enable(arguments: &Enable, out: &mut Output) -> Result<Exit, Failure> {
    run(&arguments.wanted.request()?, &arguments.common, out)
}

pub(super) fn rotate(arguments: &Rotate, out: &mut Output) -> Result<Exit, Failure> {
    run(&arguments.subset.rotate(), &arguments.common, out)
}

pub(super) fn disable(arguments: &Disable, out: &mut Output) -> Result<Exit, Failure> {
    run(&arguments.subset.disable(), &arguments.common, out)
}

pub(super) fn abort(arguments: &Abort, out: &mut Output) -> Result<Exit, Failure> {
    run(&ChangeRequest::Abort, &arguments.common, out)
}

pub(super) fn resume(arguments: &Resume, out: &mut Output) -> Result<Exit, Failure> {
    run(&ChangeRequest::Resume, &arguments.common, out)
}

fn run(request: &ChangeRequest, common: &Common, out: &mut Output) -> Result<Exit, Failure> {
    let backups = common.backups.open()?;
    let runtime = runtime::start_few()?;
    runtime.block_on(async {
        let options = common.rewrite.options();
        let seen = common.nodes.lock_and_observe(&common.cluster, options);
        let (mut control_plane, mut observation) = seen.await?;
        control_plane.backups = backups;
        let prepared = prepare(request, &observation)?;
        check(&prepared, &observation)?;
        check_names(&control_plane, &prepared, &observation).await?;
        if !matches!(request, ChangeRequest::Resume) {
            common.yes.confirm(&plan::question(&prepared.change))?;
        }
        let begun = control_plane.begin(&mut observation, &prepared).await;
        begun.map_err(|error| refusal::of_port(&error))?;
        drive(
            &control_plane,
            &prepared.change,
            common.timeout.timeout,
            common.output,
            out,
        )
        .await
    })
}

/// Refuses names that are new to the configuration and under which nothing is served. Of those that it has already, people
/// are told: a configuration may name what is not installed yet.
async fn check_names(
    control_plane: &ControlPlane,
    prepared: &Prepared,
    observation: &Observation,
) -> Result<(), Failure> {
    let names: Vec<_> = prepared.change.writers.keys().cloned().collect();
    let found = resolve(&control_plane.client, &names).await;
    let found = found.map_err(|error| refusal::of_rewrite(&error).hint("nothing was changed"))?;
    let configured = |name: &GroupResource| {
        let layouts = observation.layouts();
        layouts
            .iter()
            .any(|layout| layout.rules().any(|(known, _)| known == name))
    };
    let new: Vec<_> = names.into_iter().filter(|name| !configured(name)).collect();
    let required = found.require(&new);
    required.map_err(|error| refusal::of_rewrite(&error).hint("nothing was changed"))?;
    for skipped in found.not_served() {
        note(&skipped.to_string());
    }
    Ok(())
}

/// What can never come to its end is not begun.
fn check(prepared: &Prepared, observation: &Observation) -> Result<(), Failure> {
    let dry_run = observation.dry_run(prepared);
    let dry_run = dry_run.map_err(|error| refusal::of_change(&error.into()))?;
    let is_final = |blocker: &&Blocker| {
        matches!(
            blocker,
            Blocker::Unwritable(_) | Blocker::NameTaken(_) | Blocker::File { .. }
        )
    };
    match dry_run.blockers.iter().find(is_final) {
        Some(blocker) => Err(Failure::new(Exit::Config, blocker).hint("nothing was changed")),
        None => Ok(()),
    }
}
