//! What ends the program, in one line.

use std::io;

use kdc_envelope::local::keyring_file::KeyringFileError;
use kdc_envelope_bao::CredentialError;
use kdc_envelope_kms::server::ServeError;
use kdc_shared::plugin::SettingsError;
use tokio::task::JoinError;

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Key(#[from] KeyringFileError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Telemetry(#[from] kdc_shared::telemetry::TelemetryError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the task that keeps a key usable ended unexpectedly; restart the plugin")]
    Keeper(#[source] Option<JoinError>),
    #[error("no random bytes from the kernel")]
    Random(#[from] kdc_envelope::random::RandomError),
    #[error("cannot {action}")]
    System {
        action: &'static str,
        source: io::Error,
    },
    #[error("{0} of the checks failed")]
    Invalid(usize),
}

impl Failure {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
