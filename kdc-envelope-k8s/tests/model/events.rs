//! What can happen, and what it does.

use kdc_envelope_k8s::rotation::{Action, Plan};

use crate::scenarios::Scenario;
use crate::state::{Engine, Foreign, KMS, NO_FILE, NONE, Names, PassState, State, bit};

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
    /// The next change: another target, an abort.
    Change,
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
    /// A backup is made and retained.
    BackUp,
    /// An operator puts an earlier version of a file in its place, or takes the file away.
    GoBack(usize, u8),
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
    if usize::from(state.change) + 1 < scenario.changes.len() {
        events.push(Event::Change);
    }
    if state.may_back_up {
        events.push(Event::BackUp);
    }
    if scenario.has_kek_versions {
        kek_events(state, &mut events);
    }
    for index in 0..state.server_count() {
        server_events(state, index, scenario, &mut events);
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

fn server_events(state: &State, index: usize, scenario: &Scenario, events: &mut Vec<Event>) {
    let server = state.servers[index].unwrap();
    if server.to_write != NONE {
        events.push(Event::WriteFile(index));
    }
    if server.pending != NONE {
        events.push(Event::Use(index));
    } else if server.file != server.loaded && server.file != NO_FILE {
        events.push(Event::Read(index));
    }
    // Without the file that it is told of, it does not even start.
    if (server.file != server.loaded || server.pending != NONE) && server.file != NO_FILE {
        events.push(Event::Restart(index));
    }
    if state.meddling > 0 {
        let mut earlier = vec![NO_FILE, scenario.start_file(), server.previous];
        earlier.sort_unstable();
        earlier.dedup();
        earlier.retain(|file| *file != server.file && *file != NONE);
        events.extend(earlier.into_iter().map(|file| Event::GoBack(index, file)));
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
        Event::WriteFile(index) => write_file(&mut next, index, names),
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
        Event::Change => next.change += 1,
        Event::Read(index) => {
            let server = next.server(index);
            server.pending = server.file;
            server.foreign_pending = server.foreign_file;
        }
        Event::Use(index) => use_pending(&mut next, index),
        Event::Restart(index) => {
            let server = next.server(index);
            server.loaded = server.file;
            server.foreign_loaded = server.foreign_file;
            server.pending = NONE;
            server.foreign_pending = Foreign::default();
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
        Event::GoBack(index, file) => go_back(&mut next, index, file),
        Event::BackUp => {
            next.may_back_up = false;
            for row in state.rows() {
                next.backup[usize::from(row.rule)] |= bit(row.writer);
            }
        }
    }
    next.sorted()
}

pub(crate) fn write_file(state: &mut State, index: usize, names: &Names) {
    let may_go_back = state.meddling > 0;
    let writers = state.writers;
    let server = state.server(index);
    let (before, after) = (server.file, server.to_write);
    let keeps_writer = (0..2_u8).any(|rule| {
        let writer = names.writer(after, rule);
        writer == names.writer(before, rule) && writer != writers[usize::from(rule)]
    });
    server.foreign_file = Foreign {
        content: false,
        writer: server.foreign_file.writer && keeps_writer,
    };
    server.previous = if may_go_back { before } else { NONE };
    server.file = after;
    server.to_write = NONE;
    server.is_settled = false;
}

/// The tool writes only over what it has seen, so it stops there.
fn go_back(state: &mut State, index: usize, file: u8) {
    state.meddling -= 1;
    if state.meddling == 0 {
        for server in state.servers.iter_mut().flatten() {
            server.previous = NONE;
        }
    }
    let server = state.server(index);
    server.file = file;
    server.to_write = NONE;
    // A file that is gone has no time at which it was written.
    server.is_settled = file == NO_FILE;
    server.foreign_file = Foreign {
        content: true,
        writer: true,
    };
}

fn use_pending(state: &mut State, index: usize) {
    let server = state.server(index);
    server.loaded = server.pending;
    server.foreign_loaded = server.foreign_pending;
    server.pending = NONE;
    server.foreign_pending = Foreign::default();
    server.is_settled |= server.loaded == server.file;
}

/// A write always stores with what the server has loaded.
fn store(state: &mut State, index: usize, row: usize, names: &Names) {
    let server = state.servers[index].unwrap();
    let row = state.row(row);
    row.writer = names.writer(server.loaded, row.rule);
    row.is_foreign = server.foreign_loaded.writer;
    row.kek = if row.writer == KMS { server.kek } else { 0 };
}

fn visit(state: &mut State, index: usize, row: usize, names: &Names) {
    let before = state.rows[row].unwrap();
    let loaded = state.servers[index].unwrap().loaded;
    let is_read = names.reads(loaded, before.rule, before.writer);
    if is_read {
        store(state, index, row, names);
    }
    let after = *state.row(row);
    state.row(row).is_touched = true;
    let mut engine = state.engine.unwrap();
    engine.has_changed |= (before.writer, before.kek) != (after.writer, after.kek);
    engine.has_refused |= !is_read;
    state.engine = Some(engine);
    if state.rows().all(|row| row.is_touched) {
        let is_clean = engine.is_verify && !engine.has_changed;
        match (engine.has_refused, is_clean) {
            (true, _) if engine.is_verify => state.verified = None,
            (true, _) => state.rewritten = None,
            (false, true) => {
                state.verified = Some(engine.pass);
                state.row_revision = engine.pass.revision;
                state.row_writers = state.writers.map(|writer| match writer {
                    NONE => 0,
                    writer => bit(writer),
                });
            }
            (false, false) => state.rewritten = Some(engine.pass),
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
        Some(Action::StoreKey { transformer, used }) => {
            let number = names.transformer(transformer);
            next.kept |= bit(number);
            next.used |= if *used { bit(number) } else { 0 };
        }
        Some(Action::StoreKeyOnNode { server, key }) => {
            let index: usize = server.parse().unwrap();
            let key = kdc_envelope_k8s::encryption_config::Transformer::Local(key.clone());
            next.server(index).history |= bit(names.transformer(&key));
        }
        Some(Action::Record {
            revision,
            row_writers,
        }) => {
            next.row_revision = row_writers.revision.try_into().unwrap();
            next.revision = revision.number.try_into().unwrap();
            for (index, rule) in names.rules.iter().enumerate() {
                let writer = revision.writers.get(rule);
                next.writers[index] = writer.map_or(NONE, |writer| names.transformer(writer));
                next.used |= writer.map_or(0, |writer| bit(names.transformer(writer)));
                let noted = row_writers.writers.get(rule).into_iter().flatten();
                let noted = noted.map(|writer| bit(names.transformer(writer)));
                next.row_writers[index] = noted.fold(0, |bits, writer| bits | writer);
            }
        }
        Some(Action::Write { .. }) => {
            for action in &plan.actions {
                if let Action::Write { server, layout, .. } = action {
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
        has_refused: false,
    }
}
