//! Why etcd cannot be read.

use core::error::Error;
use core::fmt;

use kdc_envelope::ErrorChain;
use tonic::{Code, Status};

/// The call was given up by our own clock.
pub(super) const NO_ANSWER: &str = "no answer in time";
/// The stream of a snapshot was given up by our own clock.
pub(super) const STALLED: &str = "the snapshot stopped in the middle";

/// etcd cannot be read. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No address was given.
    #[error("no address of etcd is given")]
    NoEndpoint,
    /// An address cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The name of the user is empty or holds a password after a colon.
    #[error("the name of a user of etcd is not empty and has no colon")]
    UserName,
    /// Certificates or the private key cannot be used.
    #[error("the certificates or the private key for etcd cannot be used")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// No address accepts a connection.
    #[error("cannot connect to etcd: {}", list(failures))]
    Connect {
        /// One for each address, in their order.
        failures: Vec<ConnectFailure>,
    },
    /// Two of the addresses lead to different clusters, so that what one holds says nothing about the other.
    #[error("`{first}` and `{second}` belong to different clusters; name the members of one")]
    DifferentClusters {
        /// The address that is read from.
        first: Box<str>,
        /// The other one.
        second: Box<str>,
    },
    /// A call was refused or failed.
    #[error("etcd at `{endpoint}` {fault}")]
    Call {
        /// The address that was asked.
        endpoint: Box<str>,
        /// What happened.
        fault: CallFault,
    },
}

/// An address of etcd that accepts no connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectFailure {
    /// The address as a URL.
    pub url: Box<str>,
    /// Why, from name resolution to the TLS handshake.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why etcd did not answer a call. Displayed as what etcd does, for the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallFault {
    /// It has users, and none was named.
    #[error("asks for a user")]
    UserRequired,
    /// User and password do not belong together.
    #[error("does not know user `{user}` with the given password")]
    WrongPassword {
        /// The name that was given.
        user: Box<str>,
    },
    /// It refuses the token, and gives no better one.
    #[error("refuses the login: {message}")]
    Login {
        /// In its own words.
        message: Box<str>,
    },
    /// The user's roles do not allow to read the range.
    #[error("does not let {} read that; grant it the range", reader(user.as_deref()))]
    Denied {
        /// The user; `None` for the name in the client's certificate.
        user: Option<Box<str>>,
    },
    /// Snapshots are for administrators.
    #[error("gives snapshots to users with the role root alone")]
    SnapshotDenied,
    /// It did not answer within [`EtcdOptions::timeout`](super::EtcdOptions::timeout).
    #[error("gave no answer in time")]
    Timeout,
    /// A snapshot paused for longer than [`EtcdOptions::timeout`](super::EtcdOptions::timeout).
    #[error("stopped in the middle of the snapshot")]
    Stalled,
    /// It refused in its own words.
    #[error("answers {code}: {message}")]
    Refused {
        /// The name of the gRPC status, such as `Unavailable`.
        code: Box<str>,
        /// The message of the status.
        message: Box<str>,
    },
    /// The answer is none of etcd 3: another program may listen there, or the connection broke.
    #[error("does not answer as etcd 3 does: {code}: {message}")]
    Broken {
        /// The name of the gRPC status, such as `Unavailable`.
        code: Box<str>,
        /// The message of the status.
        message: Box<str>,
    },
}

/// An address of etcd that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is nothing between two commas.
    #[error("an address is empty; write HOST:2379 or https://HOST:2379")]
    Empty,
    /// It holds a user and perhaps a password, and is therefore not shown.
    #[error("an address holds a user")]
    HoldsUser,
    /// It has another form than HOST:PORT or a URL.
    #[error("`{address}` {fault}")]
    Form {
        /// As it was given.
        address: Box<str>,
        /// What is wrong with it, and what to write.
        fault: &'static str,
    },
    /// It is http, and TLS is asked for.
    #[error("`{url}` is http, but certificates are given; write https")]
    PlainText {
        /// The address.
        url: Box<str>,
    },
    /// It is https, and no authority is given.
    #[error("`{url}` needs the certificate of etcd's authority")]
    NoAuthority {
        /// The address.
        url: Box<str>,
    },
}

fn reader(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("user `{user}`"),
        None => "the name in the client's certificate".to_owned(),
    }
}

impl CallFault {
    pub(super) fn of(status: &Status, user: Option<&str>) -> Self {
        let (code, message) = (status.code(), status.message());
        match (code, user) {
            (Code::InvalidArgument, None) if message.contains("user name is empty") => {
                Self::UserRequired
            }
            (Code::InvalidArgument, Some(user)) if message.contains("authentication failed") => {
                Self::WrongPassword { user: user.into() }
            }
            (Code::PermissionDenied, user) => Self::Denied {
                user: user.map(Into::into),
            },
            (Code::Unauthenticated, _) => Self::Login {
                message: message.into(),
            },
            (Code::DeadlineExceeded, _) if message == NO_ANSWER => Self::Timeout,
            (Code::DeadlineExceeded, _) if message == STALLED => Self::Stalled,
            _ => {
                let (code, message) = (format!("{code:?}").into(), message.into());
                match status.message().starts_with("etcdserver: ")
                    || status.code() == Code::DeadlineExceeded
                {
                    true => Self::Refused { code, message },
                    false => Self::Broken { code, message },
                }
            }
        }
    }

    /// As [`Self::of`], of a snapshot, which is for administrators.
    pub(super) fn of_snapshot(status: &Status, user: Option<&str>) -> Self {
        match status.code() {
            Code::PermissionDenied => Self::SnapshotDenied,
            _ => Self::of(status, user),
        }
    }

    /// Whether rights are missing, or the login is wrong: trying again does not help.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::UserRequired
                | Self::WrongPassword { .. }
                | Self::Login { .. }
                | Self::Denied { .. }
                | Self::SnapshotDenied
        )
    }
}

impl EtcdError {
    /// Whether etcd did not answer, which may pass by itself.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Call { fault, .. } => !fault.is_denial(),
            _ => false,
        }
    }

    /// Whether rights are missing, or the login is wrong.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        matches!(self, Self::Call { fault, .. } if fault.is_denial())
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.url, ErrorChain::new(&*self.source))
    }
}

fn list(failures: &[ConnectFailure]) -> String {
    let lines: Vec<_> = failures.iter().map(ToString::to_string).collect();
    lines.join(", ")
}
