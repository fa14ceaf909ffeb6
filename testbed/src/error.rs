//! Errors while servers are built, started and called.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a server could not be built, started or used.
///
/// `Debug` prints the same text as `Display` with its causes, so that
/// `unwrap()` in a test shows the log of the server as lines.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that is not part of the testbed is not installed.
    #[error("cannot find `{tool}`: {remedy}")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// What to install.
        remedy: &'static str,
    },
    /// A node was wanted by a user other than root.
    #[error("a node needs root; `cargo xtask test --without-node` runs all other tests")]
    Root,
    /// A build or an installation failed.
    #[error("cannot build {what}: {tail}")]
    Build {
        /// What was to be built.
        what: String,
        /// The last lines that the build printed.
        tail: String,
    },
    /// A value in the environment is not one of those known.
    #[error("environment variable {name} is {value:?}; expected {expected}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A process could not be started or signalled.
    #[error("cannot {action} {name}")]
    Process {
        /// What was tried, as a verb.
        action: &'static str,
        /// The process.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A process ended although it was needed.
    #[error("{name} ended with exit code {code}; its log ends with:\n{tail}")]
    Ended {
        /// The process.
        name: String,
        /// Its exit code; 128 + N for signal N.
        code: i32,
        /// The last lines of its log.
        tail: String,
    },
    /// A process did not do in time what it was waited for.
    #[error("{name} was not {state} after {seconds} s ({last}); its log ends with:\n{tail}")]
    Deadline {
        /// The process.
        name: String,
        /// What it was waited for.
        state: &'static str,
        /// How long.
        seconds: u64,
        /// The last answer.
        last: String,
        /// The last lines of its log.
        tail: String,
    },
    /// Keys or certificates could not be made.
    #[error("cannot make certificates: {0}")]
    Certificate(String),
    /// An HTTP request to a server failed.
    #[error("request to {name} failed")]
    Http {
        /// The server.
        name: &'static str,
        /// The cause.
        source: reqwest::Error,
    },
    /// A server or program answered what it never should.
    #[error("unexpected answer of {name}: {detail}")]
    Unexpected {
        /// The server or program.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
