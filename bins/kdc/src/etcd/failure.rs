//! Why etcd cannot be read, as a line with the flags that help, and an exit code.

use kdc_envelope_k8s::etcd::{CallFault, EndpointError, EtcdError};

use super::EtcdFlags;
use crate::failure::{Exit, Failure, chain};

const ENDPOINTS: &str = "--etcd-endpoints";

impl EtcdFlags {
    /// As [`of_etcd`], of a connection that is not there yet.
    pub(super) fn not_connected(&self, error: &EtcdError) -> Failure {
        match error {
            EtcdError::Endpoint(EndpointError::PlainText { url }) => {
                let flag = self.first_of_tls().unwrap_or_default();
                let line =
                    format_args!("{ENDPOINTS}: `{url}` is http, but {flag} is given; write https");
                Failure::new(Exit::Usage, line)
            }
            error => of_etcd(error),
        }
    }
}

/// The line and the exit code.
pub(crate) fn of_etcd(error: &EtcdError) -> Failure {
    match error {
        EtcdError::Endpoint(EndpointError::HoldsUser) => Failure::at(Exit::Usage, ENDPOINTS, error)
            .hint("name it with --etcd-user and --etcd-password-file"),
        EtcdError::Endpoint(EndpointError::NoAuthority { url }) => Failure::new(
            Exit::Usage,
            format_args!(
                "{ENDPOINTS}: `{url}` needs --etcd-cacert, the certificate of etcd's authority"
            ),
        ),
        EtcdError::UserName => {
            let line = "--etcd-user: give the name alone, and the password in a file with --etcd-password-file";
            Failure::new(Exit::Usage, line)
        }
        EtcdError::Tls(source) => {
            let flags = "--etcd-cacert, --etcd-cert, --etcd-keyfile";
            Failure::at(Exit::Data, flags, &**source)
        }
        EtcdError::Connect { failures } => {
            let failures: Vec<_> = failures
                .iter()
                .map(|failure| format!("`{}`: {}", failure.url, chain(&*failure.source)))
                .collect();
            let failures = failures.join(", ");
            let line = format_args!("{ENDPOINTS}: cannot connect to etcd: {failures}");
            Failure::new(Exit::Unavailable, line)
                .hint("check the address, the --etcd-cacert, --etcd-cert and --etcd-server-name flags, and that etcd runs")
        }
        EtcdError::Call { endpoint, fault } => of_call(endpoint, fault, error),
        error => Failure::at(Exit::Usage, ENDPOINTS, error),
    }
}

fn of_call(endpoint: &str, fault: &CallFault, error: &EtcdError) -> Failure {
    let denied = Failure::of(Exit::Denied, error);
    let unavailable = |code: &str, message: &str| {
        let line = format_args!("etcd at `{endpoint}`: {code}: {message}");
        Failure::new(Exit::Unavailable, line)
    };
    match fault {
        CallFault::UserRequired => Failure::new(
            Exit::Denied,
            format_args!(
                "etcd at `{endpoint}` asks for a user; name one with --etcd-user and --etcd-password-file"
            ),
        ),
        CallFault::WrongPassword { user } => Failure::new(
            Exit::Denied,
            format_args!(
                "etcd at `{endpoint}` does not know user `{user}` with the password in --etcd-password-file"
            ),
        ),
        CallFault::Denied { user: Some(_) } => also(error, "or name another --etcd-user"),
        CallFault::Denied { user: None } => also(error, "or name an --etcd-user"),
        CallFault::SnapshotDenied => denied.hint("name one with --etcd-user"),
        CallFault::Timeout => unavailable(
            "DeadlineExceeded",
            "no answer in time; --etcd-timeout allows more",
        ),
        CallFault::Stalled => unavailable(
            "DeadlineExceeded",
            "the snapshot stopped in the middle; --etcd-timeout allows longer pauses",
        ),
        CallFault::Refused { code, message } => unavailable(code, message),
        CallFault::Broken { code, message } => {
            let failure = unavailable(code, message);
            match endpoint.starts_with("http://") {
                true => failure.hint("is it the port of an etcd 3 for its clients? if etcd speaks TLS, write https and add --etcd-cacert"),
                false => failure.hint("is it the port of an etcd 3 for its clients?"),
            }
        }
        _ => denied,
    }
}

/// With another way out after those that the error names.
fn also(error: &EtcdError, way: &str) -> Failure {
    Failure::new(Exit::Denied, format_args!("{error}, {way}"))
}
