//! A TLS handshake of our own, because the HTTP client of the plugin only says that one failed: which certificate was shown, and which
//! of its faults was the reason.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kdc_envelope_bao::{BaoAddress, Client, ClientCertificateFiles, TlsConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::certificate::{self, Certificate};
use super::files::{cure_of_read, of_credential};
use super::finding::{Check, Finding, Findings, Outcome};

/// What was in the TLS files.
#[derive(Debug)]
pub(super) struct TlsFiles {
    /// Of the CA file; `None` for the authorities of the system.
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
    pub(super) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// The files for TLS, and a prober that shakes hands with them if an address needs it. `Err` if no connection can be made with them.
pub(super) fn check_files(
    config: &kdc_envelope_bao::ClientConfig,
    findings: &mut Findings<'_>,
) -> Result<Option<Prober>, ()> {
    let tls = &config.tls;
    let subject = tls_files(tls);
    let is_needed = !config.addresses.iter().all(BaoAddress::is_plaintext);
    let files = read(tls).map_err(|finding| findings.add(*finding))?;
    if let (Some(authorities), Some(path)) = (&files.authorities, &tls.ca_file) {
        check_authorities(path, authorities, findings);
    }
    if let (Some((chain, _)), Some(client)) = (&files.client, &tls.client) {
        findings.add(client_certificate(chain, client));
    }
    let prober = is_needed.then(|| Prober::new(files, tls)).transpose();
    let prober = prober.map_err(|error| {
        let (detail, cure) = match error {
            Error::InconsistentKeys(_) => (
                "the client key does not belong to the client certificate".to_owned(),
                "name a certificate and its own key",
            ),
            error => (
                error.to_string(),
                "name a file with the authority of OpenBao's certificate with --bao-ca-file",
            ),
        };
        findings.add(Finding::fail(Check::TLS_FILES, &subject, detail, cure));
    })?;
    // As the plugin does it, so that what it would not take is found too.
    match Client::new(config.clone()) {
        Ok(_) => {
            findings.add(Finding::pass(Check::TLS_FILES, subject, "can be used"));
            Ok(prober)
        }
        Err(error) => {
            findings.add(of_credential(Check::TLS_FILES, subject, &error));
            Err(())
        }
    }
}

fn client_certificate(
    chain: &[CertificateDer<'static>],
    files: &ClientCertificateFiles,
) -> Finding {
    let check = Check::CLIENT_CERTIFICATE;
    let subject = files.certificate.display().to_string();
    let cure = "issue a new client certificate; it is followed without a restart";
    match chain.first().and_then(|der| Certificate::read(der)) {
        Some(leaf) => leaf.expiry(check, &subject, cure),
        None => Finding::fail(check, subject, "it is damaged", cure),
    }
}

fn tls_files(tls: &TlsConfig) -> String {
    let client = tls.client.iter();
    let client = client.flat_map(|client| [client.certificate.as_path(), client.key.as_path()]);
    let all: Vec<String> = tls
        .ca_file
        .as_deref()
        .into_iter()
        .chain(client)
        .map(|path| path.display().to_string())
        .collect();
    match all.is_empty() {
        true => "the system's authorities".to_owned(),
        false => all.join(", "),
    }
}

fn read(tls: &TlsConfig) -> Result<TlsFiles, Box<Finding>> {
    let content = |path: &Path| {
        std::fs::read(path).map(Zeroizing::new).map_err(|error| {
            let cure = cure_of_read(&error);
            Box::new(Finding::fail(Check::TLS_FILES, path.display(), error, cure))
        })
    };
    let damaged = |path: &Path, what: &str| {
        let detail = format_args!("it holds no {what} in PEM");
        let cure = "replace its content: lines from `-----BEGIN` to `-----END`";
        Box::new(Finding::fail(
            Check::TLS_FILES,
            path.display(),
            detail,
            cure,
        ))
    };
    let chain = |path: &Path| {
        let chain = certificate::chain(&content(path)?);
        match chain.is_empty() {
            true => Err(damaged(path, "certificate")),
            false => Ok(chain),
        }
    };
    let authorities = tls.ca_file.as_deref().map(chain).transpose()?;
    let client = match &tls.client {
        None => None,
        Some(files) => {
            let key = certificate::private_key(&content(&files.key)?);
            let key = key.ok_or_else(|| damaged(&files.key, "private key"))?;
            Some((chain(&files.certificate)?, key))
        }
    };
    Ok(TlsFiles {
        authorities,
        client,
    })
}

fn check_authorities(
    path: &Path,
    authorities: &[CertificateDer<'static>],
    findings: &mut Findings<'_>,
) {
    let subject = path.display().to_string();
    let read: Option<Vec<Certificate>> = authorities
        .iter()
        .map(|der| Certificate::read(der))
        .collect();
    let Some(read) = read else {
        let cure = "replace it by the certificates of the authorities of OpenBao";
        findings.add(Finding::fail(
            Check::CA_FILE,
            subject,
            "a certificate in it is damaged",
            cure,
        ));
        return;
    };
    let cure = "add the authority's new certificate before the old one ends";
    for authority in &read {
        let mut finding = authority.expiry(Check::CA_FILE, &subject, cure);
        // The plugin takes an authority for what it is told, expired or not.
        if finding.outcome == Outcome::Fail {
            finding.outcome = Outcome::Warn;
        }
        findings.add(finding);
    }
}

/// Shakes hands as the plugin does, and notes what the server shows. Clones share what was read from files.
#[derive(Debug, Clone)]
pub(super) struct Prober(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    settings: TlsConfig,
    /// The authorities that are trusted, for people.
    trusted: String,
}

impl Prober {
    /// One that trusts and shows what is in `files`.
    pub(super) fn new(files: TlsFiles, settings: &TlsConfig) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (verifier, trusted): (Arc<dyn ServerCertVerifier>, String) = match &files.authorities {
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority.clone())?;
                }
                let builder = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                let verifier = builder
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?;
                (verifier, names(authorities))
            }
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
                (Arc::new(verifier), "those of the system".to_owned())
            }
        };
        let prober = Self(Arc::new(Inner {
            files,
            provider,
            verifier,
            settings: settings.clone(),
            trusted,
        }));
        // Finds out whether the client's key belongs to its certificate.
        prober.config(Arc::clone(&prober.0.verifier))?;
        Ok(prober)
    }

    fn config(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
        let inner = &self.0;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&inner.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &inner.files.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The three findings about the certificate of the server behind `stream`. All of them pass if the plugin can connect.
    pub(super) async fn shake_hands(
        &self,
        address: &BaoAddress,
        stream: TcpStream,
    ) -> Vec<Finding> {
        let subject = address.to_string();
        let wanted = self.wanted_name(address);
        let Ok(name) = ServerName::try_from(wanted.clone()) else {
            let detail = format_args!("`{wanted}` cannot be the name of a server");
            let cure = "correct --bao-address or --bao-server-name";
            return vec![Finding::fail(Check::TLS, subject, detail, cure)];
        };
        let witness = Arc::new(Witness {
            verifier: Arc::clone(&self.0.verifier),
            shown: Mutex::default(),
        });
        let config = match self.config(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                let cure = "see the findings about files";
                return vec![Finding::fail(Check::TLS, subject, error, cure)];
            }
        };
        let handshake = TlsConnector::from(config).connect(name, stream);
        let result = tokio::time::timeout(super::STEP_LIMIT, handshake).await;
        let shown = witness.shown();
        match result {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let version = session
                    .protocol_version()
                    .and_then(|version| version.as_str());
                let version = version.unwrap_or("TLS").replace("TLSv1_", "TLS 1.");
                self.accepted(&subject, &wanted, &version, shown.first())
            }
            Ok(Err(error)) => {
                let cause = error
                    .get_ref()
                    .and_then(|inner| inner.downcast_ref::<Error>());
                match cause {
                    Some(Error::InvalidCertificate(fault)) => {
                        self.refused(&subject, &wanted, fault, &shown)
                    }
                    cause => vec![broken(&subject, cause, &error)],
                }
            }
            Err(_) => {
                let detail = format_args!("no handshake within {:?}", super::STEP_LIMIT);
                let cure = "check for a load balancer or firewall in between that accepts connections and does not forward them";
                vec![Finding::fail(Check::TLS, subject, detail, cure)]
            }
        }
    }

    /// The name that the certificate must have.
    fn wanted_name(&self, address: &BaoAddress) -> String {
        let name = self.0.settings.server_name.as_deref();
        let name = name.unwrap_or_else(|| address.host());
        name.trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned()
    }

    fn accepted(
        &self,
        subject: &str,
        wanted: &str,
        version: &str,
        leaf: Option<&Certificate>,
    ) -> Vec<Finding> {
        let issuer = leaf.map_or("?", |leaf| leaf.issuer.as_str());
        vec![
            Finding::pass(
                Check::TLS,
                subject,
                format_args!("{version}, signed by `{issuer}`"),
            ),
            Finding::pass(Check::TLS_NAME, subject, format_args!("is for `{wanted}`")),
            expiry(subject, leaf),
        ]
    }

    /// Which of the faults it is. The library looks at time and chain first, and at the name last.
    fn refused(
        &self,
        subject: &str,
        wanted: &str,
        fault: &CertificateError,
        shown: &[Certificate],
    ) -> Vec<Finding> {
        let leaf = shown.first();
        let unknown = "the certificate is not trusted";
        match fault {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let names = leaf.map_or_else(String::new, |leaf| leaf.names.join("`, `"));
                let detail = match names.is_empty() {
                    true => format!("the certificate is for no name, and so not for `{wanted}`"),
                    false => format!("the certificate is for `{names}`, not for `{wanted}`"),
                };
                let cure = "name one of its names in --bao-address or --bao-server-name, or issue one for that name";
                vec![
                    Finding::pass(Check::TLS, subject, "signed by a trusted authority"),
                    Finding::fail(Check::TLS_NAME, subject, detail, cure),
                    expiry(subject, leaf),
                ]
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => vec![
                Finding::skip(Check::TLS, subject, "the certificate is not of this time"),
                Finding::skip(
                    Check::TLS_NAME,
                    subject,
                    "the certificate is not of this time",
                ),
                expired(subject, shown),
            ],
            fault => vec![
                Finding::fail(
                    Check::TLS,
                    subject,
                    self.distrust(fault, shown),
                    self.trust_cure(),
                ),
                Finding::skip(Check::TLS_NAME, subject, unknown),
                expiry(subject, leaf),
            ],
        }
    }

    fn distrust(&self, fault: &CertificateError, shown: &[Certificate]) -> String {
        let issuer = shown.last().map_or("?", |last| last.issuer.as_str());
        let trusted = &self.0.trusted;
        match fault {
            CertificateError::UnknownIssuer => format!(
                "the certificate is signed by `{issuer}`, which is not one of the trusted authorities ({trusted})"
            ),
            CertificateError::BadSignature => format!(
                "the certificate names the authority `{issuer}` and is not signed by the one of that name that is trusted"
            ),
            other => format!("the certificate is refused: {other}"),
        }
    }

    fn trust_cure(&self) -> String {
        match &self.0.settings.ca_file {
            Some(path) => format!(
                "put the certificate of that authority into `{}`; if an authority in between is missing, let OpenBao send it along",
                path.display()
            ),
            None => {
                "name a file with the certificate of that authority with --bao-ca-file".to_owned()
            }
        }
    }
}

