//! The ways to get a token.

use core::time::Duration;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::client::{Client, Method, Operation, Request};
use crate::credential::{self, Privacy, Secret};
use crate::error::{BaoError, CredentialError};

/// How to log in. Credentials are files, and each is read anew at every login.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginMethod {
    /// Kubernetes auth with the token of a ServiceAccount.
    Kubernetes {
        /// Where the method is mounted, such as `kubernetes`.
        mount: String,
        /// The role to log in with.
        role: String,
        /// The projected token.
        token_file: PathBuf,
    },
    /// JWT auth with any signed token.
    Jwt {
        /// Where the method is mounted, such as `jwt`.
        mount: String,
        /// The role to log in with; empty for the default role of the mount.
        role: String,
        /// The token.
        token_file: PathBuf,
    },
    /// AppRole with a role id and a secret id.
    AppRole {
        /// Where the method is mounted, such as `approle`.
        mount: String,
        /// The role id.
        role_id: RoleId,
        /// The secret id, or with `is_wrapped` a wrapping token that holds it.
        secret_id_file: PathBuf,
        /// Whether the file holds a wrapping token, good for one use.
        is_wrapped: bool,
    },
    /// The client certificate of the connection.
    Certificate {
        /// Where the method is mounted, such as `cert`.
        mount: String,
        /// The role to log in with; empty to let the server find one.
        role: String,
    },
    /// A token that was made in advance.
    TokenFile(PathBuf),
}

/// A role id is no secret, but some keep it in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleId {
    /// Itself.
    Value(String),
    /// A file with it.
    File(PathBuf),
}

/// Which files a login was tried with: equal as long as they were not written, replaced, removed or touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credential([Option<Stamp>; 2]);

/// A file as the system shows it; none if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    mode: u32,
    modified: (i64, i64),
}

/// The part of a login's answer that we use.
#[derive(Deserialize)]
pub(super) struct Grant<'a> {
    #[serde(borrow)]
    pub(super) client_token: &'a str,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What a token is good for.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: Secret,
    /// `None` if it lasts for ever, or is not known.
    pub(super) ttl: Option<Duration>,
    pub(super) is_renewable: bool,
}

/// A secret id that came out of a wrapping token, which gives it only once.
#[derive(Debug, Default)]
pub(super) struct Unwrapped(Mutex<Option<(Secret, Arc<Secret>)>>);

#[derive(Serialize)]
struct RoleAndJwt<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    role: &'a str,
    jwt: &'a str,
}

#[derive(Serialize)]
struct RoleAndSecret<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct Name<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

