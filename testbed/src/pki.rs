//! Keys and certificates of the servers: one authority and one token for each
//! test process, so that several API servers on one etcd accept each other.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// Files of one TLS party: the authority it trusts, its certificate and key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsFiles {
    /// PEM certificate of the authority.
    pub ca: PathBuf,
    /// PEM certificate of the party, good for servers on 127.0.0.1 and for clients.
    pub cert: PathBuf,
    /// PEM private key of the party, mode 0600.
    pub key: PathBuf,
}

/// What all servers of this process share.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) ca_pem: String,
    service_account: KeyPair,
    pub(crate) token: String,
}

/// The authority of this process.
pub(crate) fn authority() -> Result<&'static Authority, Error> {
    static AUTHORITY: OnceLock<Result<Authority, rcgen::Error>> = OnceLock::new();
    AUTHORITY
        .get_or_init(Authority::generate)
        .as_ref()
        .map_err(|error| Error::Certificate(error.to_string()))
}

/// An authority that is in no trust store yet.
pub(crate) fn other_authority() -> Result<Authority, Error> {
    Authority::generate().map_err(|error| Error::Certificate(error.to_string()))
}

impl Authority {
    fn generate() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kdc-testbed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            ca_pem,
            service_account: KeyPair::generate()?,
            token: random_token().map_err(|_| rcgen::Error::RingUnspecified)?,
        })
    }

    /// Writes `NAME.crt`, `NAME.key` and `ca.crt` into `folder`.
    pub(crate) fn write_party(&self, folder: &Path, name: &str) -> Result<TlsFiles, Error> {
        self.write_party_of(folder, name, None, &[])
    }

    /// [`Self::write_party`] with an organization, which Kubernetes takes for a group, and with further names and addresses of a server.
    pub(crate) fn write_party_of(
        &self,
        folder: &Path,
        name: &str,
        organization: Option<&str>,
        names: &[String],
    ) -> Result<TlsFiles, Error> {
        let certificate_error = |error: rcgen::Error| Error::Certificate(error.to_string());
        let mut all_names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        all_names.extend_from_slice(names);
        let mut params = CertificateParams::new(all_names).map_err(certificate_error)?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organization) = organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        // etcd's own HTTP gateway is a client with the server's certificate.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(certificate_error)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(certificate_error)?;
        let files = TlsFiles {
            ca: folder.join("ca.crt"),
            cert: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        write_private(&files.ca, &self.ca_pem)?;
        write_private(&files.cert, &certificate.pem())?;
        write_private(&files.key, &key.serialize_pem())?;
        Ok(files)
    }

    /// Writes the key pair that signs service-account tokens; gives the files
    /// of the private and of the public key.
    pub(crate) fn write_service_account(&self, folder: &Path) -> Result<(PathBuf, PathBuf), Error> {
        let (private, public) = (
            folder.join("service-account.key"),
            folder.join("service-account.pub"),
        );
        write_private(&private, &self.service_account.serialize_pem())?;
        write_private(&public, &self.service_account.public_key_pem())?;
        Ok((private, public))
    }
}

/// The server side of TLS for servers of this process.
pub(crate) fn tls_acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Error> {
    let certificate_error = |error: &dyn std::error::Error| Error::Certificate(error.to_string());
    let open = |path: &Path| {
        let file = File::open(path).map_err(Error::file("open", path))?;
        Ok::<_, Error>(BufReader::new(file))
    };
    let certificates = CertificateDer::pem_reader_iter(open(&files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| certificate_error(&error))?;
    let key = PrivateKeyDer::from_pem_reader(open(&files.key)?)
        .map_err(|error| certificate_error(&error))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| certificate_error(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A token that cannot be guessed.
pub(crate) fn random_token() -> Result<String, Error> {
    let mut token = [0; 16];
    getrandom::fill(&mut token).map_err(|error| Error::Certificate(error.to_string()))?;
    Ok(hex::encode(token))
}

/// Writes a file of mode 0600.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(Error::file("write", path))
}
