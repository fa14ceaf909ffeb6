//! 5. From every state, without any further fault, a rotation ends.

use std::collections::HashSet;

use kdc_envelope_k8s::rotation::Phase;

use crate::events::{Event, apply, begin, write_file};
use crate::explore::Planner;
use crate::invariants::is_truly_done;
use crate::observe::{NOW, observe};
use crate::scenarios::Scenario;
use crate::state::{Foreign, NO_FILE, NONE, State};

/// More rounds than any change takes.
const MAX_ROUNDS: usize = 60;

/// Follows the way without faults until it is done or joins one that is known to end.
pub(crate) fn ends(
    state: &State,
    scenario: &Scenario,
    planner: &Planner<'_>,
    known: &mut HashSet<State>,
) -> Result<(), String> {
    let mut way = Vec::new();
    let mut current = *state;
    for _ in 0..MAX_ROUNDS {
        if known.contains(&current) {
            known.extend(way);
            return Ok(());
        }
        way.push(current);
        let calm = calm(&current, scenario);
        let plan = planner(&observe(&calm, scenario), &scenario.desired(&calm), NOW);
        if let Some(promise) = is_truly_done(&calm, &plan, scenario) {
            return Err(promise);
        }
        if plan.phase == Phase::Done {
            known.extend(way);
            return Ok(());
        }
        if plan.actions.is_empty() {
            let reasons: Vec<_> = plan.blockers.iter().map(ToString::to_string).collect();
            return Err(format!(
                "5: stuck in {}: {}",
                plan.phase,
                reasons.join("; ")
            ));
        }
        current = begin(&calm, &plan, &scenario.names);
    }
    Err(format!("5: no end after {MAX_ROUNDS} rounds"))
}

/// Every server answers, the tool has done what it was about to do, everything is loaded and time has gone by.
fn calm(state: &State, scenario: &Scenario) -> State {
    let mut calm = *state;
    calm.meddling = 0;
    for index in 0..calm.server_count() {
        if calm.server(index).to_write != NONE {
            write_file(&mut calm, index, &scenario.names);
        }
    }
    for server in calm.servers.iter_mut().flatten() {
        server.is_up = true;
        // What is read already is used before a file that is gone is noticed.
        if server.file != NO_FILE {
            server.loaded = server.file;
        } else if server.pending != NONE {
            server.loaded = server.pending;
        }
        server.pending = NONE;
        for foreign in [
            &mut server.foreign_file,
            &mut server.foreign_pending,
            &mut server.foreign_loaded,
        ] {
            *foreign = Foreign::default();
        }
        server.is_settled = true;
        server.kek_seen = state.kek;
        server.kek = state.kek;
    }
    calm.is_kek_held = true;
    let mut calm = calm.sorted();
    while calm.engine.is_some() {
        let row = calm.rows().position(|row| !row.is_touched).unwrap();
        calm = apply(&calm, Event::Visit(0, row), &scenario.names);
    }
    calm
}
