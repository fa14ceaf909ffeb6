//! 5. From every state, without any further fault, a rotation ends.

use std::collections::HashSet;

use kdc_envelope_k8s::rotation::Phase;

use crate::events::{Event, apply, begin};
use crate::explore::Planner;
use crate::observe::{NOW, observe};
use crate::scenarios::Scenario;
use crate::state::{NONE, State};

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

/// Everyone answers, the tool has done what it was about to do, everything is loaded and time has gone by.
fn calm(state: &State, scenario: &Scenario) -> State {
    let mut calm = *state;
    for server in calm.servers.iter_mut().flatten() {
        server.is_up = true;
        if server.to_write != NONE {
            server.file = server.to_write;
            server.to_write = NONE;
        }
        server.loaded = server.file;
        server.pending = NONE;
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