/// The subjects of the first few.
fn names(authorities: &[CertificateDer<'static>]) -> String {
    let shown = authorities
        .iter()
        .take(3)
        .filter_map(|der| Certificate::read(der));
    let mut text: Vec<String> = shown.map(|one| format!("`{}`", one.subject)).collect();
    if authorities.len() > text.len() {
        text.push(format!("{} more", authorities.len() - text.len()));
    }
    text.join(", ")
}

const NEW_CERTIFICATE: &str =
    "renew the certificate of OpenBao's listener and let it reload (SIGHUP)";

fn expiry(subject: &str, leaf: Option<&Certificate>) -> Finding {
    match leaf {
        Some(leaf) => leaf.expiry(Check::TLS_EXPIRY, subject, NEW_CERTIFICATE),
        None => Finding::skip(Check::TLS_EXPIRY, subject, "the certificate cannot be read"),
    }
}

/// The finding about the one in the chain that is not of this time.
fn expired(subject: &str, shown: &[Certificate]) -> Finding {
    shown
        .iter()
        .map(|one| one.expiry(Check::TLS_EXPIRY, subject, NEW_CERTIFICATE))
        .find(Finding::is_failure)
        .unwrap_or_else(|| {
            let detail = "a certificate that it is signed with is not of this time";
            Finding::fail(Check::TLS_EXPIRY, subject, detail, NEW_CERTIFICATE)
        })
}

/// No handshake at all.
fn broken(subject: &str, cause: Option<&Error>, error: &std::io::Error) -> Finding {
    let (detail, cure) = match cause {
        Some(Error::InvalidMessage(_)) => (
            "the server does not speak TLS there".to_owned(),
            "correct the port, or turn TLS on in OpenBao's listener",
        ),
        Some(Error::PeerIncompatible(reason)) => (
            format!("no common version or cipher: {reason:?}"),
            "let OpenBao's listener speak TLS 1.2 or 1.3 (tls_min_version)",
        ),
        Some(Error::AlertReceived(alert)) => (
            format!("the server broke off with the alert {alert:?}"),
            "check OpenBao's log; does the listener demand a client certificate (--bao-client-cert-file)?",
        ),
        _ => (
            format!("the handshake broke off: {error}"),
            "check the logs of OpenBao and of any proxy in between",
        ),
    };
    Finding::fail(Check::TLS, subject, detail, cure)
}

/// Writes down what is shown, and leaves every decision to the verifier of the plugin.
#[derive(Debug)]
struct Witness {
    verifier: Arc<dyn ServerCertVerifier>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl Witness {
    /// Leaf first.
    fn shown(&self) -> Vec<Certificate> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown
            .iter()
            .filter_map(|der| Certificate::read(der))
            .collect()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = [leaf].into_iter().chain(others);
        let all = all.map(|der| der.clone().into_owned()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = all;
        self.verifier
            .verify_server_cert(leaf, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
