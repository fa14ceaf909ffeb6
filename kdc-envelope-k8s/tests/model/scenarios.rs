//! Where a change begins, and what is requested on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope_k8s::Layout;
use kdc_envelope_k8s::encryption_config::Chain;
use kdc_envelope_k8s::rotation::Desired;

use crate::bound;
use crate::state::{
    A, B, C, Foreign, IDENTITY, KMS, MAX_ROWS, MAX_SERVERS, NONE, Names, Row, Server, State, T,
};

/// What is wanted, until the next change comes.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// By rule; `NONE` if it does not name it.
    pub writers: [T; 2],
    pub interrupt: bool,
}

pub(crate) struct Scenario {
    pub name: &'static str,
    pub servers: usize,
    /// The rule of each row.
    pub rows: Vec<u8>,
    /// The chains of the two rules at the beginning; empty if there is none.
    pub chains: [Vec<T>; 2],
    pub changes: Vec<Change>,
    pub outages: u8,
    /// How often an operator puts an earlier file back, or takes one away.
    pub meddling: u8,
    pub has_backup: bool,
    /// Whether the backup does not tell what it needs.
    pub is_backup_unknown: bool,
    pub has_kek_versions: bool,
    pub names: Names,
    start_file: u8,
}

fn scenario(name: &'static str, chains: [&[T]; 2], changes: &[Change]) -> Scenario {
    let mut scenario = Scenario {
        name,
        servers: 2,
        rows: vec![0, 0],
        chains: chains.map(<[T]>::to_vec),
        changes: changes.to_vec(),
        outages: 1,
        meddling: 0,
        has_backup: false,
        is_backup_unknown: false,
        has_kek_versions: false,
        names: Names::new(),
        start_file: 0,
    };
    scenario.start_file = scenario.number_of_start();
    scenario
}

fn secrets(writer: T) -> Change {
    Change {
        writers: [writer, NONE],
        interrupt: false,
    }
}

fn at_once(writer: T) -> Change {
    Change {
        interrupt: true,
        ..secrets(writer)
    }
}

pub(crate) fn enable() -> Scenario {
    scenario(
        "enable, then abort",
        [&[], &[]],
        &[secrets(A), at_once(IDENTITY)],
    )
}

pub(crate) fn rotate() -> Scenario {
    scenario("rotate a local key", [&[A, IDENTITY], &[]], &[secrets(B)])
}

pub(crate) fn abort() -> Scenario {
    let changes = [secrets(B), at_once(A), at_once(B)];
    scenario("abort, and begin again", [&[A], &[]], &changes)
}

pub(crate) fn retarget() -> Scenario {
    scenario(
        "turn to another key",
        [&[A], &[]],
        &[secrets(B), at_once(C)],
    )
}

pub(crate) fn queue() -> Scenario {
    scenario(
        "a second rotation during the first",
        [&[A], &[]],
        &[secrets(B), secrets(C)],
    )
}

pub(crate) fn to_kms() -> Scenario {
    scenario(
        "from a local key to KMS v2",
        [&[A], &[]],
        &[secrets(KMS), at_once(A)],
    )
}

pub(crate) fn kek_version() -> Scenario {
    let mut kek = scenario(
        "a new KEK version",
        [&[KMS, IDENTITY], &[]],
        &[secrets(KMS)],
    );
    kek.has_kek_versions = true;
    kek
}

pub(crate) fn disable() -> Scenario {
    scenario("disable", [&[KMS], &[]], &[secrets(IDENTITY)])
}

pub(crate) fn resources() -> Scenario {
    let both = Change {
        writers: [A, A],
        interrupt: false,
    };
    let swapped = Change {
        writers: [IDENTITY, A],
        interrupt: false,
    };
    let mut resources = scenario("change resources", [&[A], &[]], &[both, swapped]);
    resources.rows = vec![0, 1];
    resources
}

pub(crate) fn backup() -> Scenario {
    let mut backup = scenario("rotate with a retained backup", [&[A], &[]], &[secrets(B)]);
    backup.has_backup = true;
    backup
}

pub(crate) fn unknown_backup() -> Scenario {
    Scenario {
        name: "rotate with a backup that does not tell its keys",
        is_backup_unknown: true,
        ..backup()
    }
}

/// While a key is rotated, the only file goes back to an earlier version, or away.
pub(crate) fn gone_back() -> Scenario {
    let changes = [secrets(B), at_once(C)];
    let mut gone_back = scenario("a file goes back, or away", [&[A, IDENTITY], &[]], &changes);
    gone_back.servers = 1;
    gone_back.outages = 0;
    gone_back.meddling = 1;
    gone_back
}

