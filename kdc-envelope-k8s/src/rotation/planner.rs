//! The planner itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::survey::Survey;
use super::target::{self, Rule};
use super::{
    Action, Binding, Blocker, Desired, HOLD, Observed, Pass, Phase, Plan, Revision, Timestamp,
};
use crate::encryption_config::{Chain, GroupResource, Layout, LocalKey, Transformer};

/// What to do next so that the cluster becomes as `desired`, and never loses a row on the way.
#[must_use]
pub fn plan(observed: &Observed, desired: &Desired, now: Timestamp) -> Plan {
    let survey = match Survey::of(observed, now) {
        Ok(survey) => survey,
        Err(blockers) => return blocked(Phase::Keeping, blockers),
    };
    let is_finished = is_finished(observed);
    let (rules, is_queued) = target::rules(&survey, observed, desired, is_finished);
    let planner = Planner {
        observed,
        desired,
        survey,
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

/// Whether all rows are known to be as the newest revision has it.
fn is_finished(observed: &Observed) -> bool {
    let (Some(revision), Some(pass)) = (&observed.keyring.revision, &observed.verified) else {
        return observed.keyring.revision.is_none();
    };
    pass.binding.revision == revision.number && pass.refused == 0
}

struct Planner<'p> {
    observed: &'p Observed,
    desired: &'p Desired,
    survey: Survey<'p>,
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
            return blocked(Phase::Keeping, taken);
        }
        let keep = self.keep();
        if !keep.is_empty() {
            return due(Phase::Keeping, keep);
        }
        let is_verified = self.is_recorded() && self.covers(self.observed.verified.as_ref());
        let (phase, target) = target::target(&self.rules, self.observed, self.desired, is_verified);
        let unaskable = self.unaskable();
        if !unaskable.is_empty() {
            return blocked(phase, unaskable);
        }
        let history = self.keep_on_nodes();
        if !history.is_empty() {
            return due(Phase::Keeping, history);
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
        let in_files = self
            .survey
            .files
            .iter()
            .flat_map(|file| file.transformers());
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
                matches!(action, Action::Keep { transformer: listed, .. } if listed.is_same(transformer))
            });
            if *transformer != Transformer::Identity && !is_kept && !is_listed {
                let transformer = transformer.clone();
                missing.push(Action::Keep { transformer, used });
            }
        };
        for transformer in self
            .survey
            .files
            .iter()
            .flat_map(|file| file.transformers())
        {
            add(transformer, true);
        }
        for rule in &self.rules {
            add(&rule.wanted, false);
        }
        missing
    }

    /// What the nodes' histories lack of the same.
    fn keep_on_nodes(&self) -> Vec<Action> {
        let in_files = self
            .survey
            .files
            .iter()
            .flat_map(|file| file.transformers());
        let wanted = self.rules.iter().map(|rule| &rule.wanted);
        let mut keys: Vec<&LocalKey> = Vec::new();
        for key in in_files.chain(wanted).filter_map(Transformer::local) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut missing = Vec::new();
        for view in &self.survey.servers {
            for key in keys.iter().filter(|key| !view.server.history.contains(key)) {
                missing.push(Action::KeepOnNode {
                    server: view.server.name.clone(),
                    key: (*key).clone(),
                });
            }
        }
        missing
    }

    fn unaskable(&self) -> Vec<Blocker> {
        let uncertain = self
            .survey
            .servers
            .iter()
            .filter_map(super::survey::View::uncertain);
        uncertain
            .filter(|blocker| matches!(blocker, Blocker::Unaskable { .. }))
            .collect()
    }

    fn writes(&self, target: &Arc<Layout>) -> Vec<Action> {
        let stale = self
            .survey
            .servers
            .iter()
            .filter(|view| view.file.layout != *target);
        stale
            .map(|view| Action::Write {
                server: view.server.name.clone(),
                layout: Arc::clone(target),
            })
            .collect()
    }

    fn change_files(&self, phase: Phase, target: &Layout, writes: Vec<Action>) -> Plan {
        let mut blockers = self.not_readable(target);
        if phase == Phase::Pruning {
            blockers.extend(self.not_writing());
        }
        if blockers.is_empty() {
            blockers.extend(target.render().err().map(Blocker::Unwritable));
        }
        if !blockers.is_empty() {
            return blocked(phase, blockers);
        }
        if phase == Phase::Promoting && !self.is_recorded() {
            return due(phase, vec![self.record()]);
        }
        due(phase, writes)
    }

    /// A writer comes first only when every server can read it, whatever it is about to load.
    fn not_readable(&self, target: &Layout) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        for rule in &self.rules {
            let chain = target.chain_of(&rule.name);
            let chains = self.survey.chains(&rule.name);
            if chains
                .iter()
                .all(|file| file.writer().is_same(chain.writer()))
            {
                continue;
            }
            let reads = |chains: [Chain; 2]| chains.iter().all(|known| known.reads(chain.writer()));
            for view in &self.survey.servers {
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
            for view in &self.survey.servers {
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
            .survey
            .servers
            .iter()
            .filter_map(super::survey::View::unproven)
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
            return due(Phase::Promoting, vec![self.record()]);
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

    fn record(&self) -> Action {
        let newest = self.observed.keyring.revision.as_ref();
        let writers = self
            .rules
            .iter()
            .map(|rule| (rule.name.clone(), rule.wanted.clone()));
        Action::Record(Revision {
            number: newest.map_or(0, |revision| revision.number) + 1,
            writers: writers.collect(),
        })
    }

    /// Whether `pass` went over everything, under the newest revision and the current key ids.
    fn covers(&self, pass: Option<&Pass>) -> bool {
        let (Some(pass), Some(revision)) = (pass, &self.observed.keyring.revision) else {
            return false;
        };
        pass.binding.revision == revision.number
            && pass.refused == 0
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
        for view in &self.survey.servers {
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
        let mut blockers = Vec::new();
        for backup in &self.observed.retained {
            let is_writer = |rule: &Rule| rule.wanted.is_same(&backup.needs);
            let is_read = |name: &GroupResource| {
                self.survey
                    .chains(name)
                    .iter()
                    .any(|chain| chain.reads(&backup.needs))
            };
            if self
                .rules
                .iter()
                .any(|rule| !is_writer(rule) && is_read(&rule.name))
            {
                blockers.push(Blocker::Retained {
                    transformer: backup.needs.clone(),
                    backup: backup.backup.clone(),
                });
            }
        }
        blockers
    }
}

fn with(mut plan: Plan, blockers: Vec<Blocker>) -> Plan {
    plan.blockers.extend(blockers);
    plan
}
