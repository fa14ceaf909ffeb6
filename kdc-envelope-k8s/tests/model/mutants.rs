//! Planners that were broken on purpose: each sees a world in which one proof is already there, or has one of its steps
//! changed. The exploration must find out about every one of them.

use kdc_envelope_k8s::encryption_config::{Chain, Transformer};
use kdc_envelope_k8s::rotation::{
    Action, BackupNeeds, Binding, Blocker, Desired, Kept, LoadedConfig, Observed, Pass, Phase,
    Plan, Timestamp,
};
use kdc_envelope_k8s::{Layout, plan};

use crate::explore::{Outcome, Promises, explore};
use crate::observe::LONG_AGO;
use crate::scenarios::{self, Scenario};

type See = fn(&mut Observed, &Desired);
type Act = fn(&mut Plan, &Observed, &Desired);

/// The exploration of `scenario` finds out about the planner that sees or acts so, by a broken promise with this number.
#[track_caller]
fn is_caught(scenario: &Scenario, see: See, act: Act, promises: &str) {
    let broken = |observed: &Observed, desired: &Desired, now: Timestamp| {
        let mut seen = observed.clone();
        see(&mut seen, desired);
        let mut plan = plan(&seen, desired, now);
        act(&mut plan, observed, desired);
        plan
    };
    let mut outcome = explore(scenario, &broken, Promises::OfStates);
    if matches!(outcome, Outcome::Holds { .. }) {
        outcome = explore(scenario, &broken, Promises::All);
    }
    match outcome {
        Outcome::Holds { states, .. } => panic!("not caught in {states} states"),
        Outcome::Broken { promise, trace } => {
            assert!(promises.contains(&promise[..1]), "{promise}");
            eprintln!(
                "{}: caught after {} events: {promise}",
                scenario.name,
                trace.len() - 1
            );
        }
    }
}

fn sees_all(_: &mut Observed, _: &Desired) {}
fn does_all(_: &mut Plan, _: &Observed, _: &Desired) {}

/// Every server that answers has loaded its file.
fn loads_at_once(observed: &mut Observed) {
    for server in &mut observed.servers {
        if let (Ok(loaded), Ok(file)) = (&mut server.loaded, &server.file) {
            loaded.hash = file.hash;
        }
    }
}

#[test]
fn who_does_not_answer_is_left_out() {
    let see: See = |observed, _| observed.servers.retain(|server| server.loaded.is_ok());
    is_caught(&scenarios::rotate(), see, does_all, "1235");
}

#[test]
fn who_does_not_answer_has_surely_loaded_its_file() {
    let see: See = |observed, _| {
        for server in &mut observed.servers {
            if let (Err(_), Ok(file)) = (&server.loaded, &server.file) {
                let (hash, since) = (file.hash, None);
                server.loaded = Ok(LoadedConfig { hash, since });
            }
        }
    };
    is_caught(&scenarios::rotate(), see, does_all, "13");
}

#[test]
fn a_written_file_is_a_loaded_file() {
    is_caught(
        &scenarios::rotate(),
        |observed, _| loads_at_once(observed),
        does_all,
        "13",
    );
}

#[test]
fn files_that_may_still_be_loading_do_not_matter() {
    let see: See = |observed, _| {
        for file in observed
            .servers
            .iter_mut()
            .filter_map(|server| server.file.as_mut().ok())
        {
            file.written = Some(LONG_AGO);
            file.settled_at = LONG_AGO;
        }
    };
    is_caught(&scenarios::abort(), see, does_all, "123");
}

#[test]
fn all_files_are_as_the_first_one() {
    let see: See = |observed, _| {
        let first = observed.servers[0].file.clone();
        for server in &mut observed.servers {
            server.file = first.clone();
        }
    };
    is_caught(&scenarios::rotate(), see, does_all, "1235");
}

