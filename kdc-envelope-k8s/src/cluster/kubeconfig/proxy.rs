//! The proxy to an API server: that of the kubeconfig, else that of the environment, as Go's `net/http` finds it
//! (`golang.org/x/net/http/httpproxy`).

use std::net::IpAddr;

use http::Uri;

/// The variables that name proxies.
#[derive(Debug, Default)]
pub(super) struct Environment {
    https: Option<String>,
    http: Option<String>,
    no: String,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str, lower: &str| {
            let set = |name| variable(name).filter(|value| !value.is_empty());
            set(upper).or_else(|| set(lower))
        };
        Self {
            https: either("HTTPS_PROXY", "https_proxy"),
            http: either("HTTP_PROXY", "http_proxy"),
            no: either("NO_PROXY", "no_proxy").unwrap_or_default(),
        }
    }

    /// The proxy for `server`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn proxy_of(&self, server: &Uri) -> Result<Option<Uri>, String> {
        let (name, proxy) = match server.scheme_str() {
            Some("https") => ("HTTPS_PROXY", &self.https),
            _ => ("HTTP_PROXY", &self.http),
        };
        match proxy {
            Some(proxy) if self.concerns(server) => {
                let has_scheme = ["http://", "https://", "socks5://", "socks5h://"]
                    .iter()
                    .any(|scheme| proxy.starts_with(scheme));
                let proxy = match has_scheme {
                    true => proxy.clone(),
                    false => format!("http://{proxy}"),
                };
                let found = parse(&proxy.replacen("socks5h://", "socks5://", 1));
                found.map(Some).map_err(|what| {
                    format!("the environment variable {name} names a proxy, and {what}; or put the host into NO_PROXY")
                })
            }
            _ => Ok(None),
        }
    }

    /// Whether a proxy is used for `server`: not for this machine, and not for what NO_PROXY names.
    fn concerns(&self, server: &Uri) -> bool {
        let host = server.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.');
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return false;
        }
        let default = if server.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = server.port_u16().unwrap_or(default);
        let mut patterns = self.no.split(',').map(str::trim);
        !patterns.any(|pattern| names(&pattern.to_ascii_lowercase(), host, address, port))
    }
}

/// Whether a part of NO_PROXY names this host.
fn names(pattern: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if pattern.is_empty() {
        return false;
    }
    if pattern == "*" {
        return true;
    }
    if let Some((network, length)) = pattern.split_once('/') {
        let network: Option<IpAddr> = network.parse().ok();
        return match (network, address, length.parse()) {
            (Some(network), Some(address), Ok(length)) => is_in(address, network, length),
            _ => false,
        };
    }
    let (name, wanted) = host_and_port(pattern);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(named) = name.parse::<IpAddr>() {
        return address == Some(named);
    }
    // `.a` and `*.a` name what is below `a`; `a` names itself too.
    let below = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
    let domain = below.unwrap_or(name);
    let is_below = host
        .strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'));
    is_below || (below.is_none() && host == domain)
}

fn host_and_port(pattern: &str) -> (&str, Option<u16>) {
    if let Some(rest) = pattern.strip_prefix('[') {
        let (host, after) = rest.split_once(']').unwrap_or((rest, ""));
        let port = after.strip_prefix(':').and_then(|port| port.parse().ok());
        return (host, port);
    }
    match pattern.split_once(':') {
        // More than one colon: an IPv6 address.
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (pattern, None),
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = 32_u32.checked_sub(length);
            let differs = address.to_bits() ^ network.to_bits();
            shift.is_some_and(|shift| differs.checked_shr(shift).unwrap_or(0) == 0)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = 128_u32.checked_sub(length);
            let differs = address.to_bits() ^ network.to_bits();
            shift.is_some_and(|shift| differs.checked_shr(shift).unwrap_or(0) == 0)
        }
        _ => false,
    }
}

/// The proxy that a kubeconfig names.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn named(text: &str) -> Result<Uri, String> {
    parse(text)
}

fn parse(text: &str) -> Result<Uri, String> {
    let wrong = || "it is no URL; write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
    let (scheme, _) = text.split_once("://").ok_or_else(wrong)?;
    if !matches!(scheme, "http" | "https" | "socks5") {
        return Err(format!(
            "the scheme `{}` is not supported; write http://, https:// or socks5://",
            scheme.escape_debug()
        ));
    }
    let url: Uri = text.parse().map_err(|_| wrong())?;
    match url.host() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(wrong().to_owned()),
    }
}

/// A proxy without its credentials.
pub(in crate::cluster) fn shown(proxy: &Uri) -> String {
    let port = proxy.port_u16().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}",
        proxy.scheme_str().unwrap_or_default(),
        proxy.host().unwrap_or_default(),
        port.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)], server: &'static str) -> Result<Option<String>, String> {
        let environment = Environment::of(|name| {
            let mut variables = variables.iter();
            let found = variables.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let found = environment.proxy_of(&Uri::from_static(server));
        found.map(|proxy| proxy.as_ref().map(shown))
    }

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        let server = "https://api.cluster.example:6443";
        for (no, server, is_used) in [
            ("", server, true),
            ("other.example", server, true),
            ("api.cluster.example", server, false),
            ("cluster.example", server, false),
            (".cluster.example", server, false),
            ("*.cluster.example", server, false),
            (".api.cluster.example", server, true),
            ("luster.example", server, true),
            ("*", server, false),
            (" x , API.cluster.example:6443", server, false),
            ("api.cluster.example:443", server, true),
            ("10.0.0.0/8", "https://10.1.2.3:6443", false),
            ("10.0.0.0/16", "https://10.1.2.3:6443", true),
            ("0.0.0.0/0", "https://10.1.2.3:6443", false),
            ("10.1.2.3", "https://10.1.2.3:6443", false),
            ("fd00::/8", "https://[fd00::1]:6443", false),
            ("[fd00::1]:6443", "https://[fd00::1]:6443", false),
            ("10.0.0.0/99", "https://10.1.2.3:6443", true),
        ] {
            let variables = [("HTTPS_PROXY", "http://p:3128"), ("NO_PROXY", no)];
            let found = proxy(&variables, server).unwrap();
            assert_eq!(found.is_some(), is_used, "{no} {server}");
        }
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        for server in [
            "https://localhost:6443",
            "https://127.0.0.1:6443",
            "https://[::1]:6443",
        ] {
            let found = proxy(&[("HTTPS_PROXY", "http://p:3128")], server);
            assert_eq!(found, Ok(None), "{server}");
        }
    }

    #[test]
    fn a_proxy_of_the_environment_may_lack_a_scheme_and_shows_no_password() {
        let of = |value| proxy(&[("https_proxy", value)], "https://h");
        assert_eq!(of("p:3128"), Ok(Some("http://p:3128".to_owned())));
        assert_eq!(
            of("http://u:hunter2@p:3128"),
            Ok(Some("http://p:3128".to_owned()))
        );
        assert_eq!(
            of("socks5h://p:1080"),
            Ok(Some("socks5://p:1080".to_owned()))
        );
        let what = of("ht tp://u:hunter2@p").unwrap_err();
        assert!(
            what.contains("HTTPS_PROXY") && !what.contains("hunter2"),
            "{what}"
        );
        assert_eq!(proxy(&[("HTTPS_PROXY", "p:1")], "http://h"), Ok(None));
    }
}
