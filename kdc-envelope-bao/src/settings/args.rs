//! Flags of OpenBao and of a key in it, and their names in a file; the environment variables come with
//! [`FromEnvironment`](super::FromEnvironment).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::secrecy::looks_secret;
use super::section::{Section, duration, list, parsed, path, plain, section, time};
use crate::client::{BaoAddress, InvalidAddress};

/// How OpenBao is reached, with each setting given or not. Credentials are always files.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[non_exhaustive]
pub struct ConnectionArgs {
    /// Address of OpenBao, such as `https://openbao.example.com:8200`; several for one that is highly available.
    #[arg(long, value_name = "URL", value_delimiter = ',', help_heading = BAO)]
    pub bao_address: Option<Vec<AddressGiven>>,

    /// Namespace of the Transit engine, such as org/project [default: none]
    #[arg(long, value_name = "PATH", help_heading = BAO)]
    pub bao_namespace: Option<String>,

    /// How to log in [default: kubernetes]
    #[arg(long, value_name = "METHOD", help_heading = LOGIN)]
    pub bao_auth: Option<AuthMethod>,

    /// Where the auth method is mounted [default: k8s-host for kubernetes, otherwise the name of the method]
    #[arg(long, value_name = "PATH", help_heading = LOGIN)]
    pub bao_auth_mount: Option<String>,

    /// Namespace of the auth method, or `root` [default: that of the Transit engine]
    #[arg(long, value_name = "PATH", help_heading = LOGIN)]
    pub bao_auth_namespace: Option<String>,

    /// Role to log in with, for kubernetes, jwt and cert.
    #[arg(long, value_name = "NAME", help_heading = LOGIN)]
    pub bao_role: Option<String>,

    /// File with the token of a service account (kubernetes) or another signed token (jwt); read at every login.
    /// [default for kubernetes: /var/run/secrets/tokens/openbao, a projected token of audience `openbao`]
    #[arg(long, value_name = "FILE", help_heading = LOGIN)]
    pub bao_jwt_file: Option<PathBuf>,

    /// Role id, for approle.
    #[arg(long, value_name = "ID", help_heading = LOGIN)]
    pub bao_role_id: Option<String>,

    /// File with the role id, for approle.
    #[arg(long, value_name = "FILE", help_heading = LOGIN)]
    pub bao_role_id_file: Option<PathBuf>,

    /// File with the secret id, for approle; read at every login.
    #[arg(long, value_name = "FILE", help_heading = LOGIN)]
    pub bao_secret_id_file: Option<PathBuf>,

    /// The file holds a wrapping token with the secret id in it, good for one use.
    #[arg(long, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = LOGIN)]
    pub bao_secret_id_wrapped: Option<bool>,

    /// File with a token, for token; read again when it changes.
    #[arg(long, value_name = "FILE", help_heading = LOGIN)]
    pub bao_token_file: Option<PathBuf>,

    /// PEM certificates of the authorities to trust instead of those of the system; followed when it changes.
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub bao_ca_file: Option<PathBuf>,

    /// Name that the server's certificate must have, if it is not the host of the address.
    #[arg(long, value_name = "NAME", help_heading = CONNECTION)]
    pub bao_server_name: Option<String>,

    /// PEM client certificate; what cert logs in with.
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub bao_client_cert_file: Option<PathBuf>,

    /// PEM private key of the client certificate.
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub bao_client_key_file: Option<PathBuf>,

    /// Allow http:// addresses, over which tokens and keys are readable on the way.
    #[arg(long, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = CONNECTION)]
    pub bao_insecure_http: Option<bool>,

    /// HOST:PORT to which a standby may redirect, beside the addresses themselves.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', help_heading = CONNECTION)]
    pub bao_redirect_host: Option<Vec<String>>,
}

/// Which Transit key, with each setting given or not.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[non_exhaustive]
pub struct KeyArgs {
    /// Name of the Transit key that wraps.
    #[arg(long, value_name = "NAME", help_heading = BAO)]
    pub bao_key: Option<String>,

    /// Where the Transit engine is mounted [default: transit]
    #[arg(long, value_name = "PATH", help_heading = BAO)]
    pub bao_mount: Option<String>,
}

/// How the versions of a Transit key are followed, with each setting given or not.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[non_exhaustive]
pub struct RotationArgs {
    /// How often the key is read, to follow its rotation: 1s to 1h [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = BAO)]
    pub bao_poll_interval: Option<Duration>,

