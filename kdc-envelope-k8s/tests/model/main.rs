//! A model of API servers, nodes, rows, time and faults, in which the real planner runs: every interleaving up to a bound
//! is looked at, and in each state the promises of `docs/rotation.md` are checked.
//!
//! `KDC_MODEL_SERVERS` and `KDC_MODEL_ROWS` widen the bound (`cargo xtask model`).

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

mod events;
mod explore;
mod fair;
mod invariants;
mod mutants;
mod observe;
mod scenarios;
mod state;

use explore::{Outcome, Promises, explore};
use scenarios::Scenario;

fn bound(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// What one scenario holds in all its states.
fn holds(scenario: &Scenario) {
    let started = std::time::Instant::now();
    match explore(scenario, &kdc_envelope_k8s::plan, Promises::All) {
        Outcome::Holds {
            states,
            transitions,
        } => eprintln!(
            "{}: {} servers, {} rows: {states} states, {transitions} transitions, {:.1} s",
            scenario.name,
            scenario.servers,
            scenario.rows.len(),
            started.elapsed().as_secs_f64()
        ),
        Outcome::Broken { promise, trace } => {
            panic!("{}: {promise}\n{}", scenario.name, trace.join("\n"))
        }
    }
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                for scenario in scenarios::$name().widened() {
                    holds(&scenario);
                }
            }
        )*
    };
}

scenarios!(
    enable,
    rotate,
    abort,
    retarget,
    queue,
    to_kms,
    kek_version,
    disable,
    resources,
    backup,
    unknown_backup,
    gone_back,
    gone_back_on_one,
    gone_back_to_nothing,
);