#[test]
fn verified_without_looking() {
    let see: See = |observed, _| {
        if let Some(revision) = &observed.keyring.revision {
            let pass = Pass {
                binding: Binding {
                    revision: revision.number,
                    kms: std::collections::BTreeMap::new(),
                },
                resources: revision.writers.keys().cloned().collect(),
                refused: 0,
            };
            observed.rewritten = Some(pass.clone());
            observed.verified = Some(pass);
        }
    };
    is_caught(&scenarios::rotate(), see, does_all, "125");
}

fn passes_are_of_the_newest_revision(observed: &mut Observed) {
    let Some(revision) = &observed.keyring.revision else {
        return;
    };
    for pass in [&mut observed.rewritten, &mut observed.verified]
        .into_iter()
        .flatten()
    {
        pass.binding.revision = revision.number;
    }
}

#[test]
fn verified_under_an_older_revision() {
    let see: See = |observed, _| passes_are_of_the_newest_revision(observed);
    is_caught(&scenarios::abort(), see, does_all, "1256");
}

#[test]
fn verified_before_a_file_went_back() {
    let see: See = |observed, _| passes_are_of_the_newest_revision(observed);
    is_caught(&scenarios::gone_back(), see, does_all, "1256");
}

/// The newest writer and what was noted of the rows are forgotten: who wrote is taken from the first file.
#[test]
fn the_files_alone_say_what_rows_need() {
    let see: See = |observed, _| {
        let files = observed
            .servers
            .iter()
            .filter_map(|server| server.file.as_ref().ok());
        let layouts: Vec<_> = files.map(|file| file.layout.clone()).collect();
        if let (Some(revision), Some(first)) = (&mut observed.keyring.revision, layouts.first()) {
            for (name, writer) in &mut revision.writers {
                if !layouts
                    .iter()
                    .any(|layout| layout.chain_of(name).reads(writer))
                {
                    *writer = first.chain_of(name).writer().clone();
                }
            }
        }
        observed.row_writers = None;
    };
    is_caught(&scenarios::gone_back(), see, does_all, "12");
}

#[test]
fn only_the_new_writer_is_noted_of_the_rows() {
    let act: Act = |plan, _, desired| {
        for action in &mut plan.actions {
            if let Action::Record { row_writers, .. } = action {
                for (name, writers) in &mut row_writers.writers {
                    writers.retain(|writer| desired.writers.get(name) == Some(writer));
                }
            }
        }
    };
    is_caught(&scenarios::gone_back(), sees_all, act, "125");
}

#[test]
fn keys_of_an_earlier_file_are_dropped_when_it_is_restored() {
    let act: Act = |plan, observed, _| {
        let is_restoring = plan
            .blockers
            .iter()
            .any(|blocker| matches!(blocker, Blocker::Lacks { .. }));
        let revision = observed.keyring.revision.clone();
        if let (true, Some(revision)) = (is_restoring, revision) {
            let writer = revision.writers.values().next().unwrap();
            rewrite_layouts(plan, |_| Chain::new(writer.clone(), []));
        }
    };
    is_caught(&scenarios::gone_back_on_one(), sees_all, act, "1235");
}

#[test]
fn verified_under_an_older_kek_version() {
    let see: See = |observed, _| {
        let newest = observed
            .servers
            .iter()
            .filter_map(|server| server.kms.get("kms"))
            .map(|kms| kms.id.clone())
            .max();
        for pass in [&mut observed.rewritten, &mut observed.verified]
            .into_iter()
            .flatten()
        {
            if let (Some(id), Some(newest)) = (pass.binding.kms.get_mut("kms"), &newest) {
                id.clone_from(newest);
            }
        }
    };
    is_caught(&scenarios::kek_version(), see, does_all, "6");
}

#[test]
fn key_ids_are_taken_from_one_server() {
    let see: See = |observed, _| {
        let first = observed.servers[0].kms.clone();
        for server in &mut observed.servers {
            server.kms = first.clone();
        }
    };
    is_caught(&scenarios::kek_version(), see, does_all, "6");
}

