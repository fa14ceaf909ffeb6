//! Doing one thing that the planner asked for.

use super::{ChangeObserver, ControlPlane, Node};
use crate::encryption_config::GroupResource;
use crate::files::{FilesError, Passes};
use crate::rewrite::{RewriteError, RewriteReport, rewrite};
use crate::rotation::history::RecordError;
use crate::rotation::{Action, Binding, Pass, RowWriters};

/// It was not done. What was done before stays done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The revision does not follow on the last one.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The rows could not be gone through.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The plan is of another cluster.
    #[error("the plan names the API server {0}, which is none of the given ones")]
    UnknownServer(Box<str>),
}

impl ControlPlane {
    /// Carries out `action`.
    ///
    /// # Errors
    /// [`ApplyError`]. Doing it again does no harm.
    pub async fn apply(
        &self,
        action: &Action,
        observer: &impl ChangeObserver,
    ) -> Result<(), ApplyError> {
        let now = (self.clock)();
        match action {
            Action::StoreKey { transformer, used } => {
                let mut keyring = self.state.keyring()?;
                if keyring.keep(transformer, *used, now) {
                    self.state.save_keyring(&keyring)?;
                }
            }
            Action::StoreKeyOnNode { server, key } => self.node(server)?.folder.keep(key, now)?,
            Action::Record {
                revision,
                row_writers,
            } => {
                // Once the revision is there, nothing but this says what rows were under before it.
                self.state.save_row_writers(row_writers)?;
                let mut keyring = self.state.keyring()?;
                keyring.record(revision.clone(), now)?;
                self.state.save_keyring(&keyring)?;
            }
            Action::Write {
                server,
                layout,
                over,
            } => self.node(server)?.folder.write(layout, *over)?,
            Action::Rewrite { resources, binding } => {
                let report = self.pass(resources, observer).await?;
                let pass = passed(resources, binding, &report, report.refused());
                self.tell_of_pass(|passes| passes.rewritten = Some(pass))?;
            }
            Action::Verify { resources, binding } => {
                let report = self.pass(resources, observer).await?;
                // What had to be written again was not on the newest key after the first pass.
                let stale = report.refused() + report.rewritten();
                let pass = passed(resources, binding, &report, stale);
                let is_proof = pass.evidence().is_proof();
                self.tell_of_pass(|passes| passes.verified = Some(pass))?;
                let keyring = self.state.keyring()?.keyring();
                let newest = keyring.revision.as_ref();
                let proven = newest.filter(|revision| revision.number == binding.revision);
                if let (true, Some(revision)) = (is_proof, proven) {
                    // A later pass may fail and take the place of this one. What it proved stays proven.
                    let row_writers = RowWriters::proven(revision, resources);
                    self.state.save_row_writers(&row_writers)?;
                }
            }
        }
        Ok(())
    }

    /// One pass over all that is served. A resource whose definition was deleted has no objects left, but may still stand in
    /// the configuration: the report names it.
    async fn pass(
        &self,
        resources: &[GroupResource],
        observer: &impl ChangeObserver,
    ) -> Result<RewriteReport, RewriteError> {
        let progress = |progress: &_| observer.rewriting(progress);
        let report = rewrite(&self.client, resources, &self.rewrite, &progress).await?;
        observer.passed(&report);
        Ok(report)
    }

    fn tell_of_pass(&self, tell: impl FnOnce(&mut Passes)) -> Result<(), FilesError> {
        let mut passes = self.state.passes()?;
        tell(&mut passes);
        self.state.save_passes(&passes)
    }

    fn node(&self, name: &str) -> Result<&Node, ApplyError> {
        let found = self.nodes.iter().find(|node| *node.name == *name);
        found.ok_or_else(|| ApplyError::UnknownServer(name.into()))
    }
}

/// What is kept of a pass that left so many rows `refused`; one at least if it passed rows over.
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
