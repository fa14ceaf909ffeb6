//! The async runtimes of commands that talk to a plugin or to etcd.

use tokio::runtime::{Builder, Runtime};

use crate::failure::{Exit, Failure};

/// One thread, for a few calls.
pub(crate) fn start() -> Result<Runtime, Failure> {
    build(&mut Builder::new_current_thread())
}

/// A thread per processor, for load and for servers.
pub(crate) fn start_parallel() -> Result<Runtime, Failure> {
    build(&mut Builder::new_multi_thread())
}

/// Two threads, which send and receive while the caller works.
pub(crate) fn start_few() -> Result<Runtime, Failure> {
    build(Builder::new_multi_thread().worker_threads(2))
}

fn build(builder: &mut Builder) -> Result<Runtime, Failure> {
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::at(Exit::Io, "cannot start", &error))
}

/// Runs what talks to a store or a key to its end. What it leaves behind, such as an answer that is late, is not waited for.
pub(crate) fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = start_few()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
