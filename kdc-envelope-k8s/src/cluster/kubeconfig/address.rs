//! The address of an API server, as kubectl reads it (`DefaultServerURL` in `k8s.io/client-go/rest`).

use http::Uri;

/// An address as a URL. Without a scheme it is `http://`, as with kubectl, which then sends no credentials either.
///
/// # Errors
/// What is wrong, for people; the address is not repeated, as it may hold a password.
pub(in crate::cluster) fn address(text: &str) -> Result<Uri, String> {
    let whole = text.split_once("://").filter(|(scheme, rest)| {
        !rest.starts_with(['/', '?', '#']) && !rest.is_empty() && is_scheme(scheme)
    });
    let (scheme, rest) = whole.unwrap_or(("http", text));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(format!(
            "the scheme `{scheme}` is not supported; write https://HOST:PORT"
        ));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "credentials in the address are not supported; put them into `users`".to_owned(),
        );
    }
    if whole.is_none() && !matches!(path, "" | "/") {
        return Err(
            "it is neither a URL nor a host with a port; write https://HOST:PORT".to_owned(),
        );
    }
    let authority = without_empty_port(authority)?;
    let url: Uri = format!("{scheme}://{authority}{path}")
        .parse()
        .map_err(|_| "it is no URL; write https://HOST:PORT".to_owned())?;
    match url.host() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("it names no host; write https://HOST:PORT".to_owned()),
    }
}

/// `http::Uri` takes a port that is none for no port.
fn without_empty_port(authority: &str) -> Result<&str, String> {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (_, after_host) = authority.split_at(host_end);
    let Some((_, port)) = after_host.split_once(':') else {
        return Ok(authority);
    };
    if port.is_empty() {
        return Ok(authority.trim_end_matches(':'));
    }
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    match is_port {
        true => Ok(authority),
        false => Err("its port is no number from 1 to 65535".to_owned()),
    }
}

/// RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_are_for_kubectl() {
        for (text, url) in [
            ("https://127.0.0.1:6443", "https://127.0.0.1:6443/"),
            ("https://h/k8s/clusters/c-1", "https://h/k8s/clusters/c-1"),
            ("HTTPS://h", "https://h/"),
            ("https://h/a?q=1#f", "https://h/a"),
            ("https://[::1]:6443", "https://[::1]:6443/"),
            ("127.0.0.1:6443", "http://127.0.0.1:6443/"),
            ("localhost", "http://localhost/"),
            ("localhost:8080/", "http://localhost:8080/"),
            ("[::1]:6443", "http://[::1]:6443/"),
            ("https://h:", "https://h/"),
        ] {
            let found = address(text).unwrap_or_else(|what| panic!("{text}: {what}"));
            assert_eq!(found.to_string(), url, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for text in [
            "ftp://h",
            "unix:///run/x.sock",
            "https:/h:6443",
            "https:///path",
            "https://",
            "h:6443/path",
            "h:99999",
            "https://h:0",
            "https://h:port",
            "https://user:hunter2@h",
            "https://[::1",
            "https://a b",
            "https://h/\u{0}",
            ":6443",
            "://",
            "",
            " ",
            "ä\n",
        ] {
            let what = address(text).expect_err(text);
            assert!(!what.contains("hunter2") && !what.contains('\n'), "{what}");
        }
    }
}
