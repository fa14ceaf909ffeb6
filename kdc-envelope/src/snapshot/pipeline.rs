//! One reader, several workers, one writer, in order and in bounded memory.
//!
//! Blocks come from a pool; when none is free, the reader waits. The threads live within one call: they are scoped,
//! and gone when it returns, whichever way. One worker works without threads: on one core, blocks that wander between
//! threads cost more than they gain.

use core::num::NonZeroUsize;
use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use zeroize::Zeroize as _;

/// Chunks in a block. Blocks this small stay in a core's cache from the reader to the writer.
const CHUNKS_PER_BLOCK: usize = 4;

/// The other side ended; it knows why.
#[derive(Debug)]
pub(super) struct Stopped;

/// A run of chunks on its way through.
pub(super) struct Block {
    /// Index of its first chunk.
    pub(super) first_chunk: u64,
    /// Whether its last chunk is the last of all.
    pub(super) is_last: bool,
    bytes: Vec<u8>,
    filled: usize,
}

impl Block {
    /// The chunks, each with its tag or the room for it.
    pub(super) fn chunks_mut(&mut self, sealed_chunk_len: usize) -> core::slice::ChunksMut<'_, u8> {
        self.filled_mut().chunks_mut(sealed_chunk_len)
    }

    pub(super) fn chunks(&self, sealed_chunk_len: usize) -> core::slice::Chunks<'_, u8> {
        self.filled().chunks(sealed_chunk_len)
    }

    /// The bytes that were filled.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.filled).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// Where blocks come from, and where they go when they are full.
trait Blocks {
    fn free(&mut self) -> Result<Block, Stopped>;
    /// The blocks come in order.
    fn pass(&mut self, block: Block) -> Result<(), Stopped>;
}

/// Where the reader puts bytes. A block is passed on only when a byte after it is there, or the end is known.
pub(super) struct Feed<'b> {
    blocks: &'b mut dyn Blocks,
    held: Option<Block>,
    current: Option<Block>,
    next_chunk: u64,
    layout: Layout,
    /// Bytes of the open slot that are filled.
    in_slot: usize,
}

impl<'b> Feed<'b> {
    fn new(blocks: &'b mut dyn Blocks, layout: Layout) -> Self {
        Self {
            blocks,
            held: None,
            current: None,
            next_chunk: 0,
            layout,
            in_slot: 0,
        }
    }

    /// Room for the next bytes: at most the rest of a slot. Waits for a free block.
    pub(super) fn space(&mut self) -> Result<&mut [u8], Stopped> {
        let Layout { slot_len, gap_len } = self.layout;
        let is_full = self
            .current
            .as_ref()
            .is_none_or(|block| self.in_slot == 0 && block.filled == block.bytes.len());
        if is_full {
            self.flush_held()?;
            self.held = self.current.take();
            let mut block = self.blocks.free()?;
            block.filled = 0;
            block.is_last = false;
            block.first_chunk = self.next_chunk;
            self.next_chunk += CHUNKS_PER_BLOCK as u64;
            self.current = Some(block);
        }
        let block = self.current.as_mut().ok_or(Stopped)?;
        let start = block.filled - block.filled % (slot_len + gap_len) + self.in_slot;
        let rest = slot_len - self.in_slot;
        let end = (start + rest).min(block.bytes.len());
        block.bytes.get_mut(start..end).ok_or(Stopped)
    }

    /// `len` bytes of [`space`](Self::space) were filled.
    pub(super) fn filled(&mut self, len: usize) {
        let Some(block) = &mut self.current else {
            return;
        };
        if len == 0 {
            return;
        }
        if self.in_slot == 0 {
            block.filled += self.layout.gap_len;
        }
        block.filled += len;
        self.in_slot += len;
        if self.in_slot == self.layout.slot_len {
            self.in_slot = 0;
        }
    }

    /// Nothing follows; `false` if nothing came.
    pub(super) fn end(mut self) -> Result<bool, Stopped> {
        if let Some(block) = self.current.take().filter(|block| block.filled > 0) {
            self.flush_held()?;
            self.held = Some(block);
        }
        let Some(mut last) = self.held.take() else {
            return Ok(false);
        };
        last.is_last = true;
        self.blocks.pass(last)?;
        Ok(true)
    }

    fn flush_held(&mut self) -> Result<(), Stopped> {
        match self.held.take() {
            Some(block) => self.blocks.pass(block),
            None => Ok(()),
        }
    }
}

/// How blocks are laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of a chunk that the reader fills.
    pub(super) slot_len: usize,
    /// Bytes after each slot that it leaves free.
    pub(super) gap_len: usize,
}

