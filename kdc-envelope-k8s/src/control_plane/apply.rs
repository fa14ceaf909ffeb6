//! Doing one thing that the planner asked for.

use super::ControlPlane;
use super::ports::{PortError, StoredState, Update};
use crate::encryption_config::GroupResource;
use crate::rewrite::{RewriteError, RewriteReport};
use crate::rotation::history::RecordError;
use crate::rotation::{Action, Binding, Pass, RowWriters};

/// It was not done. What was done before stays done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A configuration or the state could not be read or written.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The revision does not follow on the last one.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The rows could not be gone through.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

impl ControlPlane {
    /// Carries out `action`, unless it is a pass over the rows. `stored` is what the plan was made from; it follows what is
    /// saved. Doing it again does no harm.
    pub(super) async fn apply(
        &self,
        action: &Action,
        stored: &mut StoredState,
    ) -> Result<(), ApplyError> {
        let now = self.clock.now();
        match action {
            Action::StoreKey { transformer, used } => {
                if stored.keyring.keep(transformer, *used, now) {
                    let update = Update {
                        keyring: Some(&stored.keyring),
                        ..Update::default()
                    };
                    stored.version = self.store.save(&stored.version, &update).await?;
                }
            }
            Action::StoreKeyOnNode { server, key } => {
                self.targets.store_key(server, key, now).await?;
            }
            Action::Record {
                revision,
                row_writers,
            } => {
                stored.keyring.record(revision.clone(), now)?;
                let update = Update {
                    row_writers: Some(row_writers),
                    keyring: Some(&stored.keyring),
                    ..Update::default()
                };
                stored.version = self.store.save(&stored.version, &update).await?;
            }
            Action::Write {
                server,
                layout,
                over,
            } => self.targets.write(server, layout, *over).await?,
            Action::Rewrite { .. } | Action::Verify { .. } => {}
        }
        Ok(())
    }

    /// Keeps what a pass showed. It may have taken long, so the state is read anew; the pass is bound to its revision.
    pub(super) async fn note_pass(
        &self,
        action: &Action,
        report: &RewriteReport,
    ) -> Result<(), ApplyError> {
        let stored = self.store.load().await?;
        let mut passes = stored.passes;
        let mut row_writers = None;
        match action {
            Action::Rewrite { resources, binding } => {
                passes.rewritten = Some(passed(resources, binding, report, report.refused()));
            }
            Action::Verify { resources, binding } => {
                // What had to be written again was not on the newest key after the first pass.
                let stale = report.refused() + report.rewritten();
                let pass = passed(resources, binding, report, stale);
                let keyring = stored.keyring.keyring();
                let newest = keyring.revision.as_ref();
                let proven = newest.filter(|revision| revision.number == binding.revision);
                if let (true, Some(revision)) = (pass.evidence().is_proof(), proven) {
                    // A later pass may fail and take the place of this one. What it proved stays proven.
                    row_writers = Some(RowWriters::proven(revision, resources));
                }
                passes.verified = Some(pass);
            }
            _ => return Ok(()),
        }
        let update = Update {
            row_writers: row_writers.as_ref(),
            passes: Some(&passes),
            ..Update::default()
        };
        self.store.save(&stored.version, &update).await?;
        Ok(())
    }
}

/// What is kept of a pass that left so many rows `refused`; one at least if it did not cover all.
fn passed(
    resources: &[GroupResource],
    binding: &Binding,
    report: &RewriteReport,
    refused: u64,
) -> Pass {
    Pass {
        binding: binding.clone(),
        resources: resources.to_vec(),
        refused: refused.max(u64::from(!report.is_complete())),
    }
}
