//! The files with keys and credentials that the settings name, before anything is sent.

use std::fmt::Display;
use std::io;

use kdc_envelope_bao::{CredentialError, LoginMethod, RoleId};
use kdc_shared::plugin::FileSource;

use super::finding::{Check, Finding, Findings};
use super::jwt::Claims;

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

pub(super) fn cure_of_read(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create it, or correct the setting that names it",
        io::ErrorKind::PermissionDenied => {
            "let the user of kms-plugin read it; run this command as that user"
        }
        _ => "make it a regular file",
    }
}
