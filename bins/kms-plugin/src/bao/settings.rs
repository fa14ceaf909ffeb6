//! What the settings of a key in OpenBao come to, checked as far as that goes without reading a file.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use kdc_envelope_bao::{
    BaoAddress, Client, ClientCertificateFiles, ClientConfig, CredentialError, InvalidAddress,
    InvalidKeyName, InvalidNamespace, LoginMethod, LoginPlace, Namespace, Session, TlsConfig,
    TransitKeyName, TransitOptions,
};

use super::given::{AuthMethod, BaoGiven};
use super::login;
use super::secrecy::looks_secret;

const DEFAULT_MOUNT: &str = "transit";
/// What `--bao-poll-interval` may be.
const POLL_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// What `--bao-hold` may be at most.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3_600);

/// Where a key in OpenBao is, and how it is reached.
#[derive(Debug, Clone)]
pub struct BaoSettings {
    client: ClientConfig,
    login: LoginMethod,
    login_namespace: LoginPlace,
    key: TransitKeyName,
    options: TransitOptions,
}

/// A setting that is missing, bad, or does not go with another one. Names the flag; the names in the file are the same
/// without the dashes. Never repeats what may be a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaoSettingsError {
    /// It must be given.
    #[error("--{setting} is missing: {why}")]
    Missing {
        /// Name of the setting.
        setting: &'static str,
        /// What needs it, and what to do.
        why: &'static str,
    },
    /// It does nothing with this way to log in.
    #[error(
        "--{setting} does nothing with --bao-auth {method}, only with {belongs}; remove it or choose another method"
    )]
    Foreign {
        /// Name of the setting.
        setting: &'static str,
        /// How to log in.
        method: AuthMethod,
        /// The methods that use it.
        belongs: &'static str,
    },
    /// Two settings for one thing.
    #[error("--{one} and --{other} are both given; remove one")]
    Both {
        /// Name of the one.
        one: &'static str,
        /// Name of the other.
        other: &'static str,
    },
    /// An address without TLS.
    #[error(
        "--bao-address {0} would send tokens and keys readable by anybody on the way; use https://, or add --bao-insecure-http if nobody is"
    )]
    Plaintext(String),
    /// A credential itself where the name of a file belongs.
    #[error(
        "--{0} takes the name of a file, and was given what looks like the credential itself; write that into a file of mode 0600, and replace it if this line was logged"
    )]
    Secret(&'static str),
    /// Its value is not usable.
    #[error("--{setting} {problem}")]
    Value {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
    /// An address is not one.
    #[error("--bao-address")]
    Address(#[source] InvalidAddress),
    /// A namespace is not one.
    #[error("--{setting}")]
    Namespace {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong.
        source: InvalidNamespace,
    },
    /// The path by which other tools read the key.
    #[error(
        "--bao-key takes the name of a key, not its path; give `{name}`, and `{mount}` as --bao-mount"
    )]
    KeyPath {
        /// The part before `/keys/`.
        mount: String,
        /// The part behind it.
        name: String,
    },
    /// Mount or key are not what OpenBao takes.
    #[error("--{setting}")]
    Key {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong.
        source: InvalidKeyName,
    },
}

impl BaoGiven {
    /// Checks the settings for sense and completeness, without reading a file.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of `--help`; never empty.
    pub fn resolve(self) -> Result<BaoSettings, Vec<BaoSettingsError>> {
        let mut faults = Vec::new();
        self.check_files(&mut faults);
        let poll_interval = self.bao_poll_interval;
        if poll_interval.is_some_and(|interval| !POLL_INTERVALS.contains(&interval)) {
            faults.push(value("bao-poll-interval", "must be 1s to 1h"));
        }
        let hold = self.bao_hold;
        if hold.is_some_and(|hold| hold > LONGEST_HOLD) {
            faults.push(value("bao-hold", "must be at most 24h"));
        }
        let mut options = TransitOptions::default();
        options.poll_interval = poll_interval.unwrap_or(options.poll_interval);
        options.hold = hold.unwrap_or(options.hold);
        login::check_foreign(&self, &mut faults);
        let login = keep(login::method(&self), &mut faults);
        let login_namespace = keep(
            parse_login_namespace(self.bao_auth_namespace.as_deref()),
            &mut faults,
        );
        let key = keep(
            parse_key(self.bao_mount.as_deref(), self.bao_key.as_deref()),
            &mut faults,
        );
        let client = self.client(&mut faults);
        let settings = client.zip(login).zip(login_namespace).zip(key).map(
            |(((client, login), login_namespace), key)| BaoSettings {
                client,
                login,
                login_namespace,
                key,
                options,
            },
        );
        settings.filter(|_| faults.is_empty()).ok_or(faults)
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
        let mut tls = TlsConfig::default();
        tls.ca_file = self.bao_ca_file.clone();
        tls.client = match (&self.bao_client_cert_file, &self.bao_client_key_file) {
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

impl BaoSettings {
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

    /// Mount and name of the key.
    #[must_use]
    pub fn key_name(&self) -> TransitKeyName {
        self.key.clone()
    }

    /// How the key is used.
    #[must_use]
    pub fn options(&self) -> TransitOptions {
        self.options.clone()
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

/// The value, or its fault among the others.
fn keep<T>(result: Result<T, BaoSettingsError>, faults: &mut Vec<BaoSettingsError>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

pub(super) fn value(
    setting: &'static str,
    problem: impl Into<Cow<'static, str>>,
) -> BaoSettingsError {
    BaoSettingsError::Value {
        setting,
        problem: problem.into(),
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

fn parse_key(mount: Option<&str>, name: Option<&str>) -> Result<TransitKeyName, BaoSettingsError> {
    let name = name.ok_or(BaoSettingsError::Missing {
        setting: "bao-key",
        why: "a key in OpenBao has a name; make one with `bao write -f transit/keys/NAME`",
    })?;
    if let Some((mount, name)) = name.split_once("/keys/") {
        return Err(BaoSettingsError::KeyPath {
            mount: mount.escape_debug().to_string(),
            name: name.escape_debug().to_string(),
        });
    }
    TransitKeyName::new(mount.unwrap_or(DEFAULT_MOUNT), name).map_err(|source| {
        let setting = match source {
            InvalidKeyName::Mount(_) => "bao-mount",
            _ => "bao-key",
        };
        BaoSettingsError::Key { setting, source }
    })
}
