//! Addresses of etcd, as etcdctl takes them.

use tonic::codegen::http::uri::Authority;

use super::EndpointError;

/// The URL of an address: HOST:PORT alone gets `https` if TLS is wanted and `http` if not, as with etcdctl.
pub(super) fn url_of(text: &str, wants_tls: bool) -> Result<String, EndpointError> {
    let text = text.trim();
    let form = |fault: &'static str| EndpointError::Form {
        address: text.into(),
        fault,
    };
    if text.is_empty() {
        return Err(EndpointError::Empty);
    }
    if text.contains('@') {
        return Err(EndpointError::HoldsUser);
    }
    if text.starts_with("unix:") || text.starts_with("unixs:") || text.starts_with('/') {
        return Err(form(
            "is a Unix socket, which is not supported; name an address that etcd listens on for clients, such as 127.0.0.1:2379",
        ));
    }
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        Some(("http" | "https", _)) => Err(form("has no host; write https://HOST:2379")),
        Some(_) => Err(form("is neither http nor https")),
        None => {
            let authority: Authority = text
                .parse()
                .map_err(|_| form("is no address; write HOST:2379 or https://HOST:2379"))?;
            if authority.port_u16().is_none() {
                return Err(form("has no port; etcd mostly has 2379"));
            }
            let scheme = if wants_tls { "https" } else { "http" };
            Ok(format!("{scheme}://{text}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn addresses_are_taken_as_etcdctl_takes_them() {
        let plain = |text: &str| url_of(text, false).unwrap();
        assert_eq!(plain("127.0.0.1:2379"), "http://127.0.0.1:2379");
        assert_eq!(plain(" localhost:2379 "), "http://localhost:2379");
        assert_eq!(plain("[::1]:2379"), "http://[::1]:2379");
        assert_eq!(plain("http://etcd:2379"), "http://etcd:2379");
        assert_eq!(url_of("etcd-0:2379", true).unwrap(), "https://etcd-0:2379");
        assert_eq!(url_of("http://a:1", true).unwrap(), "http://a:1");
    }

    #[test]
    fn what_is_no_address_is_named_and_a_password_never_shown() {
        let line = |text: &str| url_of(text, false).unwrap_err().to_string();
        assert!(line("localhost").contains("has no port"));
        assert!(line("").contains("empty"));
        assert!(line("unix:///run/etcd.sock").contains("Unix socket"));
        assert!(line("unix://localhost:2379").contains("Unix socket"));
        assert!(line("ftp://localhost").contains("neither http nor https"));
        assert!(line("http:/a:1").contains("is no address"));
        assert!(line("https://").contains("has no host"));
        for text in ["http://root:pass@a:1", "root:pass@a:1"] {
            assert!(!line(text).contains("pass") && line(text).contains("holds a user"));
        }
    }
}
