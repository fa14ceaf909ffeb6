//! The next configuration for all nodes.
//!
//! It is computed from the union of what stands in the files and of what rows may lie under by the state, so that a step which
//! reached some nodes only, and then crashed, has the same target as before it began, and a file that lost a key gets it back.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::row_writers::Ledger;
use super::server_view::{ServerView, ServerViews};
use super::{ConfigHash, Desired, Observed, Phase};
use crate::encryption_config::{Chain, GroupResource, Layout, Transformer};

/// One name or wildcard of a file or of what is wanted.
pub(super) struct Rule {
    pub(super) name: GroupResource,
    /// Who writes by the files.
    pub(super) current: Transformer,
    /// Who shall write, once the running change is done.
    pub(super) wanted: Transformer,
    /// Under what its rows may lie by the state, whatever the files say.
    pub(super) row_writers: Vec<Transformer>,
    /// Everything that stands in some file, with the longest list's order, then what only rows may lie under.
    union: Vec<Transformer>,
    /// Whether all files have the wanted writer somewhere, or first.
    pub(super) is_readable: bool,
    pub(super) is_first: bool,
}

/// The rules, and whether what is desired is put off until a running change is finished.
pub(super) fn rules(
    views: &ServerViews<'_>,
    ledger: &Ledger<'_>,
    desired: &Desired,
) -> (Vec<Rule>, bool) {
    let named = views
        .files
        .iter()
        .flat_map(|file| file.rules().map(|(name, _)| name));
    let mut names: BTreeSet<_> = named.chain(desired.writers.keys()).cloned().collect();
    names.extend(ledger.lost_names(views));
    let revision = ledger.newest();
    let is_finished = revision.is_none() || ledger.is_proven();
    let mut rules: Vec<_> = names
        .into_iter()
        .map(|name| rule(name, views, ledger, desired))
        .collect();
    let differs = |rule: &Rule| {
        let running = revision.and_then(|revision| revision.writers.get(&rule.name));
        running.is_some_and(|running| !running.is_same(&rule.wanted))
    };
    let is_queued = !desired.interrupt && !is_finished && rules.iter().any(differs);
    if is_queued {
        for rule in &mut rules {
            let running = revision.and_then(|revision| revision.writers.get(&rule.name));
            let wanted = running.unwrap_or(&rule.current).clone();
            rule.want(wanted, views);
        }
    }
    (rules, is_queued)
}

fn rule(
    name: GroupResource,
    views: &ServerViews<'_>,
    ledger: &Ledger<'_>,
    desired: &Desired,
) -> Rule {
    let chains = views.chains(&name);
    let row_writers = ledger.row_writers(&name, views);
    let longest = chains.iter().rev().max_by_key(|chain| chain.count());
    let ordered = longest
        .into_iter()
        .chain(&chains)
        .flat_map(Chain::iter)
        .chain(&row_writers)
        .cloned();
    let union = Chain::from_all(ordered).unwrap_or_else(Chain::plain);
    let wanted = desired.writer(&name);
    let newest = ledger.newest();
    let recorded = newest.and_then(|revision| revision.writers.get(&name));
    let writes = |writer: &&Transformer| chains.iter().any(|chain| chain.writer().is_same(writer));
    // Files of a step that some nodes have and some have not: the step was towards the newest revision.
    let current = recorded
        .filter(writes)
        .unwrap_or_else(|| chains.first().map_or(&Transformer::Identity, Chain::writer));
    let current = current.clone();
    let mut rule = Rule {
        name,
        wanted: current.clone(),
        current,
        row_writers,
        union: union.iter().cloned().collect(),
        is_readable: false,
        is_first: false,
    };
    let wanted = wanted.unwrap_or_else(|| rule.current.clone());
    rule.want(wanted, views);
    rule
}

impl Rule {
    fn want(&mut self, wanted: Transformer, views: &ServerViews<'_>) {
        let chains = views.chains(&self.name);
        self.is_readable = chains.iter().all(|chain| chain.reads(&wanted));
        self.is_first = chains.iter().all(|chain| chain.writer().is_same(&wanted));
        self.wanted = wanted;
    }

    /// What `view`'s file lacks of what rows may lie under.
    pub(super) fn lost_from(&self, view: &ServerView<'_>) -> impl Iterator<Item = &Transformer> {
        let chain = view.file.layout.chain_of(&self.name);
        let mut needed = self.row_writers.iter();
        core::iter::from_fn(move || needed.find(|writer| !chain.reads(writer)))
    }

