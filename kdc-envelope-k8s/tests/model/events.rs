//! What can happen, and what it does.

use kdc_envelope_k8s::rotation::{Action, Plan};

use crate::scenarios::Scenario;
use crate::state::{Engine, KMS, NONE, Names, PassState, State, bit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The tool looks, plans, and begins with what the plan says.
    Plan,
    /// The tool writes one of the files that it set out to write.
    WriteFile(usize),
    /// The tool's pass visits one row, through one server.
    Visit(usize, usize),
    /// The tool crashes; what it was about to do is gone.
    Crash,
    /// The reports of earlier passes get lost.
    Forget,
    /// The next wish: another target, an abort.
    Wish,
    /// A server reads its file, and uses it later.
    Read(usize),
    Use(usize),
    /// A server starts anew, with the file that is there.
    Restart(usize),
    /// A server cannot be asked; it still serves. And it answers again.
    Lose(usize),
    Return(usize),
    /// A server leaves the cluster for good.
    Leave(usize),
    /// Three minutes without another write to the file.
    Settle(usize),
    /// A client writes a row through a server.
    Store(usize, usize),
    /// The KEK gets a new version; a server reports it; a server writes under it; five minutes go by.
    NewKek,
    SeeKek(usize),
    WriteUnderKek(usize),
    Hold,
    /// Somebody makes a backup and keeps it.
    BackUp,
}

/// The events that are possible in `state`.
pub(crate) fn possible(state: &State, scenario: &Scenario) -> Vec<Event> {
    let mut events = Vec::new();
    let is_idle = state.engine.is_none() && state.servers().all(|server| server.to_write == NONE);
    if is_idle {
        events.push(Event::Plan);
    } else {
        events.push(Event::Crash);
    }
    if state.rewritten.is_some() || state.verified.is_some() {
        events.push(Event::Forget);
    }
    if usize::from(state.wish) + 1 < scenario.wishes.len() {
        events.push(Event::Wish);
    }
    if state.may_back_up {
        events.push(Event::BackUp);
    }
    if scenario.has_kek_versions {
        kek_events(state, &mut events);
    }
    for index in 0..state.server_count() {
        server_events(state, index, &mut events);
    }
    events
}

fn kek_events(state: &State, events: &mut Vec<Event>) {
    if state.kek == 0 {
        events.push(Event::NewKek);
    }
    // Five minutes are enough for a server to write under what it reports.
    if !state.is_kek_held && state.servers().all(|server| server.kek == server.kek_seen) {
        events.push(Event::Hold);
    }
    for (index, server) in state.servers().enumerate() {
        if server.kek_seen < state.kek {
            events.push(Event::SeeKek(index));
        }
        if server.kek < server.kek_seen {
            events.push(Event::WriteUnderKek(index));
        }
    }
}

fn server_events(state: &State, index: usize, events: &mut Vec<Event>) {
    let server = state.servers[index].unwrap();
    if server.to_write != NONE {
        events.push(Event::WriteFile(index));
    }
    if server.pending != NONE {
        events.push(Event::Use(index));
    } else if server.file != server.loaded {
        events.push(Event::Read(index));
    }
    if server.file != server.loaded || server.pending != NONE {
        events.push(Event::Restart(index));
    }
    if server.is_up && state.outages > 0 {
        events.push(Event::Lose(index));
    }
    if state.outages > 0 && state.server_count() > 1 {
        events.push(Event::Leave(index));
    }
    if !server.is_up {
        events.push(Event::Return(index));
    }
    if !server.is_settled && (server.pending == NONE || server.pending == server.file) {
        events.push(Event::Settle(index));
    }
    for (row, stored) in state.rows().enumerate() {
        events.push(Event::Store(index, row));
        if state.engine.is_some() && !stored.is_touched {
            events.push(Event::Visit(index, row));
        }
    }
}

