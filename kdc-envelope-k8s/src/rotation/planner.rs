//! The planner itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lost::lacking_from;
use super::row_writers::{Ledger, distinct};
use super::server_view::{ServerView, ServerViews};
use super::target::{self, Rule};
use super::writer::Writer;
use super::{
    Action, BackupNeeds, Binding, Blocker, Desired, HOLD, Observed, Pass, Phase, Plan, Revision,
    RowWriters, Timestamp,
};
use crate::encryption_config::{Chain, Layout, LocalKey, Transformer};

/// What to do next so that the cluster becomes as `desired`, and never loses a row on the way.
#[must_use]
pub fn plan(observed: &Observed, desired: &Desired, now: Timestamp) -> Plan {
    let views = match ServerViews::of(observed, now) {
        Ok(views) => views,
        Err(blockers) => return blocked(Phase::StoringKeys, blockers),
    };
    let ledger = Ledger::of(observed);
    let (rules, is_queued) = target::rules(&views, &ledger, desired);
    let planner = Planner {
        observed,
        desired,
        views,
        ledger,
        rules,
        now,
    };
    let mut plan = planner.plan();
    if let (true, Some(revision)) = (is_queued, &observed.keyring.revision) {
        let running = revision.number;
        plan.blockers.push(Blocker::Queued { running });
    }
    plan
}

struct Planner<'p> {
    observed: &'p Observed,
    desired: &'p Desired,
    views: ServerViews<'p>,
    ledger: Ledger<'p>,
    rules: Vec<Rule>,
    now: Timestamp,
}

const fn blocked(phase: Phase, blockers: Vec<Blocker>) -> Plan {
    Plan {
        phase,
        actions: Vec::new(),
        blockers,
    }
}

const fn due(phase: Phase, actions: Vec<Action>) -> Plan {
    Plan {
        phase,
        actions,
        blockers: Vec::new(),
    }
}

