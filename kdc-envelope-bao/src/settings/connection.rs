//! How OpenBao is reached and logged in to, checked as far as that goes without reading a file.

use std::path::Path;

use super::args::{AuthMethod, ConnectionArgs};
use super::error::{BaoSettingsError, keep, value};
use super::login;
use super::secrecy::looks_secret;
use crate::client::{
    BaoAddress, Client, ClientCertificateFiles, ClientConfig, Namespace, TlsConfig,
};
use crate::error::CredentialError;
use crate::login::{LoginMethod, LoginPlace, Session};

/// How OpenBao is reached, and how to log in there.
#[derive(Debug, Clone)]
pub struct BaoConnection {
    client: ClientConfig,
    login: LoginMethod,
    login_namespace: LoginPlace,
}

impl ConnectionArgs {
    /// Checks the settings for sense and completeness, without reading a file.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of `--help`; never empty.
    pub fn resolve(self) -> Result<BaoConnection, Vec<BaoSettingsError>> {
        let mut faults = Vec::new();
        self.check_files(&mut faults);
        login::check_foreign(&self, &mut faults);
        let login = keep(login::method(&self), &mut faults);
        let login_namespace = keep(
            parse_login_namespace(self.bao_auth_namespace.as_deref()),
            &mut faults,
        );
        let client = self.client(&mut faults);
        let connection =
            client
                .zip(login)
                .zip(login_namespace)
                .map(|((client, login), login_namespace)| BaoConnection {
                    client,
                    login,
                    login_namespace,
                });
        connection.filter(|_| faults.is_empty()).ok_or(faults)
    }

    fn client(&self, faults: &mut Vec<BaoSettingsError>) -> Option<ClientConfig> {
        let config = self
            .addresses()
            .and_then(|all| ClientConfig::new(all).map_err(BaoSettingsError::Address));
        let namespace = keep(parse_namespace(self.bao_namespace.as_deref()), faults);
        let tls = keep(self.tls(), faults);
        let redirect_hosts = keep(self.redirect_hosts(), faults);
        let mut config = keep(config, faults)?;
        config.namespace = namespace?;
        config.tls = tls?;
        config.redirect_hosts = redirect_hosts?;
        Some(config)
    }

    fn addresses(&self) -> Result<Vec<BaoAddress>, BaoSettingsError> {
        let is_plaintext_allowed = self.bao_insecure_http == Some(true);
        let given = self.bao_address.as_deref().unwrap_or_default();
        if given.is_empty() {
            return Err(BaoSettingsError::Missing {
                setting: "bao-address",
                why: "a key in OpenBao needs at least one address, such as https://openbao.example.com:8200",
            });
        }
        let mut all = Vec::new();
        for address in given {
            let address = address.address().map_err(BaoSettingsError::Address)?;
            if address.is_plaintext() && !is_plaintext_allowed {
                return Err(BaoSettingsError::Plaintext(address.to_string()));
            }
            if all.contains(&address) {
                return Err(value(
                    "bao-address",
                    format!("names {address} twice; remove one"),
                ));
            }
            if address.is_plaintext() && self.bao_auth == Some(AuthMethod::Cert) {
                return Err(value(
                    "bao-auth",
                    "cert logs in with the certificate of TLS; use https:// addresses",
                ));
            }
            all.push(address);
        }
        Ok(all)
    }

