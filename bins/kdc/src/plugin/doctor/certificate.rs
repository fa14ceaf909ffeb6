//! Certificates, as far as an operator wants to know them: whose, from whom, for which names, until when.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::finding::{Check, Finding};
use crate::clock;

/// How long before its end a certificate is worth a warning, in seconds.
const SOON: i64 = 30 * DAY;
const DAY: i64 = 24 * 3_600;

/// What is written in a certificate.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) names: Vec<String>,
    not_before: i64,
    not_after: i64,
}

impl Certificate {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or_else(Vec::new, |names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(shown_name)
                .collect()
        });
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// The finding about its time.
    pub(super) fn expiry(&self, check: Check, subject: &str, cure: &str) -> Finding {
        let now = i64::try_from(clock::now()).unwrap_or(i64::MAX);
        let who = &self.subject;
        let end = date(self.not_after);
        if self.not_after <= now {
            return Finding::fail(
                check,
                subject,
                format_args!("`{who}` expired on {end}"),
                cure,
            );
        }
        if now < self.not_before {
            let begin = date(self.not_before);
            let detail = format_args!(
                "`{who}` is not valid before {begin}; the time here is {}",
                date(now)
            );
            return Finding::fail(
                check,
                subject,
                detail,
                "set the clock of this machine, or wait",
            );
        }
        let days = (self.not_after - now) / DAY;
        if self.not_after - now < SOON {
            let detail = format_args!("`{who}` expires in {days} days, on {end}");
            return Finding::warn(check, subject, detail, cure);
        }
        Finding::pass(check, subject, format_args!("`{who}` is good until {end}"))
    }
}

fn shown_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes {
            [a, b, c, d] => Some(format!("{a}.{b}.{c}.{d}")),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

fn date(seconds: i64) -> String {
    let time = u64::try_from(seconds).ok().and_then(clock::rfc3339);
    time.unwrap_or_else(|| "a time beyond all calendars".to_owned())
}

/// The certificates in a PEM file; empty if it holds none.
pub(super) fn chain(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .map_while(Result::ok)
        .collect()
}

/// The first private key in a PEM file.
pub(super) fn private_key(pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).ok()
}