    /// The chain of `view`'s file with all that it lacks. Its writer stays, so no server need read anything new first.
    fn restored(&self, view: &ServerView<'_>, observed: &Observed, ledger: &Ledger<'_>) -> Chain {
        let own = view.layout.chain_of(&self.name);
        let is_removed = view.file.hash == ConfigHash::NO_FILE && !view.is_using_known();
        // Without a file, what the process last wrote with is more likely than nothing, and keeps rows from being plain.
        let recorded = ledger.writer(&self.name).filter(|_| is_removed);
        let first = recorded.unwrap_or_else(|| own.writer()).clone();
        Chain::new(first, own.iter().cloned().chain(self.readers(observed)))
    }

    /// Everything that some file reads and that may be needed, but for the one that is put first.
    fn readers(&self, observed: &Observed) -> impl Iterator<Item = Transformer> {
        let unused = |transformer: &Transformer| {
            let kept = observed
                .keyring
                .kept
                .iter()
                .find(|kept| kept.transformer.is_same(transformer));
            kept.is_some_and(|kept| !kept.used)
        };
        self.union
            .iter()
            .filter(move |transformer| !unused(transformer))
            .cloned()
    }

    /// With the wanted writer in second place.
    fn readable(&self, observed: &Observed) -> Chain {
        let second = core::iter::once(self.wanted.clone());
        let first = if self.current.is_same(&self.wanted) {
            self.wanted.clone()
        } else {
            self.current.clone()
        };
        Chain::new(first, second.chain(self.readers(observed)))
    }

    /// With the wanted writer in first place.
    fn promoted(&self, observed: &Observed) -> Chain {
        let second = core::iter::once(self.current.clone());
        Chain::new(self.wanted.clone(), second.chain(self.readers(observed)))
    }

    /// Without what no row needs.
    fn pruned(&self, observed: &Observed, desired: &Desired) -> Chain {
        let mut keys = usize::from(self.wanted.local().is_some());
        let stays = |transformer: &Transformer| {
            if observed.retained.may_need(transformer) {
                return true;
            }
            match transformer {
                Transformer::Identity | Transformer::Kms(_) => false,
                Transformer::Local(_) => {
                    keys += usize::from(!self.wanted.is_same(transformer));
                    keys <= desired.keep_keys
                }
            }
        };
        let rest: Vec<_> = self.readers(observed).filter(stays).collect();
        Chain::new(self.wanted.clone(), rest)
    }
}

/// What the file of `view` shall mean when it gets back what it lacks.
pub(super) fn restored(
    rules: &[Rule],
    view: &ServerView<'_>,
    observed: &Observed,
    ledger: &Ledger<'_>,
) -> Arc<Layout> {
    let chains = rules
        .iter()
        .map(|rule| (rule.name.clone(), rule.restored(view, observed, ledger)));
    Arc::new(chains.collect())
}

/// The step that is due, and what every file shall mean after it.
pub(super) fn target(
    rules: &[Rule],
    observed: &Observed,
    desired: &Desired,
    is_verified: bool,
) -> (Phase, Arc<Layout>) {
    let of = |chain: &dyn Fn(&Rule) -> Chain| -> Layout {
        rules
            .iter()
            .map(|rule| (rule.name.clone(), chain(rule)))
            .collect()
    };
    let (phase, layout) = if !rules.iter().all(|rule| rule.is_readable) {
        (Phase::Readable, of(&|rule| rule.readable(observed)))
    } else if !rules.iter().all(|rule| rule.is_first) {
        (Phase::Promoting, of(&|rule| rule.promoted(observed)))
    } else if is_verified {
        let pruned = of(&|rule| rule.pruned(observed, desired));
        (Phase::Pruning, without_plain(&pruned, desired))
    } else {
        (Phase::Rewriting, of(&|rule| rule.promoted(observed)))
    };
    (phase, Arc::new(layout))
}

/// Without names that mean nothing: no request has them, and they would be stored plain without them too.
fn without_plain(layout: &Layout, desired: &Desired) -> Layout {
    let has_wildcards = layout.rules().any(|(name, _)| name.resource() == "*");
    let means_something = |name: &GroupResource, chain: &Chain| {
        has_wildcards || desired.writers.contains_key(name) || *chain != Chain::plain()
    };
    let rest: Layout = layout
        .rules()
        .filter(|(name, chain)| means_something(name, chain))
        .map(|(name, chain)| (name.clone(), chain.clone()))
        .collect();
    if rest.is_plain() {
        layout.clone()
    } else {
        rest
    }
}
