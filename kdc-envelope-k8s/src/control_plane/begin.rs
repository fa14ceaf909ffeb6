//! From a request to a change that is under way.

use super::ports::{PortError, Update};
use super::{ControlPlane, Observation};
use crate::rotation::Desired;
use crate::rotation::UnknownWriter;
use crate::rotation::dry_run::{DryRun, dry_run};
use crate::rotation::key_source::KeySource;
use crate::rotation::lacking;
use crate::rotation::request::{ChangeError, ChangeRequest, Prepared, Situation, prepare};

impl Observation {
    /// The change that `request` comes to in what was observed. Stores nothing.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn prepare(
        &self,
        request: &ChangeRequest,
        keys: &dyn KeySource,
    ) -> Result<Prepared, ChangeError> {
        let situation = Situation {
            last: self.stored.change.as_ref(),
            files: self.layouts(),
            known: self.transformers(),
            revision: self.observed.keyring.revision.as_ref(),
            lacking: lacking(&self.observed, self.now),
            now: self.now,
        };
        prepare(request, &situation, keys)
    }

    /// How `prepared` would go from what was observed.
    ///
    /// # Errors
    /// [`UnknownWriter`] if the change names a writer that is not there.
    pub fn dry_run(&self, prepared: &Prepared) -> Result<DryRun, UnknownWriter> {
        let mut known = self.transformers();
        known.extend(&prepared.new);
        let desired: Desired = prepared.change.desired(&known)?;
        Ok(dry_run(&self.observed, &desired, self.now))
    }
}

impl ControlPlane {
    /// Stores the keys of `prepared` and then the change that names them, so that any run can carry it out from here.
    ///
    /// # Errors
    /// [`PortError::Stale`] if the state is another one than was observed; other kinds.
    pub async fn begin(
        &self,
        observation: &mut Observation,
        prepared: &Prepared,
    ) -> Result<(), PortError> {
        let (now, stored) = (self.clock.now(), &mut observation.stored);
        for transformer in &prepared.new {
            stored.keyring.keep(transformer, false, now);
        }
        let update = Update {
            keyring: (!prepared.new.is_empty()).then_some(&stored.keyring),
            change: Some(&prepared.change),
            ..Update::default()
        };
        stored.version = self.store.save(&stored.version, &update).await?;
        stored.change = Some(prepared.change.clone());
        Ok(())
    }
}
