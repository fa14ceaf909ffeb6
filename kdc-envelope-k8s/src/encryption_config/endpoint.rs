//! Endpoints of KMS plugins, as kube-apiserver reads them: by Go's `net/url`, and then the path alone
//! (`pkg/server/options/encryptionconfig` and `k8s.io/kms/pkg/util` upstream).

use std::net::Ipv6Addr;

use crate::percent;

/// An endpoint that kube-apiserver takes, although it can reach no plugin there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointFault {
    /// Two slashes begin a host, which is left out.
    #[error(
        "a third slash is missing in `{endpoint}`: kube-apiserver takes `{host}` for a host and dials {}; write `unix:///{host}{path}`",
        dialled(path)
    )]
    Host {
        /// The whole.
        endpoint: Box<str>,
        /// What follows two slashes.
        host: Box<str>,
        /// What is dialled.
        path: Box<str>,
    },
    /// A scheme, and no slash.
    #[error(
        "three slashes are missing in `{endpoint}`: kube-apiserver dials {}; write `unix:///{rest}`",
        dialled("")
    )]
    NoSlash {
        /// The whole.
        endpoint: Box<str>,
        /// What follows the scheme.
        rest: Box<str>,
    },
    /// A path that is no socket's.
    #[error("`{endpoint}` names no socket; write one such as `unix:///run/kms-plugin/kms.sock`")]
    NoSocket {
        /// The whole.
        endpoint: Box<str>,
    },
}

fn dialled(path: &str) -> String {
    match path {
        "" => "nothing".to_owned(),
        path => format!("`{path}`"),
    }
}

/// The parts of a URL of the scheme `unix` that Go takes.
pub(super) struct Endpoint<'e> {
    host: &'e str,
    path: String,
    /// What follows the scheme if no slash does.
    opaque: Option<&'e str>,
}

/// `None` if kube-apiserver refuses it.
pub(super) fn parse(endpoint: &str) -> Option<Endpoint<'_>> {
    if endpoint.chars().any(|c| c.is_ascii_control()) {
        return None;
    }
    let (url, fragment) = endpoint.split_once('#').unwrap_or((endpoint, ""));
    unescape(fragment)?;
    let (scheme, rest) = url.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("unix") {
        return None;
    }
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        let opaque = Some(rest);
        let (host, path) = ("", String::new());
        return Some(Endpoint { host, path, opaque });
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let is_user = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            unescape(user).filter(|_| user.chars().all(is_user))?;
            host
        }
        None => authority,
    };
    is_host(host).then_some(())?;
    Some(Endpoint {
        host: authority,
        path: unescape(path)?,
        opaque: None,
    })
}

/// What kube-apiserver dials.
pub(super) fn socket(endpoint: &str) -> Result<String, EndpointFault> {
    let whole = || endpoint.into();
    let no_socket = || EndpointFault::NoSocket { endpoint: whole() };
    let Endpoint { host, path, opaque } = parse(endpoint).ok_or_else(no_socket)?;
    match opaque {
        Some("") => return Err(no_socket()),
        Some(rest) => {
            return Err(EndpointFault::NoSlash {
                endpoint: whole(),
                rest: rest.into(),
            });
        }
        None => {}
    }
    if !host.is_empty() {
        return Err(EndpointFault::Host {
            endpoint: whole(),
            host: host.into(),
            path: path.into(),
        });
    }
    match path.strip_prefix("/@") {
        Some("") => Err(no_socket()),
        Some(name) => Ok(format!("@{name}")),
        None if path.ends_with('/') || path.is_empty() => Err(no_socket()),
        None => Ok(path),
    }
}

/// As Go takes the host of a URL, with a port if there is one.
fn is_host(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.rsplit_once(']') else {
            return false;
        };
        let port = match port {
            "" => Some(""),
            port => port.strip_prefix(':'),
        };
        return port.is_some_and(is_port) && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_name = |c: char| {
        !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=<>[]\"%".contains(c)
    };
    // Of the bytes in a host only those that are no ASCII may be escaped.
    let mut escapes = name.split('%').skip(1);
    let is_escaped = escapes
        .all(|rest| rest.starts_with(|c: char| matches!(c, '8'..='9' | 'a'..='f' | 'A'..='F')));
    is_port(port) && name.chars().all(is_name) && is_escaped && unescape(name).is_some()
}

/// Escapes undone; `None` if one is broken.
fn unescape(text: &str) -> Option<String> {
    let bytes = percent::decoded(text)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kube_apiserver_dials_is_known() {
        for (endpoint, dialled) in [
            ("unix:///run/kms/kms.sock", "/run/kms/kms.sock"),
            ("unix:/run/kms.sock", "/run/kms.sock"),
            ("unix:////run/kms.sock", "//run/kms.sock"),
            ("UNIX:///a%20b", "/a b"),
            ("unix:///@kms", "@kms"),
            ("unix:///a?b#c", "/a"),
        ] {
            assert_eq!(socket(endpoint).as_deref(), Ok(dialled), "{endpoint}");
        }
    }

    #[test]
    fn endpoints_that_reach_no_plugin_are_told_with_the_cure() {
        for (endpoint, words) in [
            (
                "unix://run/kms-plugin/kms.sock",
                "a third slash is missing in `unix://run/kms-plugin/kms.sock`: kube-apiserver takes `run` for a host and dials \
                 `/kms-plugin/kms.sock`; write `unix:///run/kms-plugin/kms.sock`",
            ),
            ("unix://kms.sock", "dials nothing; write `unix:///kms.sock`"),
            ("unix://@kms", "write `unix:///@kms`"),
            (
                "unix:run/kms.sock",
                "three slashes are missing in `unix:run/kms.sock`: kube-apiserver dials nothing",
            ),
            ("unix:", "names no socket"),
            ("unix://", "names no socket"),
            ("unix:///", "names no socket"),
            ("unix:///run/", "names no socket"),
            ("unix:///@", "names no socket"),
        ] {
            let fault = socket(endpoint).unwrap_err().to_string();
            assert!(fault.contains(words), "{endpoint}: {fault}");
        }
    }
}