impl LoginMethod {
    /// A short word for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "kubernetes",
            Self::Jwt { .. } => "jwt",
            Self::AppRole { .. } => "approle",
            Self::Certificate { .. } => "cert",
            Self::TokenFile(_) => "token",
        }
    }

    /// Where it is mounted; `token` for a token file.
    #[must_use]
    pub fn mount(&self) -> &str {
        match self {
            Self::Kubernetes { mount, .. }
            | Self::Jwt { mount, .. }
            | Self::AppRole { mount, .. }
            | Self::Certificate { mount, .. } => mount,
            Self::TokenFile(_) => "token",
        }
    }

    /// The role, or `-`.
    #[must_use]
    pub fn role(&self) -> &str {
        let role = match self {
            Self::Kubernetes { role, .. }
            | Self::Jwt { role, .. }
            | Self::Certificate { role, .. } => role,
            Self::AppRole {
                role_id: RoleId::Value(id),
                ..
            } => id,
            Self::AppRole { .. } | Self::TokenFile(_) => "-",
        };
        if role.is_empty() { "-" } else { role }
    }

    /// Checks that the files are there and not open to others, without sending anything.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub fn check_files(&self) -> Result<(), CredentialError> {
        match self {
            Self::Kubernetes { token_file, .. } | Self::Jwt { token_file, .. } => {
                credential::read_word(JWT, token_file, Privacy::Any).map(drop)
            }
            Self::AppRole {
                role_id,
                secret_id_file,
                is_wrapped,
                ..
            } => {
                role_id.read()?;
                credential::read_word(secret_kind(*is_wrapped), secret_id_file, Privacy::Private)
                    .map(drop)
            }
            Self::Certificate { .. } => Ok(()),
            Self::TokenFile(path) => credential::read_word(TOKEN, path, Privacy::Private).map(drop),
        }
    }

    /// Whether OpenBao locks the role out after several refusals (`user_lockout_config`; of what we use, AppRole alone).
    pub(super) const fn may_lock_out(&self) -> bool {
        matches!(self, Self::AppRole { .. })
    }

    /// What the files are like now, without reading them.
    pub(super) fn credential(&self) -> Credential {
        Credential(match self {
            Self::Kubernetes { token_file, .. } | Self::Jwt { token_file, .. } => {
                [Stamp::of(token_file), None]
            }
            Self::AppRole {
                role_id,
                secret_id_file,
                ..
            } => {
                let role_id = match role_id {
                    RoleId::Value(_) => None,
                    RoleId::File(path) => Stamp::of(path),
                };
                [role_id, Stamp::of(secret_id_file)]
            }
            // Its files are those of the client, which says when it took others.
            Self::Certificate { .. } => [None, None],
            Self::TokenFile(path) => [Stamp::of(path), None],
        })
    }

    /// Gets a token.
    pub(super) async fn log_in(
        &self,
        client: &Client,
        unwrapped: &Unwrapped,
    ) -> Result<Granted, BaoError> {
        match self {
            Self::Kubernetes {
                role, token_file, ..
            }
            | Self::Jwt {
                role, token_file, ..
            } => {
                let jwt = credential::read_word(JWT, token_file, Privacy::Any)?;
                let jwt = jwt.expose();
                self.ask(client, &RoleAndJwt { role, jwt }).await
            }
            Self::AppRole {
                role_id,
                secret_id_file,
                is_wrapped,
                ..
            } => {
                let role_id = role_id.read()?;
                let file = credential::read_word(
                    secret_kind(*is_wrapped),
                    secret_id_file,
                    Privacy::Private,
                )?;
                let secret_id = match is_wrapped {
                    true => unwrapped.of(client, secret_id_file, file).await?,
                    false => Arc::new(file),
                };
                let (role_id, secret_id) = (role_id.expose(), secret_id.expose());
                self.ask(client, &RoleAndSecret { role_id, secret_id })
                    .await
            }
            Self::Certificate { role, .. } => self.ask(client, &Name { name: role }).await,
            Self::TokenFile(path) => self.adopt(client, path).await,
        }
    }

    async fn ask(&self, client: &Client, body: &impl Serialize) -> Result<Granted, BaoError> {
        let path = format!("auth/{}/login", self.mount());
        let request = Request::new(Operation::Login, Method::Post, &path).json(body);
        let answer = client
            .send(&request)
            .await
            .map_err(|error| self.refused(error))?;
        let grant: Grant<'_> = answer.auth()?;
        let is_token =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token(grant.client_token) {
            return Err(self.refused(BaoError::Rejected {
                status: answer.status(),
                place: client.place(path.into(), client.namespace()),
                message: "it gave no token; does it ask for a second factor?".to_owned(),
            }));
        }
        Ok(Granted {
            token: Secret::from(grant.client_token),
            ttl: seconds(grant.lease_duration),
            is_renewable: grant.renewable,
        })
    }

    /// Takes the token of a file and learns what it is good for, as far as its policies let it ask.
    async fn adopt(&self, client: &Client, path: &Path) -> Result<Granted, BaoError> {
        #[derive(Deserialize)]
        struct Lookup {
            ttl: u64,
            #[serde(default)]
            renewable: bool,
        }
        let token = credential::read_word(TOKEN, path, Privacy::Private)?;
        let request = Request::new(Operation::Token, Method::Get, "auth/token/lookup-self");
        let (ttl, is_renewable) = match client.send(&request.token(&token)).await {
            Ok(answer) => {
                let lookup: Lookup = answer.data()?;
                (seconds(lookup.ttl), lookup.renewable)
            }
            // Its policies do not let it ask. It may still be renewable.
            Err(BaoError::Forbidden { .. }) => (None, false),
            Err(error) => return Err(self.refused(error)),
        };
        Ok(Granted {
            token,
            ttl,
            is_renewable,
        })
    }

    /// A login that succeeds, and gives tokens that are of no use.
    pub(super) fn token_refused(&self) -> BaoError {
        BaoError::TokenRefused {
            mount: self.mount().into(),
            role: self.role().into(),
        }
    }

    /// A refusal in the words that operators look for.
    fn refused(&self, error: BaoError) -> BaoError {
        let (status, message) = match error {
            BaoError::Unauthenticated { message, .. } => (403, message),
            BaoError::Forbidden { .. } => (403, "permission denied by policy".to_owned()),
            BaoError::NotFound { message, .. } => {
                (404, format!("no such auth method or role{message}"))
            }
            BaoError::Rejected {
                status, message, ..
            } => (status, message),
            other => return other,
        };
        BaoError::LoginRefused {
            mount: self.mount().into(),
            role: self.role().into(),
            status,
            message,
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            len: metadata.len(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl RoleId {
    fn read(&self) -> Result<Secret, CredentialError> {
        match self {
            Self::Value(id) => Ok(Secret::from(id.as_str())),
            Self::File(path) => credential::read_word("role id", path, Privacy::Any),
        }
    }
}

impl Unwrapped {
    /// The secret id behind a wrapping token: remembered while the file holds the same token.
    async fn of(
        &self,
        client: &Client,
        path: &Path,
        wrapping: Secret,
    ) -> Result<Arc<Secret>, BaoError> {
        #[derive(Deserialize)]
        struct Held<'a> {
            #[serde(borrow)]
            secret_id: &'a str,
        }
        if let Some((token, secret_id)) = &*self.lock()
            && token.expose() == wrapping.expose()
        {
            return Ok(Arc::clone(secret_id));
        }
        let request = Request::new(Operation::Login, Method::Post, "sys/wrapping/unwrap")
            .body(Zeroizing::new(b"{}".to_vec()))
            .once()
            .token(&wrapping);
        let answer = client.send(&request).await.map_err(|error| match error {
            BaoError::Unauthenticated { .. }
            | BaoError::Forbidden { .. }
            | BaoError::Rejected { .. } => CredentialError::WrappingTokenUsed {
                path: path.display().to_string().escape_debug().to_string().into(),
            }
            .into(),
            other => other,
        })?;
        let held: Held<'_> = answer.data()?;
        let secret_id = Arc::new(Secret::from(held.secret_id));
        *self.lock() = Some((wrapping, Arc::clone(&secret_id)));
        Ok(secret_id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Secret, Arc<Secret>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Zero means without end. More than [`LONGEST_TTL`] is taken for that, so that one can calculate with it.
pub(crate) fn seconds(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds).min(LONGEST_TTL))
}

/// The longest that OpenBao itself can give (its durations are nanoseconds in 63 bits), in round figures.
const LONGEST_TTL: Duration = Duration::from_secs(290 * 365 * 24 * 3_600);

const fn secret_kind(is_wrapped: bool) -> &'static str {
    if is_wrapped {
        "wrapped secret id"
    } else {
        "secret id"
    }
}

const JWT: &str = "service account token";
pub(super) const TOKEN: &str = "token";