    fn tls(&self) -> Result<TlsConfig, BaoSettingsError> {
        let client = match (&self.bao_client_cert_file, &self.bao_client_key_file) {
            (Some(certificate), Some(key)) => Some(ClientCertificateFiles::new(
                certificate.clone(),
                key.clone(),
            )),
            (None, None) => None,
            (Some(_), None) => {
                return Err(BaoSettingsError::Missing {
                    setting: "bao-client-key-file",
                    why: "a client certificate needs its private key",
                });
            }
            (None, Some(_)) => {
                return Err(BaoSettingsError::Missing {
                    setting: "bao-client-cert-file",
                    why: "a client key needs its certificate",
                });
            }
        };
        let mut tls = TlsConfig {
            ca_file: self.bao_ca_file.clone(),
            client,
            ..TlsConfig::default()
        };
        if let Some(name) = &self.bao_server_name {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_name) {
                return Err(value("bao-server-name", "is not the name of a host"));
            }
            tls.server_name = Some(name.clone());
        }
        Ok(tls)
    }

    fn redirect_hosts(&self) -> Result<Vec<String>, BaoSettingsError> {
        let given = self.bao_redirect_host.iter().flatten();
        given
            .map(|host| {
                let is_host_and_port = host.rsplit_once(':').is_some_and(|(name, port)| {
                    !name.is_empty()
                        && !name.contains(['/', '@', ' '])
                        && port.parse::<u16>().is_ok()
                });
                is_host_and_port
                    .then(|| host.to_ascii_lowercase())
                    .ok_or_else(|| {
                        value(
                            "bao-redirect-host",
                            "must be HOST:PORT, such as openbao-1.example.com:8200",
                        )
                    })
            })
            .collect()
    }

    fn check_files(&self, faults: &mut Vec<BaoSettingsError>) {
        for (setting, path) in self.files() {
            let is_secret = path.and_then(Path::to_str).is_some_and(looks_secret);
            let is_empty = path.is_some_and(|path| path.as_os_str().is_empty());
            if is_secret {
                faults.push(BaoSettingsError::Secret(setting));
            } else if is_empty {
                faults.push(value(setting, "names no file"));
            }
        }
    }

    fn files(&self) -> [(&'static str, Option<&Path>); 7] {
        [
            ("bao-jwt-file", &self.bao_jwt_file),
            ("bao-role-id-file", &self.bao_role_id_file),
            ("bao-secret-id-file", &self.bao_secret_id_file),
            ("bao-token-file", &self.bao_token_file),
            ("bao-ca-file", &self.bao_ca_file),
            ("bao-client-cert-file", &self.bao_client_cert_file),
            ("bao-client-key-file", &self.bao_client_key_file),
        ]
        .map(|(setting, path)| (setting, path.as_deref()))
    }
}

impl BaoConnection {
    /// How to reach OpenBao.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        self.client.clone()
    }

    /// How to log in.
    #[must_use]
    pub fn login_method(&self) -> LoginMethod {
        self.login.clone()
    }

    /// The namespace of the auth method.
    #[must_use]
    pub fn login_namespace(&self) -> LoginPlace {
        self.login_namespace.clone()
    }

    /// A session with all of this. Reads certificates, and sends nothing.
    ///
    /// # Errors
    /// [`CredentialError`] if a certificate file cannot be used.
    pub fn session(&self) -> Result<Session, CredentialError> {
        let client = Client::new(self.client_config())?;
        Ok(Session::new(
            client,
            self.login_method(),
            self.login_namespace(),
        ))
    }
}

/// The namespace of the Transit engine. By its name, the root namespace is none.
fn parse_namespace(text: Option<&str>) -> Result<Option<Namespace>, BaoSettingsError> {
    let text = text.filter(|text| !is_root(text));
    text.map(|text| namespace("bao-namespace", text))
        .transpose()
}

fn parse_login_namespace(text: Option<&str>) -> Result<LoginPlace, BaoSettingsError> {
    match text {
        None => Ok(LoginPlace::Same),
        Some(text) if is_root(text) => Ok(LoginPlace::Root),
        Some(text) => namespace("bao-auth-namespace", text).map(LoginPlace::Namespace),
    }
}

fn is_root(text: &str) -> bool {
    text.strip_suffix('/').unwrap_or(text) == "root"
}

fn namespace(setting: &'static str, text: &str) -> Result<Namespace, BaoSettingsError> {
    text.parse()
        .map_err(|source| BaoSettingsError::Namespace { setting, source })
}
