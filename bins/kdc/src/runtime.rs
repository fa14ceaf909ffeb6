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
