//! Labels of the three calls and of the codes they end with.

use tonic::Code;

/// The three calls of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rpc {
    /// `Status`
    Status,
    /// `Encrypt`
    Encrypt,
    /// `Decrypt`
    Decrypt,
}

impl Rpc {
    /// All calls, in the order of the API.
    pub const ALL: [Self; 3] = [Self::Status, Self::Encrypt, Self::Decrypt];

    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }

    /// The call behind an HTTP/2 path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        match path {
            "/v2.KeyManagementService/Status" => Some(Self::Status),
            "/v2.KeyManagementService/Encrypt" => Some(Self::Encrypt),
            "/v2.KeyManagementService/Decrypt" => Some(Self::Decrypt),
            _ => None,
        }
    }
}

pub(super) const fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
