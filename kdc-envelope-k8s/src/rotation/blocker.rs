//! Why a plan does not go on.

use kdc_envelope::ErrorChain;

use crate::encryption_config::{RenderError, Transformer};

use super::Timestamp;

/// What a plan waits for, or what an operator must do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Blocker {
    /// Nothing to plan for.
    #[error("no API server is known")]
    NoServers,
    /// The file of a node cannot be read or understood, so it is not overwritten.
    #[error("the configuration file of {server} is left alone: {why}")]
    File {
        /// The API server.
        server: Box<str>,
        /// What is wrong.
        why: Box<str>,
    },
    /// It is unknown what this one writes with.
    #[error(
        "{server} does not say which configuration it has loaded: {why}; bring it back, or remove it from the cluster"
    )]
    Unaskable {
        /// The API server.
        server: Box<str>,
        /// What was tried.
        why: Box<str>,
    },
    /// It uses another configuration than its file, and none that is known.
    #[error(
        "{server} uses a configuration that is neither in a file nor an earlier one; wait for its reload, or restart it"
    )]
    UnknownConfig {
        /// The API server.
        server: Box<str>,
    },
    /// It has not loaded its file yet.
    #[error("{server} has not loaded its configuration file yet")]
    NotLoaded {
        /// The API server.
        server: Box<str>,
    },
    /// It may be loading something else that stood in its file a moment ago.
    #[error("{server} may still be loading an earlier file")]
    Unsettled {
        /// The API server.
        server: Box<str>,
        /// When that is ruled out.
        until: Timestamp,
    },
    /// It cannot read what the new writer would write.
    #[error("{server} does not read {writer} yet")]
    NotReadable {
        /// The API server.
        server: Box<str>,
        /// The new writer.
        writer: Transformer,
    },
    /// It still writes with what is to be removed.
    #[error("{server} does not write with {writer} yet")]
    NotWriting {
        /// The API server.
        server: Box<str>,
        /// The new writer.
        writer: Transformer,
    },
    /// Rows name their key, so one name must not mean two.
    #[error("another {0} is in use; give the new one a name of its own")]
    NameTaken(Transformer),
    /// The next configuration cannot be written.
    #[error("the next configuration cannot be written: {}", ErrorChain::new(.0))]
    Unwritable(RenderError),
    /// A plugin did not tell this server its key id.
    #[error("{server} does not say which key id the KMS provider `{provider}` has")]
    KeyIdUnknown {
        /// The API server.
        server: Box<str>,
        /// The KMS provider.
        provider: Box<str>,
    },
    /// Some servers still write under another key id.
    #[error("the API servers do not have one key id of the KMS provider `{provider}` yet")]
    KeyIdsDiffer {
        /// The KMS provider.
        provider: Box<str>,
    },
    /// They might not yet agree for good.
    #[error("the key id of the KMS provider `{provider}` is too new")]
    KeyIdNew {
        /// The KMS provider.
        provider: Box<str>,
        /// When it is old enough.
        until: Timestamp,
    },
    /// Some rows cannot be written or read.
    #[error("{0} rows could not be rewritten; see the report of the pass")]
    RowsRefused(u64),
    /// Another change goes first.
    #[error("the change to revision {running} is finished first")]
    Queued {
        /// Its number.
        running: u64,
    },
    /// Rows need something that the file of a server does not read: it was removed, or an earlier version was put in its
    /// place. Does not stop anything; the plan puts it back.
    #[error(
        "the configuration file of {server} {} {transformer}, under which rows of {resources} may lie",
        if *.is_missing { "is missing, and with it" } else { "lacks" }
    )]
    Lacks {
        /// The API server.
        server: Box<str>,
        /// Whether there is no file at all.
        is_missing: bool,
        /// What it does not read.
        transformer: Transformer,
        /// Names and wildcards, separated by commas.
        resources: Box<str>,
    },
    /// Backups keep this in the configuration. Does not stop anything.
    #[error("{transformer} stays, because {}", need(.backups, *.count))]
    Retained {
        /// What stays.
        transformer: Transformer,
        /// Names of some of the backups that need it.
        backups: Vec<Box<str>>,
        /// How many need it.
        count: u64,
    },
    /// Some backups do not tell what they need, so everything stays in the configuration. Does not stop anything.
    #[error(
        "no key leaves the configuration, because it is not known which ones backups need: {0}"
    )]
    BackupsUnknown(Box<str>),
}

impl Blocker {
    /// Whether it passes by itself, so that no operator need be called.
    #[must_use]
    pub const fn passes_by_itself(&self) -> bool {
        matches!(
            self,
            Self::NotLoaded { .. }
                | Self::Unsettled { .. }
                | Self::NotReadable { .. }
                | Self::NotWriting { .. }
                | Self::KeyIdsDiffer { .. }
                | Self::KeyIdNew { .. }
                | Self::Queued { .. }
                | Self::Lacks { .. }
                | Self::Retained { .. }
                | Self::BackupsUnknown(_)
        )
    }
}

/// Which backups need something, as a clause.
fn need(backups: &[Box<str>], count: u64) -> String {
    match (backups, count) {
        ([], 0 | 1) => "a backup needs it".to_owned(),
        ([backup], 0 | 1) => format!("the backup {backup} needs it"),
        ([], _) => format!("{count} backups need it"),
        _ => format!("{count} backups need it, among them {}", backups.join(", ")),
    }
}
