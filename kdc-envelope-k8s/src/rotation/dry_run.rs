//! What a change would do, step by step, if nothing went wrong: the planner run on a copy of what was observed.

use core::time::Duration;
use std::sync::Arc;

use super::{
    Action, Blocker, ConfigHash, Desired, Kept, LoadedConfig, NodeFile, Observed, Pass, Phase,
    RowWriters, Timestamp, lacking, plan,
};
use crate::encryption_config::{Difference, Layout, Transformer, differences};

/// Longer than every wait that the planner knows.
const STEP: Duration = Duration::from_secs(600);
/// More than any change has.
const MAX_STEPS: usize = 64;

/// How a change would go.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DryRun {
    /// The steps in their order.
    pub steps: Vec<Step>,
    /// What the files lack before the first step: [`lacking`].
    pub lacking: Vec<Blocker>,
    /// Why it would not get to its end, or what would be put off.
    pub blockers: Vec<Blocker>,
    /// Whether it would get to its end.
    pub is_complete: bool,
}

/// What is done in one go; before the next step, proof is waited for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// The phase.
    pub phase: Phase,
    /// What is done.
    pub actions: Vec<Action>,
    /// What changes in the configuration files.
    pub differences: Vec<Difference>,
}

impl DryRun {
    /// How often every API server has to load another file.
    #[must_use]
    pub fn reloads(&self) -> usize {
        let writes = |step: &&Step| {
            let mut actions = step.actions.iter();
            actions.any(|action| matches!(action, Action::Write { .. }))
        };
        self.steps.iter().filter(writes).count()
    }

    /// Whether rows are rewritten.
    #[must_use]
    pub fn rewrites(&self) -> bool {
        let mut actions = self.steps.iter().flat_map(|step| &step.actions);
        actions.any(|action| matches!(action, Action::Rewrite { .. }))
    }
}

/// Runs the planner through the whole change on a copy of what was observed.
#[must_use]
pub fn dry_run(observed: &Observed, desired: &Desired, now: Timestamp) -> DryRun {
    let mut world = observed.clone();
    let (started, mut now) = (now, now);
    let mut steps = Vec::new();
    let mut has_waited = false;
    while steps.len() < MAX_STEPS {
        let plan = plan(&world, desired, now);
        let is_complete = plan.phase == Phase::Done;
        if is_complete || (plan.actions.is_empty() && has_waited) {
            return DryRun {
                steps,
                lacking: lacking(observed, started),
                blockers: plan.blockers,
                is_complete,
            };
        }
        has_waited = plan.actions.is_empty();
        let before = layout(&world);
        for action in &plan.actions {
            simulate(&mut world, action, now);
        }
        now = now.after(STEP);
        if !plan.actions.is_empty() {
            steps.push(Step {
                phase: plan.phase,
                actions: plan.actions,
                differences: differences(&before, &layout(&world)),
            });
        }
    }
    DryRun {
        steps,
        lacking: lacking(observed, started),
        blockers: Vec::new(),
        is_complete: false,
    }
}

/// What the last node's file means: it is the last one to be written.
fn layout(world: &Observed) -> Arc<Layout> {
    let files = world.servers.iter().rev();
    let mut readable = files.filter_map(|server| server.file.as_ref().ok());
    readable
        .next()
        .map(|file| Arc::clone(&file.layout))
        .unwrap_or_default()
}

fn simulate(world: &mut Observed, action: &Action, now: Timestamp) {
    match action {
        Action::StoreKey { transformer, used } => {
            let mut kept = world.keyring.kept.iter_mut();
            match kept.find(|kept| kept.transformer.is_same(transformer)) {
                Some(kept) => kept.used |= *used,
                None => world.keyring.kept.push(Kept {
                    transformer: transformer.clone(),
                    used: *used,
                }),
            }
        }
        Action::StoreKeyOnNode { server, key } => {
            for node in world.servers.iter_mut().filter(|node| node.name == *server) {
                node.history.push(key.clone());
            }
        }
        Action::Record {
            revision,
            row_writers,
        } => {
            let is_writer = |transformer: &Transformer| {
                let mut writers = revision.writers.values();
                writers.any(|writer| writer.is_same(transformer))
            };
            for kept in &mut world.keyring.kept {
                kept.used |= is_writer(&kept.transformer);
            }
            world.keyring.revision = Some(revision.clone());
            world.row_writers = Some(row_writers.clone());
        }
        Action::Write { server, layout, .. } => {
            let hash = simulated_hash(now);
            for node in world.servers.iter_mut().filter(|node| node.name == *server) {
                node.file = Ok(NodeFile::written_at(hash, Arc::clone(layout), now));
                node.loaded = Ok(LoadedConfig {
                    hash,
                    since: Some(now.after(Duration::from_secs(1))),
                });
            }
        }
        Action::Rewrite { resources, binding } => {
            world.rewritten = Some(Pass {
                binding: binding.clone(),
                resources: resources.clone(),
                refused: 0,
            });
        }
        Action::Verify { resources, binding } => {
            if let Some(revision) = &world.keyring.revision {
                world.row_writers = Some(RowWriters::proven(revision, resources));
            }
            world.verified = Some(Pass {
                binding: binding.clone(),
                resources: resources.clone(),
                refused: 0,
            });
        }
    }
}

/// One that no other file of the dry run has.
fn simulated_hash(now: Timestamp) -> ConfigHash {
    let mut bytes = [0xff; 32];
    for (byte, digit) in bytes.iter_mut().zip(now.as_secs().to_be_bytes()) {
        *byte = digit;
    }
    ConfigHash::new(bytes)
}