    /// How old a new version of the key must be before it wraps: longer than it takes all replicas to see it, at
    /// most 24h [default: 7m]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = BAO)]
    pub bao_hold: Option<Duration>,
}

/// A Transit key and how it is followed, with each setting given or not.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[non_exhaustive]
pub struct TransitArgs {
    /// Which key.
    #[command(flatten)]
    pub key: KeyArgs,
    /// How it is followed.
    #[command(flatten)]
    pub rotation: RotationArgs,
}

section!(ConnectionArgs {
    bao_address: "bao-address" by list,
    bao_namespace: "bao-namespace" by plain,
    bao_auth: "bao-auth" by parsed,
    bao_auth_mount: "bao-auth-mount" by plain,
    bao_auth_namespace: "bao-auth-namespace" by plain,
    bao_role: "bao-role" by plain,
    bao_jwt_file: "bao-jwt-file" by path,
    bao_role_id: "bao-role-id" by plain,
    bao_role_id_file: "bao-role-id-file" by path,
    bao_secret_id_file: "bao-secret-id-file" by path,
    bao_secret_id_wrapped: "bao-secret-id-wrapped" by plain,
    bao_token_file: "bao-token-file" by path,
    bao_ca_file: "bao-ca-file" by path,
    bao_server_name: "bao-server-name" by plain,
    bao_client_cert_file: "bao-client-cert-file" by path,
    bao_client_key_file: "bao-client-key-file" by path,
    bao_insecure_http: "bao-insecure-http" by plain,
    bao_redirect_host: "bao-redirect-host" by list,
});

section!(KeyArgs {
    bao_key: "bao-key" by plain,
    bao_mount: "bao-mount" by plain,
});

section!(RotationArgs {
    bao_poll_interval: "bao-poll-interval" by time,
    bao_hold: "bao-hold" by time,
});

impl Section for TransitArgs {
    fn set<'de, A: serde::de::MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        Ok(self.key.set(name, map)? || self.rotation.set(name, map)?)
    }

    fn merge_over(self, lower: Self) -> Self {
        Self {
            key: self.key.merge_over(lower.key),
            rotation: self.rotation.merge_over(lower.rotation),
        }
    }

    fn first_given(&self) -> Option<&'static str> {
        self.key
            .first_given()
            .or_else(|| self.rotation.first_given())
    }
}

/// The ways to log in to OpenBao.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The token of a Kubernetes ServiceAccount.
    #[default]
    Kubernetes,
    /// Any signed token that the mount trusts.
    Jwt,
    /// Role id and secret id.
    Approle,
    /// The client certificate of the connection.
    Cert,
    /// A token in a file, made in advance.
    Token,
}

impl AuthMethod {
    /// Its name, as it is given.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Jwt => "jwt",
            Self::Approle => "approle",
            Self::Cert => "cert",
            Self::Token => "token",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuthMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ValueEnum::from_str(text, false).map_err(|_| {
            // Without the text, which may be a credential in the wrong place.
            "bao-auth is kubernetes, jwt, approle, cert or token".to_owned()
        })
    }
}

/// An address of OpenBao, or what is wrong with it. A text with a password in it is not kept, so that no message shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressGiven(Result<BaoAddress, InvalidAddress>);

impl AddressGiven {
    /// The address, or the fault.
    ///
    /// # Errors
    /// [`InvalidAddress`]
    pub fn address(&self) -> Result<BaoAddress, InvalidAddress> {
        self.0.clone()
    }
}

impl FromStr for AddressGiven {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if looks_secret(text) || text.contains('@') {
            return Ok(Self(Err(InvalidAddress::UserInfo)));
        }
        // Queries of other tools carry tokens.
        let query = text.find(['?', '#']);
        let address = match query.and_then(|at| text.get(..at)) {
            Some(before) if before.parse::<BaoAddress>().is_ok() => {
                Err(InvalidAddress::Query(before.escape_debug().to_string()))
            }
            Some(before) => before.parse(),
            None => text.parse(),
        };
        Ok(Self(address))
    }
}

const BAO: &str = "Key in OpenBao";
const LOGIN: &str = "Login to OpenBao";
const CONNECTION: &str = "Connection to OpenBao";
