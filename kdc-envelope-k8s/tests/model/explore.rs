//! Breadth first through all states that can be reached.

use std::collections::{HashMap, HashSet};

use kdc_envelope_k8s::rotation::{Action, Desired, Observed, Plan, Timestamp};

use crate::events::{Event, apply, begin, possible};
use crate::fair::ends;
use crate::invariants::{broken, is_truly_done};
use crate::observe::{NOW, observe};
use crate::scenarios::Scenario;
use crate::state::State;

pub(crate) type Planner<'p> = dyn Fn(&Observed, &Desired, Timestamp) -> Plan + 'p;

pub(crate) enum Outcome {
    Holds {
        states: usize,
        transitions: usize,
    },
    /// With the way from the beginning.
    Broken {
        promise: String,
        trace: Vec<String>,
    },
}

/// More than any way through a scenario needs.
const MAX_REVISIONS: u64 = 30;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promises {
    /// Those about each state, 1 to 4 and 6.
    OfStates,
    /// Also 5, that every way without faults ends.
    All,
}

struct Search<'s> {
    promises: Promises,
    scenario: &'s Scenario,
    planner: &'s Planner<'s>,
    numbers: HashMap<State, usize>,
    states: Vec<(State, usize, Event)>,
    known_to_end: HashSet<State>,
    transitions: usize,
}

pub(crate) fn explore(scenario: &Scenario, planner: &Planner<'_>, promises: Promises) -> Outcome {
    let mut search = Search {
        promises,
        scenario,
        planner,
        numbers: HashMap::new(),
        states: Vec::new(),
        known_to_end: HashSet::new(),
        transitions: 0,
    };
    let outcome = search.run();
    outcome.unwrap_or_else(|(number, promise)| Outcome::Broken {
        promise,
        trace: search.trace(number),
    })
}

impl Search<'_> {
    fn run(&mut self) -> Result<Outcome, (usize, String)> {
        self.reach(self.scenario.start(), 0, Event::Plan)?;
        let mut number = 0;
        while let Some((state, ..)) = self.states.get(number) {
            let state = *state;
            for event in possible(&state, self.scenario) {
                self.transitions += 1;
                let next = if event == Event::Plan {
                    self.plan(&state).map_err(|promise| (number, promise))?
                } else {
                    apply(&state, event, &self.scenario.names)
                };
                self.reach(next, number, event)?;
            }
            number += 1;
        }
        Ok(Outcome::Holds {
            states: self.states.len(),
            transitions: self.transitions,
        })
    }

    fn plan(&self, state: &State) -> Result<State, String> {
        let observed = observe(state, self.scenario);
        let plan = (self.planner)(&observed, &self.scenario.desired(state), NOW);
        let has_no_end = |action: &Action| matches!(action, Action::Record { revision, .. } if revision.number > MAX_REVISIONS);
        if plan.actions.iter().any(has_no_end) {
            return Err(format!("5: more than {MAX_REVISIONS} revisions"));
        }
        match is_truly_done(state, &plan, self.scenario) {
            Some(promise) => Err(promise),
            None => Ok(begin(state, &plan, &self.scenario.names)),
        }
    }

    fn reach(&mut self, state: State, parent: usize, event: Event) -> Result<(), (usize, String)> {
        if self.numbers.contains_key(&state) {
            return Ok(());
        }
        let number = self.states.len();
        self.numbers.insert(state, number);
        self.states.push((state, parent, event));
        if let Some(promise) = broken(&state, self.scenario) {
            return Err((number, promise));
        }
        if self.promises == Promises::OfStates {
            return Ok(());
        }
        ends(&state, self.scenario, self.planner, &mut self.known_to_end)
            .map_err(|promise| (number, promise))
    }

    fn trace(&self, mut number: usize) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let (state, parent, event) = &self.states[number];
            lines.push(format!("{event:?} -> {state:?}"));
            if number == 0 {
                lines.reverse();
                return lines;
            }
            number = *parent;
        }
    }
}
