//! The files that the settings name, before anybody is asked anything.

use std::fmt::Display;
use std::io;
use std::path::Path;

use kdc_envelope_bao::{
    BaoAddress, Client, ClientCertificateFiles, ClientConfig, CredentialError, LoginMethod, RoleId,
    TlsConfig,
};
use kdc_shared::plugin::FileSource;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::certificate::{self, Certificate};
use super::finding::{Check, Finding, Findings, Outcome};
use super::jwt::Claims;
use super::tls::Prober;

/// What was in the TLS files.
#[derive(Debug)]
pub(super) struct TlsFiles {
    /// Of the CA file; `None` for the authorities of the system.
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
    pub(super) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// A key in a file instead of OpenBao.
pub(super) fn check_key_file(source: &FileSource, findings: &mut Findings<'_>) {
    let path = source.path().display();
    findings.add(match source.load() {
        Ok(_) => Finding::pass(
            Check::KEY_FILE,
            path,
            "a key on this machine; OpenBao is not asked",
        ),
        Err(error) => {
            let cure = "make one with `kdc keyring init`, or correct the path";
            Finding::of_error(Check::KEY_FILE, path, &error, cure)
        }
    });
}

/// The files to log in with; the claims of a JWT, if there is one. `Err` if no login is worth trying.
pub(super) fn check_login(
    method: &LoginMethod,
    findings: &mut Findings<'_>,
) -> Result<Option<Claims>, ()> {
    let subject = login_files(method);
    if let Err(error) = method.check_files() {
        findings.add(of_credential(Check::LOGIN_FILES, subject, &error));
        return Err(());
    }
    let detail = match method {
        LoginMethod::Certificate { .. } => "the client certificate logs in",
        LoginMethod::Kubernetes { .. } | LoginMethod::Jwt { .. } => "can be read",
        _ => "can be read, and not by others",
    };
    findings.add(Finding::pass(Check::LOGIN_FILES, subject, detail));
    let (LoginMethod::Kubernetes { token_file, .. } | LoginMethod::Jwt { token_file, .. }) = method
    else {
        return Ok(None);
    };
    match Claims::read(token_file) {
        Ok(claims) => {
            findings.add(claims.finding(token_file));
            Ok(Some(claims))
        }
        Err(finding) => {
            findings.add(finding);
            Err(())
        }
    }
}

fn login_files(method: &LoginMethod) -> String {
    match method {
        LoginMethod::Kubernetes { token_file, .. } | LoginMethod::Jwt { token_file, .. } => {
            token_file.display().to_string()
        }
        LoginMethod::AppRole {
            role_id,
            secret_id_file,
            ..
        } => match role_id {
            RoleId::File(file) => format!("{}, {}", file.display(), secret_id_file.display()),
            _ => secret_id_file.display().to_string(),
        },
        LoginMethod::TokenFile(file) => file.display().to_string(),
        _ => "none".to_owned(),
    }
}

/// The files for TLS, as one who can shake hands with them, if any address needs that. `Err` if no connection can be made with them.
pub(super) fn check_tls(
    config: &ClientConfig,
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
            rustls::Error::InconsistentKeys(_) => (
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

/// A finding about a credential, with a cure that fits.
pub(super) fn of_credential(
    check: Check,
    subject: impl Display,
    error: &CredentialError,
) -> Finding {
    let cure = match error {
        CredentialError::Read { source, .. } => cure_of_read(source),
        CredentialError::Empty { .. } => "write the credential into it",
        CredentialError::Tls { .. } => {
            "see whether certificate, key and authorities belong together"
        }
        _ => "replace its content",
    };
    Finding::of_error(check, subject, error, cure)
}

fn cure_of_read(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create it, or correct the setting that names it",
        io::ErrorKind::PermissionDenied => {
            "let the user of kms-plugin read it; run this command as that user"
        }
        _ => "make it a regular file",
    }
}
