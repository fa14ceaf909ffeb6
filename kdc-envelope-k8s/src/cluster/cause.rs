//! Why a request got no answer, for people.

use std::io;

use kdc_envelope::ErrorChain;
use kube::client::AuthError;

/// The innermost cause of `error`, said once, with what to do where that is known.
///
/// The errors around it only say that something failed, and repeat it.
pub(crate) fn cause(error: &(dyn core::error::Error + 'static)) -> String {
    let mut innermost = error;
    let mut is_proxy = false;
    let mut texts = error.to_string();
    for error in ErrorChain::new(error).causes() {
        if let Some(error) = error.downcast_ref::<AuthError>() {
            return of_credentials(error);
        }
        innermost = error;
        texts = error.to_string();
        is_proxy |= texts.starts_with("tunnel error") || texts.starts_with("SOCKS error");
    }
    if is_proxy {
        let advice = "check `proxy-url` of the kubeconfig, HTTPS_PROXY and NO_PROXY";
        return format!("the proxy does not connect: {texts}; {advice}");
    }
    let of_io = innermost.downcast_ref::<io::Error>();
    // The words of the standard library for a number of the system, without the number.
    if let Some((error, _)) = of_io.and_then(|error| Some((error, error.raw_os_error()?)))
        && of_kind(error.kind()).is_some()
    {
        texts = error.kind().to_string();
    }
    let advice = of_io
        .and_then(|error| of_kind(error.kind()))
        .or_else(|| of_text(&texts))
        .map_or_else(String::new, |advice| format!("; {advice}"));
    let words: Vec<_> = texts.split_whitespace().collect();
    format!("{}{advice}", words.join(" "))
}

const fn of_kind(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some("is kube-apiserver running there, on this port?"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some("there is no route to this address from here")
        }
        io::ErrorKind::TimedOut => Some("is a firewall in between?"),
        _ => None,
    }
}

/// By the words of rustls, of the resolver and of the proxy client, which have no public types here.
fn of_text(text: &str) -> Option<&'static str> {
    let known = [
        (
            "UnknownIssuer",
            "another authority signed its certificate than the kubeconfig names; `certificate-authority-data` has to be the \
             cluster's, often /etc/kubernetes/pki/ca.crt",
        ),
        (
            "certificate expired",
            "its certificate has expired, or the clock of this machine is wrong",
        ),
        (
            "certificate not valid yet",
            "the clock of this machine, or of the one that made its certificate, is wrong",
        ),
        (
            "not valid for name",
            "use an address that its certificate names, or set `tls-server-name` in the kubeconfig",
        ),
        (
            "fatal alert",
            "it refuses the client certificate of the kubeconfig; that may have expired, or be of another cluster",
        ),
        (
            "InvalidContentType",
            "what listens there does not speak TLS; is the port right?",
        ),
        (
            "failed to lookup address",
            "the name of the host is not known here; check it, and the DNS of this machine",
        ),
        ("deadline has elapsed", "is a firewall in between?"),
    ];
    let mut known = known.into_iter();
    known
        .find(|(words, _)| text.contains(words))
        .map(|(_, advice)| advice)
}

/// Why a credential plugin or a token file gives nothing. What a plugin printed may hold a token, and is not shown.
fn of_credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(error) => format!(
            "the credential plugin (`exec.command` of the user) cannot be run: {error}; is it installed, and in PATH?"
        ),
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            let said = said.map_or_else(String::new, |line| format!(": {line}"));
            format!(
                "the credential plugin (`exec.command` of the user) failed with {}{said}",
                out.status
            )
        }
        AuthError::AuthExecParse(_) => {
            "the credential plugin (`exec.command` of the user) printed no ExecCredential; run it by hand".to_owned()
        }
        AuthError::ExecPluginFailed => {
            "the credential plugin (`exec.command` of the user) printed no credentials; run it by hand".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => {
            format!("cannot read the token file `{}`: {error}", path.display())
        }
        AuthError::InvalidBearerToken(_) => {
            "the token has characters that no token has; write it on one line".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("ServiceError: {0}")]
    struct Wrapper(#[source] io::Error);

    #[test]
    fn a_cause_is_said_once_with_what_to_do() {
        let refused = Wrapper(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(
            cause(&refused),
            "connection refused; is kube-apiserver running there, on this port?"
        );
        let tls = Wrapper(io::Error::other("invalid peer certificate: UnknownIssuer"));
        let said = cause(&tls);
        assert!(
            said.contains("certificate-authority-data") && said.matches("Unknown").count() == 1,
            "{said}"
        );
    }

    #[test]
    fn what_a_plugin_printed_is_not_shown() {
        let printed = std::process::Command::new("sh")
            .args(["-c", "echo s3cret-token; echo 'log in first' >&2; exit 3"])
            .output()
            .unwrap();
        let error = AuthError::AuthExecRun {
            cmd: "sh s3cret-token".to_owned(),
            out: Box::new(printed),
        };
        let said = cause(&error);
        assert!(
            said.contains("log in first") && said.contains('3'),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
}
