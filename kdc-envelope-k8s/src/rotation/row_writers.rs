//! Under what rows may lie, by the state alone and whatever the files say.
//!
//! A file may be removed, or be an earlier version again, which configuration management does. The rows are as they were,
//! so what reads them must not leave the configuration with it.

use std::collections::BTreeMap;

use super::observed::{looked_up, name_and_wildcards};
use super::server_view::ServerViews;
use super::{Observed, Pass, Revision, RowWriters};
use crate::encryption_config::{GroupResource, Transformer};

/// What the state says of the rows.
pub(super) struct Ledger<'o> {
    observed: &'o Observed,
    newest: Option<&'o Revision>,
    /// What was noted with the newest revision, if that was done.
    noted: Option<&'o RowWriters>,
    /// The pass that shows that all rows are as the newest revision has it.
    proof: Option<&'o Pass>,
}

impl<'o> Ledger<'o> {
    pub(super) fn of(observed: &'o Observed) -> Self {
        let newest = observed.keyring.revision.as_ref();
        let number = newest.map_or(0, |newest| newest.number);
        let verified = observed.verified.as_ref();
        let noted = observed.row_writers.as_ref();
        // It is noted before the revision, so a crash in between leaves one that is ahead.
        let is_current =
            |noted: &&RowWriters| noted.revision == number || noted.revision == number + 1;
        Self {
            observed,
            newest,
            noted: noted.filter(is_current),
            proof: verified.filter(|pass| newest.is_some() && pass.proves(number)),
        }
    }

    pub(super) const fn newest(&self) -> Option<&'o Revision> {
        self.newest
    }

    /// Whether all rows are known to be as the newest revision has it.
    pub(super) const fn is_proven(&self) -> bool {
        self.proof.is_some()
    }

    /// Who writes `name` by the newest revision.
    pub(super) fn writer(&self, name: &GroupResource) -> Option<&'o Transformer> {
        self.newest?.writer(name)
    }

    /// Whether the state says all of `name`.
    pub(super) fn knows(&self, name: &GroupResource) -> bool {
        match (self.proof, self.noted) {
            (Some(pass), _) => {
                let mut names = name_and_wildcards(name).into_iter();
                names.any(|name| pass.resources.contains(&name))
            }
            (None, Some(noted)) => looked_up(&noted.writers, name).is_some(),
            (None, None) => false,
        }
    }

    /// Whether no row can have it, since it was kept and never put first.
    pub(super) fn is_unused(&self, transformer: &Transformer) -> bool {
        let mut kept = self.observed.keyring.kept.iter();
        kept.find(|kept| kept.transformer.is_same(transformer))
            .is_some_and(|kept| !kept.used)
    }

    /// Under what rows of `name` may lie; the newest writer comes first.
    pub(super) fn row_writers(
        &self,
        name: &GroupResource,
        views: &ServerViews<'_>,
    ) -> Vec<Transformer> {
        let writer = self.writer(name);
        let mut found: Vec<Transformer> = writer.into_iter().cloned().collect();
        let used = || {
            let kept = self.observed.keyring.kept.iter();
            let used = kept.filter(|kept| kept.used);
            used.map(|kept| kept.transformer.clone())
        };
        match (self.proof, self.noted, writer) {
            (Some(_), ..) => {}
            (None, Some(noted), _) => {
                let noted = looked_up(&noted.writers, name);
                found.extend(noted.into_iter().flatten().cloned());
            }
            // An earlier release noted nothing. As long as the files have the newest writer, they have the others too.
            (None, None, Some(writer)) if is_lost(writer, name, views) => {
                found.extend(used());
                found.push(Transformer::Identity);
            }
            // Nothing was recorded yet: whatever was found in a file, and stands in none any more.
            (None, None, None) if self.newest.is_none() => {
                let stands = |transformer: &Transformer| {
                    let mut files = views.files.iter();
                    files.any(|file| file.transformers().any(|known| known.is_same(transformer)))
                };
                found.extend(used().filter(|transformer| !stands(transformer)));
            }
            (None, None, _) => {}
        }
        let is_needed = |transformer: &Transformer| !self.is_unused(transformer);
        distinct(found.into_iter().filter(is_needed))
    }

    /// Names that the state has and that some file does not read as the rows need it.
    pub(super) fn lost_names(&self, views: &ServerViews<'_>) -> Vec<GroupResource> {
        let recorded = self
            .newest
            .into_iter()
            .flat_map(|newest| newest.writers.keys());
        let noted = self
            .noted
            .into_iter()
            .flat_map(|noted| noted.writers.keys());
        let is_lost_from_some = |name: &&GroupResource| {
            let needed = self.row_writers(name, views);
            needed.iter().any(|writer| is_lost(writer, name, views))
        };
        recorded
            .chain(noted)
            .filter(is_lost_from_some)
            .cloned()
            .collect()
    }

    /// What was noted of other names than `rules`, and still holds.
    pub(super) fn others(&self) -> BTreeMap<GroupResource, Vec<Transformer>> {
        match (self.proof, self.noted) {
            (None, Some(noted)) => noted.writers.clone(),
            _ => BTreeMap::new(),
        }
    }
}

/// Whether some file does not read what `writer` wrote.
fn is_lost(writer: &Transformer, name: &GroupResource, views: &ServerViews<'_>) -> bool {
    let mut views = views.servers.iter();
    views.any(|view| !view.file.layout.chain_of(name).reads(writer))
}

/// Each once, in their order.
pub(super) fn distinct(transformers: impl IntoIterator<Item = Transformer>) -> Vec<Transformer> {
    let mut found: Vec<Transformer> = Vec::new();
    for transformer in transformers {
        if !found.iter().any(|known| known.is_same(&transformer)) {
            found.push(transformer);
        }
    }
    found
}
