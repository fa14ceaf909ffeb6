//! Where a socket is: a path, or a name of Linux's abstract namespace.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path or abstract name, in bytes: `sun_path` has 108, one of them is a zero.
pub const MAX_ADDRESS_LEN: usize = 107;

/// The address of a Unix socket.
///
/// Parsed from `PATH`, `unix:///PATH`, `@NAME` or `unix:///@NAME`, the last two of which name abstract
/// sockets, as kube-apiserver reads the `endpoint` of a provider.
///
/// kube-apiserver up to 1.31 puts the path into the `:authority` of its requests, which no HTTP/2 server that
/// checks it accepts; those versions need an abstract socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketAddress {
    /// A file. Who may connect is decided by its mode and its folder.
    Path(PathBuf),
    /// A name without file, visible in the whole network namespace. Who may connect is decided by uid alone.
    Abstract(String),
}

/// An address that no socket can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAddress {
    /// There is nothing to bind to.
    #[error("socket address `{0}` names no socket; give a path such as /run/kms-plugin/kms.sock")]
    Empty(String),
    /// More than the kernel takes.
    #[error(
        "socket address has {len} bytes, more than the {MAX_ADDRESS_LEN} that Linux allows; choose a shorter path"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A URL with a host part, in which kube-apiserver would not find the path.
    #[error(
        "socket address `{0}` needs three slashes, unix:///path or unix:///@name: what follows two is a host, \
         which kube-apiserver leaves out of the path it dials"
    )]
    Host(String),
    /// A scheme that is not `unix`.
    #[error("socket address `{0}` is not of the form PATH, unix:///PATH, @NAME or unix:///@NAME")]
    Scheme(String),
    /// A zero byte, which would end the name.
    #[error("socket address contains a zero byte")]
    Zero,
}

impl FromStr for SocketAddress {
    type Err = InvalidAddress;

    fn from_str(given: &str) -> Result<Self, InvalidAddress> {
        let shown = || given.escape_debug().to_string();
        let address = match given.strip_prefix("unix:") {
            Some(rest) => match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') => path,
                _ => return Err(InvalidAddress::Host(shown())),
            },
            // An absolute path, or the name of an abstract socket, may hold anything.
            None if !given.starts_with(['/', '@']) && given.contains("://") => {
                return Err(InvalidAddress::Scheme(shown()));
            }
            None => given,
        };
        if address.contains('\0') {
            return Err(InvalidAddress::Zero);
        }
        let of_url = address.len() != given.len();
        let name = if of_url {
            address.strip_prefix("/@")
        } else {
            address.strip_prefix('@')
        };
        let len = name.unwrap_or(address).len();
        if len > MAX_ADDRESS_LEN {
            return Err(InvalidAddress::TooLong { len });
        }
        match name {
            Some("") => Err(InvalidAddress::Empty(shown())),
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None if address.ends_with('/') || Path::new(address).file_name().is_none() => {
                Err(InvalidAddress::Empty(shown()))
            }
            None => Ok(Self::Path(PathBuf::from(address))),
        }
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Result<SocketAddress, InvalidAddress> {
        Ok(SocketAddress::Path(path.into()))
    }

    fn named(name: &str) -> Result<SocketAddress, InvalidAddress> {
        Ok(SocketAddress::Abstract(name.into()))
    }

    #[test]
    fn all_forms_are_understood() {
        for (given, expected) in [
            ("/run/kms.sock", path("/run/kms.sock")),
            ("kms.sock", path("kms.sock")),
            ("unix:///run/kms.sock", path("/run/kms.sock")),
            ("@kms", named("kms")),
            ("unix:///@kms", named("kms")),
            ("/@kms", path("/@kms")),
            ("unix:///x:///y", path("/x:///y")),
            ("/x:///y", path("/x:///y")),
            ("unix:///@a://b", named("a://b")),
            ("@a://b", named("a://b")),
        ] {
            assert_eq!(given.parse(), expected, "{given}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        use InvalidAddress as E;
        for (given, expected) in [
            ("", E::Empty(String::new())),
            ("@", E::Empty("@".into())),
            ("unix:///@", E::Empty("unix:///@".into())),
            ("unix:///", E::Empty("unix:///".into())),
            ("/run/", E::Empty("/run/".into())),
            ("/run/..", E::Empty("/run/..".into())),
            ("unix://run/kms.sock", E::Host("unix://run/kms.sock".into())),
            ("unix:/run/kms.sock", E::Host("unix:/run/kms.sock".into())),
            ("tcp://127.0.0.1:1", E::Scheme("tcp://127.0.0.1:1".into())),
            ("/run/a\0b", E::Zero),
        ] {
            assert_eq!(given.parse::<SocketAddress>(), Err(expected), "{given}");
        }
    }

    #[test]
    fn the_length_limit_is_that_of_the_kernel() {
        for prefix in ["/", "@", "unix:///", "unix:///@"] {
            let fits = MAX_ADDRESS_LEN - usize::from(!prefix.contains('@'));
            let name = "x".repeat(fits);
            assert!(
                format!("{prefix}{name}").parse::<SocketAddress>().is_ok(),
                "{prefix}"
            );
            assert_eq!(
                format!("{prefix}{name}x").parse::<SocketAddress>(),
                Err(InvalidAddress::TooLong {
                    len: MAX_ADDRESS_LEN + 1
                }),
                "{prefix}"
            );
        }
    }
}
