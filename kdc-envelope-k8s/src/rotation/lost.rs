//! Which files lack what rows may lie under.

use std::collections::BTreeMap;

use super::row_writers::Ledger;
use super::server_view::{ServerView, ServerViews};
use super::target::{self, Rule};
use super::{Blocker, ConfigHash, Desired, Observed, Timestamp};
use crate::encryption_config::Transformer;

/// What the files lack of what rows may lie under, a [`Blocker::Lacks`] for each of it. Files that cannot be read are not
/// among them; [`plan`](super::plan) tells of those.
#[must_use]
pub fn lacking(observed: &Observed, now: Timestamp) -> Vec<Blocker> {
    let mut readable = observed.clone();
    readable.servers.retain(|server| server.file.is_ok());
    let Ok(views) = ServerViews::of(&readable, now) else {
        return Vec::new();
    };
    let ledger = Ledger::of(&readable);
    let desired = Desired {
        writers: BTreeMap::new(),
        keep_keys: 0,
        interrupt: false,
    };
    let (rules, _) = target::rules(&views, &ledger, &desired);
    let views = views.servers.iter();
    views.flat_map(|view| lacking_from(view, &rules)).collect()
}

/// What the file of `view` lacks, with the resources that need it.
pub(super) fn lacking_from(view: &ServerView<'_>, rules: &[Rule]) -> Vec<Blocker> {
    let mut lost: Vec<(&Transformer, Vec<String>)> = Vec::new();
    for rule in rules {
        for transformer in rule.lost_from(view) {
            let name = rule.name.to_string();
            match lost
                .iter_mut()
                .find(|(known, _)| known.is_same(transformer))
            {
                Some((_, resources)) => resources.push(name),
                None => lost.push((transformer, vec![name])),
            }
        }
    }
    let lacks = |(transformer, resources): (&Transformer, Vec<String>)| Blocker::Lacks {
        server: view.server.name.clone(),
        is_missing: view.file.hash == ConfigHash::NO_FILE,
        transformer: transformer.clone(),
        resources: resources.join(", ").into(),
    };
    lost.into_iter().map(lacks).collect()
}
