//! Why an API server gives no answer that could be used.

use super::{KubeconfigError, ServerName};
use crate::rotation::metrics::MetricsError;

/// An API server cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The kubeconfig is missing, damaged, or names what is not there or not supported.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// An address is no URL.
    #[error("`{url}` is no address of an API server; write https://HOST:6443")]
    Address {
        /// What was given.
        url: Box<str>,
    },
    /// A name for the certificate of an API server is none.
    #[error("`{name}` is no name of a host that a certificate could have")]
    TlsServerName {
        /// What was given.
        name: Box<str>,
    },
    /// Certificates, credentials or the proxy in the settings cannot be used.
    #[error("no client for {server} can be made of the settings: {message}")]
    Settings {
        /// Whose.
        server: ServerName,
        /// Why, in one line.
        message: Box<str>,
    },
    /// The credentials are not accepted.
    #[error(
        "{server} does not accept the credentials of the kubeconfig (401); they may have expired, or be of another cluster"
    )]
    Unauthenticated {
        /// Who says so.
        server: ServerName,
    },
    /// The credentials do not suffice.
    #[error(
        "{server} does not allow to {verb} {resource}: {message}; grant the right, or use other credentials"
    )]
    Denied {
        /// Who says so.
        server: ServerName,
        /// What was tried.
        verb: &'static str,
        /// On what.
        resource: &'static str,
        /// What it said, in one line.
        message: Box<str>,
    },
    /// It answered with something else than was asked for.
    #[error("{server} answered the attempt to {verb} {resource} with {message}")]
    Refused {
        /// Who answered.
        server: ServerName,
        /// What was tried.
        verb: &'static str,
        /// On what.
        resource: &'static str,
        /// What it said, in one line.
        message: Box<str>,
    },
    /// It did not answer.
    #[error("no answer of {server}: {message}")]
    Unreachable {
        /// Who was asked.
        server: ServerName,
        /// What happened.
        message: Box<str>,
    },
    /// Its metrics cannot be understood.
    #[error("the metrics of {server} cannot be understood")]
    Metrics {
        /// Whose.
        server: ServerName,
        /// Why.
        source: MetricsError,
    },
    /// Its version cannot be understood.
    #[error(
        "{server} says that it is `{version}`, which is no version of Kubernetes 1; is it an API server?"
    )]
    Version {
        /// Who says so.
        server: ServerName,
        /// What it says.
        version: Box<str>,
    },
}