#[test]
fn a_key_id_counts_at_once() {
    let see: See = |observed, _| {
        for kms in observed
            .servers
            .iter_mut()
            .flat_map(|server| server.kms.values_mut())
        {
            kms.since = LONG_AGO;
        }
    };
    is_caught(&scenarios::kek_version(), see, does_all, "6");
}

#[test]
fn backups_do_not_matter() {
    is_caught(
        &scenarios::backup(),
        |observed, _| observed.retained = BackupNeeds::NotAsked,
        does_all,
        "2",
    );
}

#[test]
fn a_backup_that_does_not_tell_needs_nothing() {
    let see: See = |observed, _| {
        if let BackupNeeds::Asked { unknown, .. } = &mut observed.retained {
            unknown.clear();
        }
    };
    is_caught(&scenarios::unknown_backup(), see, does_all, "2");
}

#[test]
fn an_abort_drops_a_promoted_key() {
    let see: See = |observed, _| {
        observed
            .keyring
            .kept
            .iter_mut()
            .for_each(|kept| kept.used = false)
    };
    is_caught(&scenarios::abort(), see, does_all, "125");
}

#[test]
fn the_keyring_can_wait() {
    let see: See = |observed, desired| {
        for writer in desired.writers.values() {
            if !observed
                .keyring
                .kept
                .iter()
                .any(|kept| kept.transformer == *writer)
            {
                observed.keyring.kept.push(Kept {
                    transformer: writer.clone(),
                    used: false,
                });
            }
        }
    };
    is_caught(&scenarios::rotate(), see, does_all, "2");
}

#[test]
fn the_history_can_wait() {
    let see: See = |observed, desired| {
        let keys: Vec<_> = desired
            .writers
            .values()
            .filter_map(Transformer::local)
            .collect();
        for server in &mut observed.servers {
            server.history.extend(keys.iter().copied().cloned());
        }
    };
    is_caught(&scenarios::rotate(), see, does_all, "2");
}

/// Changes the layout that is written.
fn rewrite_layouts(plan: &mut Plan, change: impl Fn(&Chain) -> Chain) {
    for action in &mut plan.actions {
        if let Action::Write { layout, .. } = action {
            let changed: Layout = layout
                .rules()
                .map(|(name, chain)| (name.clone(), change(chain)))
                .collect();
            *layout = std::sync::Arc::new(changed);
        }
    }
}

#[test]
fn first_before_second() {
    let act: Act = |plan, _, desired| {
        if plan.phase == Phase::Readable {
            let wanted = desired.writers.values().next().unwrap();
            rewrite_layouts(plan, |chain| {
                Chain::new(wanted.clone(), chain.iter().cloned())
            });
        }
    };
    is_caught(&scenarios::rotate(), sees_all, act, "13");
}

#[test]
fn pruned_with_the_promotion() {
    let act: Act = |plan, _, _| {
        if plan.phase == Phase::Promoting {
            rewrite_layouts(plan, |chain| Chain::new(chain.writer().clone(), []));
        }
    };
    is_caught(&scenarios::rotate(), sees_all, act, "12");
}

#[test]
fn a_file_of_another_writer_is_overwritten() {
    let act: Act = |plan, _, desired| {
        if plan.phase == Phase::Readable {
            let wanted = desired.writers.values().next().unwrap();
            rewrite_layouts(plan, |_| Chain::new(wanted.clone(), []));
        }
    };
    is_caught(&scenarios::rotate(), sees_all, act, "123");
}

#[test]
fn the_last_node_is_forgotten() {
    let act: Act = |plan, observed, _| {
        let last = observed.servers.last().unwrap().name.clone();
        plan.actions
            .retain(|action| !matches!(action, Action::Write { server, .. } if *server == last));
    };
    is_caught(&scenarios::rotate(), sees_all, act, "5");
}

#[test]
fn done_when_promoted() {
    let act: Act = |plan, _, _| {
        if plan.phase >= Phase::Rewriting {
            plan.phase = Phase::Done;
        }
    };
    is_caught(&scenarios::rotate(), sees_all, act, "6");
}