/// The state after `event`; for [`Event::Plan`] see [`begin`].
pub(crate) fn apply(state: &State, event: Event, names: &Names) -> State {
    let mut next = *state;
    match event {
        Event::Plan => {}
        Event::WriteFile(index) => write_file(&mut next, index),
        Event::Visit(index, row) => visit(&mut next, index, row, names),
        Event::Crash => {
            stop_pass(&mut next);
            for server in next.servers.iter_mut().flatten() {
                server.to_write = NONE;
            }
        }
        Event::Forget => {
            next.rewritten = None;
            next.verified = None;
        }
        Event::Wish => next.wish += 1,
        Event::Read(index) => next.server(index).pending = state.servers[index].unwrap().file,
        Event::Use(index) => use_pending(&mut next, index),
        Event::Restart(index) => {
            let server = next.server(index);
            server.loaded = server.file;
            server.pending = NONE;
            server.is_settled = true;
        }
        Event::Lose(index) => {
            next.server(index).is_up = false;
            next.outages -= 1;
        }
        Event::Return(index) => next.server(index).is_up = true,
        Event::Leave(index) => {
            next.servers[index] = None;
            next.outages -= 1;
        }
        Event::Settle(index) => next.server(index).is_settled = true,
        Event::Store(index, row) => store(&mut next, index, row, names),
        Event::NewKek => next.kek = 1,
        Event::SeeKek(index) => {
            next.server(index).kek_seen = state.kek;
            next.is_kek_held = false;
        }
        Event::WriteUnderKek(index) => {
            let server = next.server(index);
            server.kek = server.kek_seen;
        }
        Event::Hold => next.is_kek_held = true,
        Event::BackUp => {
            next.may_back_up = false;
            for row in state.rows() {
                next.backup[usize::from(row.rule)] |= bit(row.writer);
            }
        }
    }
    next.sorted()
}

fn write_file(state: &mut State, index: usize) {
    let server = state.server(index);
    server.file = server.to_write;
    server.to_write = NONE;
    server.is_settled = false;
}

fn use_pending(state: &mut State, index: usize) {
    let server = state.server(index);
    server.loaded = server.pending;
    server.pending = NONE;
    server.is_settled |= server.loaded == server.file;
}

/// A write always stores with what the server has loaded.
fn store(state: &mut State, index: usize, row: usize, names: &Names) {
    let server = state.servers[index].unwrap();
    let row = state.row(row);
    row.writer = names.writer(server.loaded, row.rule);
    row.kek = if row.writer == KMS { server.kek } else { 0 };
}

fn visit(state: &mut State, index: usize, row: usize, names: &Names) {
    let before = state.rows[row].unwrap();
    store(state, index, row, names);
    let after = *state.row(row);
    state.row(row).is_touched = true;
    let mut engine = state.engine.unwrap();
    engine.has_changed |= before != after;
    state.engine = Some(engine);
    if state.rows().all(|row| row.is_touched) {
        if engine.is_verify && !engine.has_changed {
            state.verified = Some(engine.pass);
        } else {
            state.rewritten = Some(engine.pass);
        }
        stop_pass(state);
    }
}

fn stop_pass(state: &mut State) {
    state.engine = None;
    for row in state.rows.iter_mut().flatten() {
        row.is_touched = false;
    }
}

/// Begins with what a plan says: the first of its small actions, or all of its files, to be written one by one later.
pub(crate) fn begin(state: &State, plan: &Plan, names: &Names) -> State {
    let mut next = *state;
    match plan.actions.first() {
        None => {}
        Some(Action::Keep { transformer, used }) => {
            let number = names.transformer(transformer);
            next.kept |= bit(number);
            next.used |= if *used { bit(number) } else { 0 };
        }
        Some(Action::KeepOnNode { server, key }) => {
            let index: usize = server.parse().unwrap();
            let key = kdc_envelope_k8s::encryption_config::Transformer::Local(key.clone());
            next.server(index).history |= bit(names.transformer(&key));
        }
        Some(Action::Record(revision)) => {
            next.revision = revision.number.try_into().unwrap();
            for (index, rule) in names.rules.iter().enumerate() {
                let writer = revision.writers.get(rule);
                next.writers[index] = writer.map_or(NONE, |writer| names.transformer(writer));
                next.used |= writer.map_or(0, |writer| bit(names.transformer(writer)));
            }
        }
        Some(Action::Write { .. }) => {
            for action in &plan.actions {
                if let Action::Write { server, layout } = action {
                    next.server(server.parse().unwrap()).to_write = names.number(layout);
                }
            }
        }
        Some(Action::Rewrite { binding, .. }) => next.engine = Some(engine(binding, false)),
        Some(Action::Verify { binding, .. }) => next.engine = Some(engine(binding, true)),
        Some(other) => panic!("unknown action: {other}"),
    }
    next.sorted()
}

fn engine(binding: &kdc_envelope_k8s::rotation::Binding, is_verify: bool) -> Engine {
    let kek = binding
        .kms
        .get("kms")
        .map_or(NONE, |id| id.parse().unwrap());
    Engine {
        pass: PassState {
            revision: binding.revision.try_into().unwrap(),
            kek,
        },
        is_verify,
        has_changed: false,
    }
}