/// Runs `produce`, `work` and `consume`, the latter block after block in order and on this thread. With several `workers`, `produce` and as
/// many `work` run on threads of their own; with one, all on this thread.
///
/// The first failure in this order of importance counts: of `work` and `consume`, then of `produce`.
pub(super) fn run<P, E>(
    workers: NonZeroUsize,
    layout: Layout,
    produce: impl FnOnce(Feed<'_>) -> Result<P, E> + Send,
    work: impl Fn(&mut Block) -> Result<(), E> + Sync,
    consume: impl FnMut(&mut Block) -> Result<(), E>,
) -> Result<P, E>
where
    P: Send,
    E: Send,
{
    match workers.get() {
        1 => run_alone(layout, produce, work, consume),
        _ => run_on_threads(workers, layout, produce, work, consume),
    }
}

fn run_alone<P, E>(
    layout: Layout,
    produce: impl FnOnce(Feed<'_>) -> Result<P, E>,
    work: impl Fn(&mut Block) -> Result<(), E>,
    consume: impl FnMut(&mut Block) -> Result<(), E>,
) -> Result<P, E> {
    let mut alone = Alone {
        layout,
        free: Vec::new(),
        work,
        consume,
        failure: None,
    };
    let produced = produce(Feed::new(&mut alone, layout));
    alone.failure.map_or(produced, Err)
}

/// Works on each block at once. There are two: the one that waits for what follows it, and that.
struct Alone<W, C, E> {
    layout: Layout,
    free: Vec<Block>,
    work: W,
    consume: C,
    failure: Option<E>,
}

impl<W, C, E> Blocks for Alone<W, C, E>
where
    W: Fn(&mut Block) -> Result<(), E>,
    C: FnMut(&mut Block) -> Result<(), E>,
{
    fn free(&mut self) -> Result<Block, Stopped> {
        let free = self.free.pop();
        Ok(free.unwrap_or_else(|| empty_block(self.layout)))
    }

    fn pass(&mut self, mut block: Block) -> Result<(), Stopped> {
        let outcome = (self.work)(&mut block).and_then(|()| (self.consume)(&mut block));
        self.free.push(block);
        outcome.map_err(|error| {
            self.failure = Some(error);
            Stopped
        })
    }
}

fn run_on_threads<P, E>(
    workers: NonZeroUsize,
    layout: Layout,
    produce: impl FnOnce(Feed<'_>) -> Result<P, E> + Send,
    work: impl Fn(&mut Block) -> Result<(), E> + Sync,
    mut consume: impl FnMut(&mut Block) -> Result<(), E>,
) -> Result<P, E>
where
    P: Send,
    E: Send,
{
    let (free_in, free) = mpsc::channel();
    let (todo, todo_out) = mpsc::channel();
    let (done_in, done) = mpsc::channel();
    for _ in 0..2 * workers.get() + 3 {
        // The receiver is alive: it is in this very function.
        let _ = free_in.send(empty_block(layout));
    }
    let mut queue = Queue {
        free,
        todo,
        next_sequence: 0,
    };
    let (todo_out, work) = (&Mutex::new(todo_out), &work);
    thread::scope(|scope| {
        // The queue ends with the producer, which tells the workers.
        let producer = scope.spawn(move || produce(Feed::new(&mut queue, layout)));
        for _ in 0..workers.get() {
            let done_in = done_in.clone();
            scope.spawn(move || work_on(todo_out, &done_in, work));
        }
        drop(done_in);
        let consumed = consume_in_order(&done, &free_in, &mut consume);
        // A worker or reader that still waits for the consumer sees that it is gone.
        drop((done, free_in));
        let produced = producer.join();
        consumed?;
        match produced {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Blocks on their way to the workers.
struct Queue {
    free: Receiver<Block>,
    todo: Sender<(u64, Block)>,
    next_sequence: u64,
}

impl Blocks for Queue {
    fn free(&mut self) -> Result<Block, Stopped> {
        self.free.recv().map_err(|_| Stopped)
    }

    fn pass(&mut self, block: Block) -> Result<(), Stopped> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.todo.send((sequence, block)).map_err(|_| Stopped)
    }
}

fn empty_block(layout: Layout) -> Block {
    Block {
        first_chunk: 0,
        is_last: false,
        bytes: vec![0; CHUNKS_PER_BLOCK * (layout.slot_len + layout.gap_len)],
        filled: 0,
    }
}

type Done<E> = (u64, Result<Block, E>);

fn work_on<E>(
    todo: &Mutex<Receiver<(u64, Block)>>,
    done: &Sender<Done<E>>,
    work: &(impl Fn(&mut Block) -> Result<(), E> + Sync),
) {
    loop {
        let received = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((sequence, mut block)) = received else {
            return;
        };
        let outcome = work(&mut block).map(|()| block);
        if done.send((sequence, outcome)).is_err() {
            return;
        }
    }
}

fn consume_in_order<E>(
    done: &Receiver<Done<E>>,
    free: &Sender<Block>,
    consume: &mut impl FnMut(&mut Block) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    while let Ok((sequence, block)) = done.recv() {
        early.insert(sequence, block);
        while let Some(block) = early.remove(&next) {
            let mut block = block?;
            consume(&mut block)?;
            next += 1;
            // At the end the reader no longer needs it.
            let _ = free.send(block);
        }
    }
    Ok(())
}
