//! Why an API server gives no answer that could be used.

use std::path::PathBuf;

use kube::config::{InferConfigError, KubeconfigError};

use crate::rotation::metrics::MetricsError;

/// An API server cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The kubeconfig file is missing, damaged, or names what is not there.
    #[error("cannot use kubeconfig `{}`", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<KubeconfigError>,
    },
    /// Nothing says how to reach the cluster.
    #[error("no kubeconfig file is named, and there is none in the usual places")]
    NoKubeconfig(#[source] Box<InferConfigError>),
    /// An address is no URL.
    #[error("`{url}` is no address of an API server; write https://HOST:6443")]
    Address {
        /// What was given.
        url: Box<str>,
    },
    /// The credentials in the kubeconfig file cannot be used.
    #[error("cannot make a connection from the kubeconfig")]
    Client(#[source] Box<kube::Error>),
    /// The credentials are not accepted.
    #[error("the API server does not accept the credentials; they may have expired")]
    Unauthenticated,
    /// The credentials do not suffice.
    #[error("no right to {verb} {resource}; grant it, or use other credentials")]
    Denied {
        /// What was tried.
        verb: &'static str,
        /// On what.
        resource: &'static str,
    },
    /// It answered with something else than was asked for.
    #[error("cannot {verb} {resource}: {message}")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// On what.
        resource: &'static str,
        /// What it said, in one line.
        message: Box<str>,
    },
    /// It did not answer.
    #[error("no answer: {message}")]
    Unreachable {
        /// What happened.
        message: Box<str>,
    },
    /// Its metrics cannot be understood.
    #[error("its metrics cannot be understood")]
    Metrics(#[from] MetricsError),
    /// Its version cannot be understood.
    #[error("`{version}` is no version of Kubernetes 1")]
    Version {
        /// What it says.
        version: Box<str>,
    },
}

impl ClusterError {
    pub(super) fn of(
        verb: &'static str,
        resource: &'static str,
    ) -> impl FnOnce(kube::Error) -> Self {
        move |error| match error {
            kube::Error::Api(status) if status.code == 401 => Self::Unauthenticated,
            kube::Error::Api(status) if status.code == 403 => Self::Denied { verb, resource },
            kube::Error::Api(status) => Self::Refused {
                verb,
                resource,
                message: status.message.lines().next().unwrap_or_default().into(),
            },
            other => Self::Unreachable {
                message: innermost(&other).into(),
            },
        }
    }
}

/// What the last of the sources says; the others only say that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
