//! The change of the rows of one cluster, a step at a time.

use core::time::Duration;
use std::collections::HashMap;

use kdc_envelope::kmsv2::ProviderName;
use tokio::sync::Mutex;

use crate::control_plane::{ChangeRun, ControlPlane, Observation, Step};
use crate::controller::{ErrorKind, ReconcileError};
use crate::rewrite::Progress;
use crate::rotation::key_source::RandomKeys;
use crate::rotation::request::ChangeRequest;
use crate::rotation::{Blocker, Change, Phase};

/// Between two looks at a control plane on which nothing is to be done: its key may have a new version.
const SETTLED: Duration = Duration::from_secs(30);
/// After something was done.
const SOON: Duration = Duration::from_millis(100);

/// How the rows of a cluster stand.
#[derive(Debug)]
pub(super) struct Rows {
    /// How far the change is.
    pub(super) phase: Phase,
    /// What it waits for, or what is put off.
    pub(super) blockers: Vec<Blocker>,
    /// The pass that is running.
    pub(super) pass: Option<Progress>,
    /// Whether every API server says which key its plugin has; `None` if that was not looked at.
    pub(super) are_plugins_ready: Option<bool>,
    /// When to look again.
    pub(super) retry_after: Duration,
}

/// The changes that are under way in this process, by the UID of their clusters. What they remember is lost with the process, and
/// with it at most a pass over the rows.
#[derive(Debug, Default)]
pub(super) struct Runs(Mutex<HashMap<String, ChangeRun>>);

impl Runs {
    /// Forgets all of a cluster, which ends its pass.
    pub(super) async fn forget(&self, uid: &str) {
        self.0.lock().await.remove(uid);
    }

    /// Takes the next step of `change`, if there is one to be taken.
    pub(super) async fn advance(
        &self,
        uid: &str,
        control_plane: &ControlPlane,
        change: &Change,
        provider: &ProviderName,
    ) -> Result<Rows, ReconcileError> {
        let known = self.0.lock().await.remove(uid);
        let known = known.filter(|run| is_same(run.change(), change));
        let ready = |observation: &Observation| {
            let mut servers = observation.observed.servers.iter();
            servers.all(|server| server.kms.contains_key(provider.as_str()))
        };
        let mut are_plugins_ready = None;
        if known.is_none() {
            let observed = control_plane.observe_and_plan(change).await;
            let (observation, plan) =
                observed.map_err(|error| failed("cannot look at the API servers", error))?;
            are_plugins_ready = Some(ready(&observation));
            if plan.phase == Phase::Done && change.done.is_some() {
                return Ok(Rows {
                    phase: plan.phase,
                    blockers: plan.blockers,
                    pass: None,
                    are_plugins_ready,
                    retry_after: SETTLED,
                });
            }
        }
        let mut run = known.unwrap_or_else(|| ChangeRun::new(change.clone()));
        let step = control_plane.step(&mut run, &()).await;
        let step = step.map_err(|error| failed("the change of the rows cannot go on", error))?;
        let (mut rows, goes_on) = rows_of(step);
        rows.are_plugins_ready = are_plugins_ready;
        if goes_on {
            self.0.lock().await.insert(uid.to_owned(), run);
        }
        Ok(rows)
    }
}

/// Whether both are one change, whatever it has come to.
fn is_same(one: &Change, other: &Change) -> bool {
    one.requested == other.requested && one.kind == other.kind && one.writers == other.writers
}

/// With whether the run must be kept: a pass is running, or rows were refused.
fn rows_of(step: Step) -> (Rows, bool) {
    let rows = |phase, blockers, pass, retry_after| Rows {
        phase,
        blockers,
        pass,
        are_plugins_ready: None,
        retry_after,
    };
    match step {
        Step::Acted { phase, .. } => {
            let goes_on = matches!(phase, Phase::Rewriting | Phase::Verifying);
            (rows(phase, Vec::new(), None, SOON), goes_on)
        }
        Step::Rewriting { progress, .. } => {
            let again = Duration::from_secs(1);
            (
                rows(Phase::Rewriting, Vec::new(), Some(progress), again),
                true,
            )
        }
        Step::Waiting {
            phase,
            blockers,
            retry_after,
        } => (rows(phase, blockers, None, retry_after), true),
        Step::Done(outcome) => (rows(Phase::Done, outcome.blockers, None, SOON), false),
    }
}

fn failed(
    message: &'static str,
    error: impl core::error::Error + Send + Sync + 'static,
) -> ReconcileError {
    ReconcileError::new(ErrorKind::Transient, message, error)
}

/// Stores the change that `request` comes to.
pub(super) async fn begin(
    control_plane: &ControlPlane,
    request: &ChangeRequest,
) -> Result<(), ReconcileError> {
    let observed = control_plane.observe().await;
    let mut observation =
        observed.map_err(|error| failed("cannot look at the API servers", error))?;
    let prepared = observation.prepare(request, &RandomKeys);
    let prepared =
        prepared.map_err(|error| failed("the change of the rows cannot begin", error))?;
    let begun = control_plane.begin(&mut observation, &prepared).await;
    begun.map_err(|error| failed("the change of the rows cannot be stored", error))
}
