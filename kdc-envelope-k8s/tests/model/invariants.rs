//! What must hold in every state.

use kdc_envelope_k8s::rotation::{Phase, Plan};

use crate::scenarios::Scenario;
use crate::state::{IDENTITY, KMS, NONE, Server, State, bit};

/// The first promise that is broken.
pub(crate) fn broken(state: &State, scenario: &Scenario) -> Option<String> {
    unreadable_row(state, scenario)
        .or_else(|| lost_key(state, scenario))
        .or_else(|| unreadable_writer(state, scenario))
}

/// 1. Every running server reads every row, unless an operator chose its file, or who wrote the row.
fn unreadable_row(state: &State, scenario: &Scenario) -> Option<String> {
    for row in state.rows().filter(|row| !row.is_foreign) {
        let servers = state.servers();
        for server in servers.filter(|server| !server.foreign_loaded.content) {
            if !scenario.names.reads(server.loaded, row.rule, row.writer) {
                return Some(format!("1: {server:?} cannot read {row:?}"));
            }
        }
    }
    None
}

/// 2. No file that the tool wrote lacks a key that a row or a backup needs; keyring and histories have every key that is in use.
fn lost_key(state: &State, scenario: &Scenario) -> Option<String> {
    let names = &scenario.names;
    let servers = state.servers();
    for server in servers.filter(|server| !server.foreign_file.content) {
        for row in state.rows().filter(|row| !row.is_foreign) {
            if !names.reads(server.file, row.rule, row.writer) {
                return Some(format!(
                    "2: the file of {server:?} lacks the key of {row:?}"
                ));
            }
        }
        for (rule, needed) in (0..).zip(state.backup) {
            for writer in (IDENTITY..=KMS).filter(|writer| needed & bit(*writer) != 0) {
                if !names.reads(server.file, rule, writer) {
                    return Some(format!(
                        "2: the file of {server:?} lacks {writer} of the backup"
                    ));
                }
            }
        }
        let in_file = names.keys(server.file);
        if scenario.is_managed(server.file) {
            if in_file & !state.kept != 0 {
                return Some(format!(
                    "2: the keyring lacks a key in the file of {server:?}"
                ));
            }
            if in_file & !bit(KMS) & !server.history != 0 {
                return Some(format!(
                    "2: the history lacks a key in the file of {server:?}"
                ));
            }
        }
    }
    None
}

/// 3. No server writes what another one cannot read.
fn unreadable_writer(state: &State, scenario: &Scenario) -> Option<String> {
    let names = &scenario.names;
    let servers = state.servers();
    for writing in servers.filter(|writing| !writing.foreign_loaded.writer) {
        for rule in 0..2 {
            let writer = names.writer(writing.loaded, rule);
            let reads = |reading: &&Server| {
                reading.foreign_loaded.content || names.reads(reading.loaded, rule, writer)
            };
            if let Some(reading) = state.servers().find(|reading| !reads(reading)) {
                return Some(format!(
                    "3: {reading:?} cannot read what {writing:?} writes"
                ));
            }
        }
    }
    None
}

/// A plan that says `Done` is right.
pub(crate) fn is_truly_done(state: &State, plan: &Plan, scenario: &Scenario) -> Option<String> {
    if plan.phase != Phase::Done {
        return None;
    }
    let change = &scenario.changes[usize::from(state.change)];
    for row in state.rows() {
        let wanted = change.writers[usize::from(row.rule)];
        let is_old_kek = row.writer == KMS && state.servers().any(|server| server.kek > row.kek);
        if (wanted != NONE && row.writer != wanted) || is_old_kek {
            return Some(format!("6: done, it says, with {row:?}"));
        }
    }
    None
}