/// The same to one of several servers.
pub(crate) fn gone_back_on_one() -> Scenario {
    let mut gone_back = scenario(
        "one file of several goes back, or away",
        [&[A, IDENTITY], &[]],
        &[secrets(KMS)],
    );
    gone_back.outages = 0;
    gone_back.meddling = 1;
    gone_back
}

/// Nothing was encrypted before, so an earlier file may be none at all.
pub(crate) fn gone_back_to_nothing() -> Scenario {
    let changes = [secrets(KMS), at_once(IDENTITY)];
    let mut gone_back = scenario(
        "the file of an enabled server goes away",
        [&[], &[]],
        &changes,
    );
    gone_back.servers = 1;
    gone_back.outages = 0;
    gone_back.meddling = 1;
    gone_back
}

impl Scenario {
    /// At the default bounds, or at the one that the environment gives.
    pub(crate) fn widened(self) -> Vec<Self> {
        let rules = self.rows.clone();
        let with = |scenario: Self, servers: usize, rows: usize| Self {
            servers: servers.min(MAX_SERVERS),
            rows: rules
                .iter()
                .cycle()
                .take(rows.min(MAX_ROWS))
                .copied()
                .collect(),
            ..scenario
        };
        let servers = bound("KDC_MODEL_SERVERS", 0);
        if servers > 0 {
            let rows = bound("KDC_MODEL_ROWS", 2);
            // What is about the only server stays so.
            let servers = if self.servers == 1 { 1 } else { servers };
            return vec![with(self, servers, rows)];
        }
        let servers = self.servers;
        vec![with(self, servers, 2)]
    }

    pub(crate) fn start(&self) -> State {
        let server = Server {
            file: self.start_file,
            loaded: self.start_file,
            pending: NONE,
            is_settled: true,
            is_up: true,
            history: 0,
            kek_seen: 0,
            kek: 0,
            to_write: NONE,
            previous: NONE,
            foreign_file: Foreign::default(),
            foreign_pending: Foreign::default(),
            foreign_loaded: Foreign::default(),
        };
        let row = |rule: &u8| Row {
            rule: *rule,
            writer: self.names.writer(self.start_file, *rule),
            kek: 0,
            is_touched: false,
            is_foreign: false,
        };
        let mut state = State {
            servers: [None; MAX_SERVERS],
            rows: [None; MAX_ROWS],
            kept: 0,
            used: 0,
            revision: 0,
            writers: [NONE; 2],
            row_writers: [0; 2],
            row_revision: NONE,
            rewritten: None,
            verified: None,
            engine: None,
            change: 0,
            outages: self.outages,
            meddling: self.meddling,
            backup: [0; 2],
            may_back_up: self.has_backup,
            kek: 0,
            is_kek_held: true,
        };
        state.servers[..self.servers].fill(Some(server));
        for (place, rule) in state.rows.iter_mut().zip(&self.rows) {
            *place = Some(row(rule));
        }
        state.sorted()
    }

    pub(crate) fn desired(&self, state: &State) -> Desired {
        let change = &self.changes[usize::from(state.change)];
        let writers = self.names.rules.iter().zip(change.writers);
        let named = writers.filter(|(_, writer)| *writer != NONE);
        let transformer = |writer: T| self.names.transformers[usize::from(writer)].clone();
        Desired {
            writers: named
                .map(|(rule, writer)| (rule.clone(), transformer(writer)))
                .collect(),
            keep_keys: 1,
            interrupt: change.interrupt,
        }
    }

    /// What stands in every file at the beginning.
    pub(crate) const fn start_file(&self) -> u8 {
        self.start_file
    }

    /// Whether the planner wrote such a file, and did not find it there.
    pub(crate) fn is_managed(&self, file: u8) -> bool {
        file != self.start_file
    }

    fn number_of_start(&self) -> u8 {
        let mut rules = BTreeMap::new();
        for (rule, chain) in self.names.rules.iter().zip(&self.chains) {
            let transformers = chain
                .iter()
                .map(|number| self.names.transformers[usize::from(*number)].clone());
            if let Some(chain) = Chain::from_all(transformers) {
                rules.insert(rule.clone(), chain);
            }
        }
        self.names
            .number(&Arc::new(rules.into_iter().collect::<Layout>()))
    }
}