impl Planner<'_> {
    fn plan(&self) -> Plan {
        let taken = self.taken_names();
        if !taken.is_empty() {
            return blocked(Phase::StoringKeys, taken);
        }
        let keep = self.keep();
        if !keep.is_empty() {
            return due(Phase::StoringKeys, keep);
        }
        if let Some(revision) = self.newest_revision_that_was_broken() {
            return due(Phase::StoringKeys, vec![self.record(revision)]);
        }
        let is_verified = self.is_recorded() && self.covers(self.observed.verified.as_ref());
        let (phase, target) = target::target(&self.rules, self.observed, self.desired, is_verified);
        let unaskable = self.unaskable();
        if !unaskable.is_empty() {
            return blocked(phase, unaskable);
        }
        let history = self.keep_on_nodes();
        if !history.is_empty() {
            return due(Phase::StoringKeys, history);
        }
        if let Some(plan) = self.restore() {
            return plan;
        }
        let writes = self.writes(&target);
        if writes.is_empty() {
            self.rewrite(is_verified)
        } else {
            self.change_files(phase, &target, writes)
        }
    }

    /// Keys that would share a name with another one.
    fn taken_names(&self) -> Vec<Blocker> {
        let in_files = self.views.files.iter().flat_map(|file| file.transformers());
        let kept = self
            .observed
            .keyring
            .kept
            .iter()
            .map(|kept| &kept.transformer);
        let known: Vec<&LocalKey> = in_files
            .chain(kept)
            .filter_map(Transformer::local)
            .collect();
        let mut blockers = Vec::new();
        for wanted in self.desired.writers.values() {
            let Some(key) = wanted.local() else { continue };
            let is_other = |other: &&LocalKey| {
                other.provider() == key.provider() && other.name() == key.name() && *other != key
            };
            let blocker = Blocker::NameTaken(wanted.clone());
            if known.iter().any(is_other) && !blockers.contains(&blocker) {
                blockers.push(blocker);
            }
        }
        blockers
    }

    /// What the keyring lacks of the files and of the wanted writers.
    fn keep(&self) -> Vec<Action> {
        let mut missing: Vec<Action> = Vec::new();
        let mut add = |transformer: &Transformer, used: bool| {
            let is_kept = self
                .observed
                .keyring
                .kept
                .iter()
                .any(|kept| kept.transformer.is_same(transformer));
            let is_listed = missing.iter().any(|action| {
                matches!(action, Action::StoreKey { transformer: listed, .. } if listed.is_same(transformer))
            });
            if *transformer != Transformer::Identity && !is_kept && !is_listed {
                let transformer = transformer.clone();
                missing.push(Action::StoreKey { transformer, used });
            }
        };
        for transformer in self.views.files.iter().flat_map(|file| file.transformers()) {
            add(transformer, true);
        }
        for rule in &self.rules {
            add(&rule.wanted, false);
        }
        missing.extend(self.put_first_by_others());
        missing
    }

    /// What was never put first as far as the keyring knows, and writes nevertheless by some file.
    fn put_first_by_others(&self) -> Vec<Action> {
        let mut used: Vec<Transformer> = Vec::new();
        for rule in &self.rules {
            let servers = self.views.servers.iter();
            used.extend(servers.flat_map(|view| view.writers(&rule.name)));
        }
        let unused = distinct(used)
            .into_iter()
            .filter(|writer| self.ledger.is_unused(writer));
        unused
            .map(|transformer| Action::StoreKey {
                transformer,
                used: true,
            })
            .collect()
    }

    /// What the nodes' histories lack of the same.
    fn keep_on_nodes(&self) -> Vec<Action> {
        let in_files = self.views.files.iter().flat_map(|file| file.transformers());
        let rules = self.rules.iter();
        let others = rules.flat_map(|rule| core::iter::once(&rule.wanted).chain(&rule.row_writers));
        let mut keys: Vec<&LocalKey> = Vec::new();
        for key in in_files.chain(others).filter_map(Transformer::local) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut missing = Vec::new();
        for view in &self.views.servers {
            for key in keys.iter().filter(|key| !view.server.history.contains(key)) {
                missing.push(Action::StoreKeyOnNode {
                    server: view.server.name.clone(),
                    key: (*key).clone(),
                });
            }
        }
        missing
    }

    fn unaskable(&self) -> Vec<Blocker> {
        let uncertain = self.views.servers.iter().filter_map(ServerView::uncertain);
        uncertain
            .filter(|blocker| matches!(blocker, Blocker::Unaskable { .. }))
            .collect()
    }

    fn writes(&self, target: &Arc<Layout>) -> Vec<Action> {
        let stale = self
            .views
            .servers
            .iter()
            .filter(|view| view.is_missing || view.file.layout != *target);
        stale
            .map(|view| Action::Write {
                server: view.server.name.clone(),
                layout: Arc::clone(target),
                over: view.file.hash,
            })
            .collect()
    }

    fn change_files(&self, phase: Phase, target: &Layout, writes: Vec<Action>) -> Plan {
        let mut blockers = self.unknown();
        blockers.extend(self.not_readable(target));
        if phase == Phase::Pruning {
            blockers.extend(self.not_writing());
        }
        if blockers.is_empty() {
            blockers.extend(target.render().err().map(Blocker::Unwritable));
        }
        if !blockers.is_empty() {
            blockers.dedup();
            return blocked(phase, blockers);
        }
        if phase == Phase::Promoting && !self.is_recorded() {
            return due(phase, vec![self.record(self.next_revision())]);
        }
        due(phase, writes)
    }

    /// Servers of which it is unknown what they use. They may lose something by a new file that they have now.
    fn unknown(&self) -> Vec<Blocker> {
        let unknown = self.views.servers.iter().filter(|view| view.is_unknown());
        unknown.filter_map(ServerView::uncertain).collect()
    }

    /// Files that lack what rows may lie under get it back before anything else. No file loses anything or gets another
    /// writer by it, so nothing need be proven first.
    fn restore(&self) -> Option<Plan> {
        let mut lacking = Vec::new();
        let mut writes = Vec::new();
        for view in &self.views.servers {
            let lost = lacking_from(view, &self.rules);
            if lost.is_empty() {
                continue;
            }
            lacking.extend(lost);
            let layout = target::restored(&self.rules, view, self.observed, &self.ledger);
            if let Err(error) = layout.render() {
                return Some(blocked(Phase::Readable, vec![Blocker::Unwritable(error)]));
            }
            writes.push(Action::Write {
                server: view.server.name.clone(),
                layout,
                over: view.file.hash,
            });
        }
        if lacking.is_empty() {
            return None;
        }
        // Without a revision it is unknown what else such a server may have written with.
        let unknown = match self.ledger.newest() {
            Some(_) => Vec::new(),
            None => self.unknown(),
        };
        Some(match unknown.is_empty() {
            true => with(due(Phase::Readable, writes), lacking),
            false => blocked(Phase::Readable, unknown),
        })
    }

    /// A writer comes first only when every server can read it, whatever it is about to load.
    fn not_readable(&self, target: &Layout) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        for rule in &self.rules {
            let chain = target.chain_of(&rule.name);
            let chains = self.views.chains(&rule.name);
            if chains
                .iter()
                .all(|file| file.writer().is_same(chain.writer()))
            {
                continue;
            }
            let reads = |chains: [Chain; 2]| chains.iter().all(|known| known.reads(chain.writer()));
            for view in &self.views.servers {
                let unreadable = || Blocker::NotReadable {
                    server: view.server.name.clone(),
                    writer: chain.writer().clone(),
                };
                let does_read = reads(view.possible(&rule.name));
                blockers.extend(view.uncertain().or_else(|| (!does_read).then(unreadable)));
            }
        }
        blockers.dedup();
        blockers
    }

    /// Nothing is removed while any server may still write with it.
    fn not_writing(&self) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        for rule in &self.rules {
            for view in &self.views.servers {
                let other = || Blocker::NotWriting {
                    server: view.server.name.clone(),
                    writer: rule.wanted.clone(),
                };
                let chains = view.possible(&rule.name);
                let writes = chains
                    .iter()
                    .all(|chain| chain.writer().is_same(&rule.wanted));
                blockers.extend(view.uncertain().or_else(|| (!writes).then(other)));
            }
        }
        blockers.dedup();
        blockers
    }

    /// All files are as they should be; now the rows.
    fn rewrite(&self, is_verified: bool) -> Plan {
        let blockers: Vec<_> = self
            .views
            .servers
            .iter()
            .filter_map(ServerView::unproven)
            .collect();
        if !blockers.is_empty() {
            let phase = if is_verified {
                Phase::Pruning
            } else {
                Phase::Promoting
            };
            return blocked(phase, blockers);
        }
        if !self.is_recorded() {
            return due(Phase::Promoting, vec![self.record(self.next_revision())]);
        }
        let kms = match self.key_ids() {
            Ok(kms) => kms,
            Err(blockers) => return blocked(Phase::Rewriting, blockers),
        };
        let resources: Vec<_> = self.rules.iter().map(|rule| rule.name.clone()).collect();
        let revision = self
            .observed
            .keyring
            .revision
            .as_ref()
            .map_or(0, |revision| revision.number);
        let binding = Binding { revision, kms };
        if !self.covers(self.observed.rewritten.as_ref()) {
            let refused = self.refused(self.observed.rewritten.as_ref(), &binding);
            let action = Action::Rewrite { resources, binding };
            return with(due(Phase::Rewriting, vec![action]), refused);
        }
        if !is_verified {
            let refused = self.refused(self.observed.verified.as_ref(), &binding);
            let action = Action::Verify { resources, binding };
            return with(due(Phase::Verifying, vec![action]), refused);
        }
        with(due(Phase::Done, Vec::new()), self.retained())
    }

    /// Whether the newest revision has the wanted writers.
    fn is_recorded(&self) -> bool {
        self.observed
            .keyring
            .revision
            .as_ref()
            .is_some_and(|revision| {
                self.rules.iter().all(|rule| {
                    let writer = revision.writers.get(&rule.name);
                    writer.is_some_and(|writer| writer.is_same(&rule.wanted))
                })
            })
    }

    /// The one of the wanted writers.
    fn next_revision(&self) -> Revision {
        let newest = self.ledger.newest();
        let writers = self
            .rules
            .iter()
            .map(|rule| (rule.name.clone(), rule.wanted.clone()));
        Revision {
            number: newest.map_or(0, |revision| revision.number) + 1,
            writers: writers.collect(),
        }
    }

    /// The newest revision with another number, if an operator let a server write with something that no row should have:
    /// the passes that were made before prove nothing any more.
    fn newest_revision_that_was_broken(&self) -> Option<Revision> {
        let newest = self.ledger.newest()?;
        let is_foreign = |rule: &Rule| {
            let mut writers = self
                .views
                .servers
                .iter()
                .flat_map(|view| view.writers(&rule.name));
            self.ledger.knows(&rule.name)
                && writers
                    .any(|writer| !rule.row_writers.iter().any(|known| known.is_same(&writer)))
        };
        self.rules.iter().any(is_foreign).then(|| Revision {
            number: newest.number + 1,
            writers: newest.writers.clone(),
        })
    }

    /// With what rows may lie under from then on.
    fn record(&self, revision: Revision) -> Action {
        let mut writers = self.ledger.others();
        for rule in &self.rules {
            let servers = self.views.servers.iter();
            let current = servers.flat_map(|view| view.writers(&rule.name));
            let chains = self.views.chains(&rule.name);
            let is_known = self.ledger.knows(&rule.name);
            let in_files = chains
                .iter()
                .flat_map(Chain::iter)
                .filter(|transformer| !is_known && !self.ledger.is_unused(transformer));
            let next = revision.writers.get(&rule.name);
            let all = next.into_iter().chain(&rule.row_writers).chain(in_files);
            let all = distinct(all.cloned().chain(current));
            writers.insert(rule.name.clone(), all);
        }
        let number = revision.number;
        Action::Record {
            revision,
            row_writers: RowWriters {
                revision: number,
                writers,
            },
        }
    }

    /// Whether `pass` went over everything, under the newest revision and the current key ids.
    fn covers(&self, pass: Option<&Pass>) -> bool {
        let (Some(pass), Some(revision)) = (pass, &self.observed.keyring.revision) else {
            return false;
        };
        pass.proves(revision.number)
            && self
                .rules
                .iter()
                .all(|rule| pass.resources.contains(&rule.name))
            && self.key_ids().is_ok_and(|kms| pass.binding.kms == kms)
    }

    fn refused(&self, pass: Option<&Pass>, binding: &Binding) -> Vec<Blocker> {
        let pass = pass.filter(|pass| pass.binding == *binding && pass.refused > 0);
        pass.map(|pass| Blocker::RowsRefused(pass.refused))
            .into_iter()
            .collect()
    }

    /// The one key id that all servers have of each KMS v2 provider that writes, and have had long enough.
    fn key_ids(&self) -> Result<BTreeMap<Box<str>, Box<str>>, Vec<Blocker>> {
        let mut ids = BTreeMap::new();
        let mut blockers = Vec::new();
        let writers = self.rules.iter().filter_map(|rule| rule.wanted.kms_v2());
        let names: BTreeSet<_> = writers.map(|kms| &kms.name).collect();
        for name in names {
            match self.key_id(name) {
                Ok(id) => drop(ids.insert(name.clone(), id)),
                Err(blocker) => blockers.push(blocker),
            }
        }
        if blockers.is_empty() {
            Ok(ids)
        } else {
            Err(blockers)
        }
    }

    fn key_id(&self, provider: &str) -> Result<Box<str>, Blocker> {
        let mut agreed = None;
        let mut since = Timestamp::from_secs(0);
        for view in &self.views.servers {
            let known = view
                .server
                .kms
                .get(provider)
                .ok_or_else(|| Blocker::KeyIdUnknown {
                    server: view.server.name.clone(),
                    provider: provider.into(),
                })?;
            if *agreed.get_or_insert(&known.id) != &known.id {
                let provider = provider.into();
                return Err(Blocker::KeyIdsDiffer { provider });
            }
            since = since.max(known.since);
        }
        let until = since.after(HOLD);
        match agreed {
            Some(id) if until <= self.now => Ok(id.clone()),
            _ => Err(Blocker::KeyIdNew {
                provider: provider.into(),
                until,
            }),
        }
    }

    /// What stays only for the sake of backups.
    fn retained(&self) -> Vec<Blocker> {
        let BackupNeeds::Asked { needs, unknown } = &self.observed.retained else {
            return Vec::new();
        };
        let unknown = unknown.iter().cloned().map(Blocker::BackupsUnknown);
        let retained = needs.iter().filter_map(|retained| {
            let transformer = self.read_beside_writer(&retained.needs)?;
            Some(Blocker::Retained {
                transformer,
                backups: retained.backups.clone(),
                count: retained.count,
            })
        });
        unknown.chain(retained).collect()
    }

    /// What has this name and is read by some file without being the writer there.
    fn read_beside_writer(&self, name: &Writer) -> Option<Transformer> {
        self.rules.iter().find_map(|rule| {
            let chains = self.views.chains(&rule.name);
            let mut read = chains.iter().flat_map(Chain::iter);
            let found = read.find(|known| name.names(known) && !rule.wanted.is_same(known));
            found.cloned()
        })
    }
}

fn with(mut plan: Plan, blockers: Vec<Blocker>) -> Plan {
    plan.blockers.extend(blockers);
    plan
}
