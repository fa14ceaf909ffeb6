//! Errors of the backup library as one line and an exit code, with the flags by their names.

use kdc_envelope_backup::{Advice, BackupError, BackupErrorKind, Subject, Term};

use crate::failure::{Exit, Failure, chain};

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let line = match flag(error.subject()) {
            Some(flag) => format!("{flag}: {}", text(&error)),
            None => text(&error),
        };
        let failure = Self::new(exit(error.kind()), line);
        match error.advice() {
            Some(advice) => failure.hint(&advice_words(advice)),
            None => failure,
        }
    }
}

const fn exit(kind: BackupErrorKind) -> Exit {
    match kind {
        BackupErrorKind::InvalidInput => Exit::Usage,
        BackupErrorKind::Configuration => Exit::Config,
        BackupErrorKind::NotFound => Exit::NoInput,
        BackupErrorKind::AlreadyExists => Exit::CannotCreate,
        BackupErrorKind::Conflict | BackupErrorKind::Mismatch => Exit::Negative,
        BackupErrorKind::Damaged => Exit::Data,
        BackupErrorKind::Unavailable => Exit::Unavailable,
        BackupErrorKind::Denied => Exit::Denied,
        _ => Exit::Io,
    }
}

/// What happened, and what is behind it.
fn text(error: &BackupError) -> String {
    let message = error.message();
    let source = std::error::Error::source(error).map(chain);
    match source {
        Some(source) => format!("{message}: {source}"),
        None => message.to_owned(),
    }
}

const fn flag(subject: Option<Subject>) -> Option<&'static str> {
    Some(match subject {
        Some(Subject::Store) => "--bucket",
        Some(Subject::Cluster) => "--cluster",
        Some(Subject::Snapshot) => "--snapshot",
        Some(Subject::Format) => "--format",
        Some(Subject::Endpoint) => "--s3-endpoint",
        Some(Subject::Region) => "--s3-region",
        Some(Subject::CaFile) => "--s3-ca-file",
        Some(Subject::VirtualAddressing) => "--s3-addressing virtual",
        Some(Subject::Named(name)) => name,
        _ => return None,
    })
}

fn advice_words(advice: &Advice) -> String {
    advice.render(|term| match term {
        Term::Store => "--bucket",
        Term::Endpoint => "--s3-endpoint",
        Term::Region => "--s3-region",
        Term::CaFile => "--s3-ca-file",
        Term::AllowHttp => "--s3-allow-http",
        Term::Addressing => "--s3-addressing",
        Term::Checksum => "--s3-checksum",
        Term::Snapshot => "--snapshot",
        Term::Prune => "`kdc backup prune`",
        Term::PruneOrphans => "`kdc backup prune --orphans`",
        Term::Verify => "`kdc backup verify`",
        Term::List => "`kdc backup list`",
        Term::Inventory => "`kdc backup inventory`",
        _ => "the command line",
    })
}
