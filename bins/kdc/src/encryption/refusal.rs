//! Errors of the library as lines and exit codes.

use kdc_envelope_k8s::cluster::{ClusterError, KubeconfigFault};
use kdc_envelope_k8s::control_plane::{ApplyError, DriveError, ObserveError, PortError, StepError};
use kdc_envelope_k8s::files::FilesError;
use kdc_envelope_k8s::rewrite::RewriteError;
use kdc_envelope_k8s::rotation::Blocker;
use kdc_envelope_k8s::rotation::request::ChangeError;

use super::backups::BucketFailure;
use crate::failure::{Exit, Failure, exit_of_io, exit_of_private_file};

/// Why an API server may never load its file.
const LOAD: &str = "an API server loads its file by itself with --encryption-provider-config-automatic-reload=true, else restart it; \
                    in a container mount its folder, not the file alone";

pub(super) fn of_cluster(error: &ClusterError) -> Failure {
    let exit = match error {
        ClusterError::Kubeconfig(error) => match error.fault {
            KubeconfigFault::Missing => Exit::NoInput,
            KubeconfigFault::Denied => Exit::Denied,
            KubeconfigFault::Plugin => Exit::Unavailable,
            _ => Exit::Config,
        },
        ClusterError::Address { .. } => Exit::Usage,
        ClusterError::Unauthenticated { .. } | ClusterError::Denied { .. } => Exit::Denied,
        ClusterError::Metrics { .. } | ClusterError::Version { .. } => Exit::Data,
        _ => Exit::Unavailable,
    };
    Failure::of(exit, error)
}

pub(super) fn of_files(error: &FilesError) -> Failure {
    let exit = match error {
        FilesError::Private(error) => exit_of_private_file(error),
        FilesError::Io { source, .. } => exit_of_io(source),
        FilesError::Busy { .. } | FilesError::Changed { .. } => Exit::Negative,
        FilesError::Config { .. } | FilesError::Render(_) | FilesError::MountPoint { .. } => {
            Exit::Config
        }
        FilesError::TooLarge { .. }
        | FilesError::History { .. }
        | FilesError::State { .. }
        | FilesError::Rows { .. } => Exit::Data,
        FilesError::OpenFolder { .. } => Exit::Denied,
        _ => Exit::Io,
    };
    Failure::of(exit, error)
}

pub(super) fn of_port(error: &PortError) -> Failure {
    match error {
        PortError::Files(error) => of_files(error),
        PortError::Backups(source) => {
            let failure = source.downcast_ref::<BucketFailure>();
            Failure::of(
                failure.map_or(Exit::Unavailable, |failure| failure.exit),
                error,
            )
        }
        PortError::Object { .. } => Failure::of(Exit::Unavailable, error),
        PortError::Content { .. } => Failure::of(Exit::Data, error),
        _ => Failure::of(Exit::Negative, error),
    }
}

pub(super) fn of_rewrite(error: &RewriteError) -> Failure {
    let exit = match error {
        RewriteError::Denied { .. } => Exit::Denied,
        RewriteError::NoSuchResource { .. }
        | RewriteError::Aggregated { .. }
        | RewriteError::NoMigrations { .. } => Exit::Usage,
        RewriteError::Unreadable { .. } => Exit::Data,
        // An operator has to do something before it can go on, as with an object that is refused.
        RewriteError::MigrationFailed { .. } | RewriteError::Storage { .. } => Exit::Negative,
        _ => Exit::Unavailable,
    };
    advised(Failure::of(exit, error), error)
}

/// With what to do about a pass that ended early, where a command helps.
fn advised(failure: Failure, error: &RewriteError) -> Failure {
    match error {
        RewriteError::NoMigrations { .. } | RewriteError::MigrationFailed { .. } => {
            failure.hint("leave --hand-over out")
        }
        RewriteError::Unreadable { .. } => {
            failure.hint("`kdc value inspect` shows what a row was written with")
        }
        _ => failure,
    }
}

pub(super) fn of_observe(error: &ObserveError) -> Failure {
    match error {
        ObserveError::Port(error) => of_port(error),
        ObserveError::Members(cause) => {
            let exit = of_cluster(cause).exit();
            Failure::of(exit, error)
        }
        ObserveError::SameServer { .. } => {
            Failure::at(Exit::Usage, "--node", error).hint("nothing was changed")
        }
        _ => Failure::of(Exit::Unavailable, error),
    }
}

pub(super) fn of_change(error: &ChangeError) -> Failure {
    let exit = match error {
        ChangeError::Key(_) => Exit::Io,
        _ => Exit::Negative,
    };
    let failure = Failure::of(exit, error);
    match error {
        ChangeError::NoLocalKeys => failure.hint("`kdc encryption resume` then rewrites the rows"),
        ChangeError::UnderWay { .. } => {
            failure.hint("finish it with `resume`, or turn it around with `abort`")
        }
        ChangeError::Finished { .. } => {
            failure.hint("what `status` shows as due since then, `resume` does")
        }
        _ => failure,
    }
}

const RESUME: &str = "what was done stays done; `kdc encryption resume` continues";

pub(super) fn of_drive(error: &DriveError) -> Failure {
    match error {
        DriveError::Step(error) => of_step(error),
        DriveError::TimedOut { blockers, .. } => {
            let is_load = |blocker: &Blocker| {
                matches!(
                    blocker,
                    Blocker::NotLoaded { .. }
                        | Blocker::NotReadable { .. }
                        | Blocker::NotWriting { .. }
                        | Blocker::Unsettled { .. }
                )
            };
            let failure = Failure::of(Exit::Unavailable, error);
            match blockers.iter().any(is_load) {
                true => failure.hint(LOAD).hint(RESUME),
                false => failure.hint(RESUME),
            }
        }
        _ => Failure::of(Exit::Negative, error).hint(RESUME),
    }
}

fn of_step(error: &StepError) -> Failure {
    match error {
        StepError::Observe(error) => of_observe(error),
        StepError::Apply { source, .. } => {
            let exit = match source.as_ref() {
                ApplyError::Port(error) => of_port(error).exit(),
                ApplyError::Rewrite(error) => of_rewrite(error).exit(),
                _ => Exit::Negative,
            };
            let failure = Failure::of(exit, error);
            let failure = match source.as_ref() {
                ApplyError::Rewrite(error) => advised(failure, error),
                _ => failure,
            };
            failure.hint(RESUME)
        }
        _ => Failure::of(Exit::Negative, error),
    }
}
