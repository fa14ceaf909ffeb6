//! Questions of a tool that explains rather than wraps: what the token is and may do, how the key looks, whether one encryption
//! and one decryption work. A [`TransitKek`](crate::TransitKek) asks none of them.
//!
//! Nothing here changes a key, a policy or a login; [`renew`] prolongs the token, as every use of one does.

use core::time::Duration;
use std::collections::BTreeMap;
use std::path::Path;

use kdc_envelope::SecretBytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::client::{Method, Operation, Request, or_default};
use crate::credential::{self, Privacy, Secret};
use crate::error::{BaoError, CredentialError};
use crate::login::{LoginMethod, Session, seconds};
use crate::transit::{Single, TransitKey, TransitKeyName};

/// What a token says about itself; never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// The names of its policies, those of its identity too. One that does not exist grants nothing.
    pub policies: Vec<String>,
    /// How long it is still good; `None` for ever.
    pub ttl: Option<Duration>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The age beyond which no renewal reaches; `None` if only the server's own limit counts.
    pub explicit_max_ttl: Option<Duration>,
    /// What each renewal gives, for ever, if it is periodic.
    pub period: Option<Duration>,
    /// Whether it can be renewed.
    pub is_renewable: bool,
    /// Whether it is a batch token: neither stored nor renewable nor revocable.
    pub is_batch: bool,
    /// How many requests are left after this one; `None` if they are not counted.
    pub uses_left: Option<u64>,
}

/// A secret id in a wrapping token that is not opened yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct WrappedSecretId {
    /// The path that gave it, such as `auth/approle/role/NAME/secret-id`. Anything else is not from OpenBao's AppRole.
    pub creation_path: String,
    /// When it was wrapped (RFC 3339).
    pub creation_time: String,
    /// How long it could be opened from then on, in seconds.
    pub creation_ttl: u64,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(default, deserialize_with = "or_default")]
    policies: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    identity_policies: Vec<String>,
    ttl: u64,
    #[serde(default)]
    expire_time: Option<IgnoredAny>,
    #[serde(default)]
    creation_time: u64,
    #[serde(default)]
    explicit_max_ttl: u64,
    #[serde(default)]
    period: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    num_uses: u64,
    #[serde(default, rename = "type")]
    kind: String,
}

/// Looks the token of `session` up, which `read` on `auth/token/lookup-self` allows.
///
/// # Errors
/// [`BaoError`]
pub async fn token(session: &Session) -> Result<TokenInfo, BaoError> {
    let request = Request::new(Operation::Token, Method::Get, "auth/token/lookup-self")
        .in_namespace(session.login_client().namespace());
    let found: Lookup = session.send(request).await?.data()?;
    let mut policies = found.policies;
    policies.extend(found.identity_policies);
    Ok(TokenInfo {
        policies,
        ttl: found
            .expire_time
            .map(|_| seconds(found.ttl).unwrap_or_default()),
        created: found.creation_time,
        explicit_max_ttl: seconds(found.explicit_max_ttl),
        period: seconds(found.period),
        is_renewable: found.renewable,
        is_batch: found.kind == "batch",
        uses_left: (found.num_uses > 0).then_some(found.num_uses),
    })
}

/// Renews the token of `session`, which `update` on `auth/token/renew-self` allows.
///
/// # Errors
/// [`BaoError::Forbidden`] without the right; [`BaoError::Rejected`] with it, for a token that is not renewable.
pub async fn renew(session: &Session) -> Result<(), BaoError> {
    let request = Request::new(Operation::Token, Method::Post, "auth/token/renew-self")
        .body(Zeroizing::new(b"{}".to_vec()))
        .in_namespace(session.login_client().namespace());
    session.send(request).await.map(drop)
}

/// What the token of `session` may do with each of `paths`, in the words of policies: `update`, `read`, `deny`, `root`. Paths of the token
/// itself, `auth/token/...`, are those of the namespace of the login, all others of that of the client.
///
/// # Errors
/// [`BaoError::Forbidden`] if the token must not even ask, as without the policy `default`, which grants `update` on
/// `sys/capabilities-self`.
pub async fn capabilities(
    session: &Session,
    paths: &[String],
) -> Result<BTreeMap<String, Vec<String>>, BaoError> {
    #[derive(Serialize)]
    struct Asked<'a> {
        paths: Vec<&'a str>,
    }
    let here = session.client().namespace();
    let home = session.login_client().namespace();
    let is_own = |path: &&str| path.starts_with("auth/token/");
    let all = || paths.iter().map(String::as_str);
    let groups = match here == home {
        true => vec![(here, all().collect())],
        false => vec![
            (here, all().filter(|path| !is_own(path)).collect()),
            (home, all().filter(is_own).collect::<Vec<_>>()),
        ],
    };
    let mut found = BTreeMap::new();
    for (namespace, paths) in groups {
        let request = Request::new(Operation::Token, Method::Post, "sys/capabilities-self")
            .json(&Asked { paths })
            .in_namespace(namespace);
        let answer = session.send(request).await?;
        let part: BTreeMap<String, Vec<String>> = answer.data()?;
        found.extend(part);
    }
    Ok(found)
}

/// Reads a Transit key, which `read` on `MOUNT/keys/NAME` allows.
///
/// # Errors
/// [`BaoError::NotFound`] without the key or the mount; otherwise [`BaoError`].
pub async fn key(session: &Session, key: &TransitKeyName) -> Result<TransitKey, BaoError> {
    let path = key.path("keys");
    let request = Request::new(Operation::ReadKey, Method::Get, &path);
    TransitKey::from_answer(&session.send(request).await?)
}

/// Encrypts once under the newest version, bound to `aad`, and gives the ciphertext. Upserts nothing unless the policies of the
/// token allow `create`.
///
/// # Errors
/// [`BaoError`]
pub async fn encrypt(
    session: &Session,
    key: &TransitKeyName,
    plaintext: &[u8],
    aad: &[u8],
) -> Result<String, BaoError> {
    let encryption = Single::encryption(key, plaintext, aad, None);
    let answer = session.send(encryption.request()).await?;
    Ok(Single::encrypted(&answer)?.ciphertext)
}

/// Decrypts once what [`encrypt`] gave.
///
/// # Errors
/// [`BaoError::Rejected`] for another ciphertext or other associated data; otherwise [`BaoError`].
pub async fn decrypt(
    session: &Session,
    key: &TransitKeyName,
    ciphertext: &str,
    aad: &[u8],
) -> Result<SecretBytes, BaoError> {
    let decryption = Single::decryption(key, ciphertext, aad);
    Single::decrypted(&session.send(decryption.request()).await?)
}

/// Whether an auth method is mounted where `session` logs in. A login without credentials is refused in other words where one is; OpenBao
/// does not tell a missing mount from a refused login otherwise.
///
/// # Errors
/// [`BaoError`] if no answer says so.
pub async fn has_auth_mount(session: &Session) -> Result<bool, BaoError> {
    let path = format!("auth/{}/login", session.method().mount());
    let request = Request::new(Operation::Login, Method::Post, &path)
        .body(Zeroizing::new(b"{}".to_vec()))
        .once();
    match session.login_client().send(&request).await {
        // Some methods answer 500 while they are not configured; other servers in between have other numbers.
        Ok(_) | Err(BaoError::Rejected { .. } | BaoError::Unready { status: 500, .. }) => Ok(true),
        Err(BaoError::Unauthenticated { .. } | BaoError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks at the wrapping token with the secret id that `session` logs in with, without using it up. `None` if it logs in otherwise.
///
/// # Errors
/// [`CredentialError::WrappingTokenUsed`] if it was opened before or has expired; otherwise [`BaoError`].
pub async fn wrapped_secret_id(session: &Session) -> Result<Option<WrappedSecretId>, BaoError> {
    match session.method() {
        LoginMethod::AppRole {
            secret_id_file,
            is_wrapped: true,
            ..
        } => probe_wrapping(session, secret_id_file).await.map(Some),
        _ => Ok(None),
    }
}

async fn probe_wrapping(session: &Session, file: &Path) -> Result<WrappedSecretId, BaoError> {
    #[derive(Serialize)]
    struct Asked<'a> {
        token: &'a str,
    }
    let wrapping: Secret = credential::read_word("wrapped secret id", file, Privacy::Private)?;
    let token = wrapping.expose();
    let request =
        Request::new(Operation::Login, Method::Post, "sys/wrapping/lookup").json(&Asked { token });
    let answer = session
        .login_client()
        .send(&request)
        .await
        .map_err(|error| match error {
            BaoError::Rejected { .. } | BaoError::Unauthenticated { .. } => {
                let path = file.display().to_string().escape_debug().to_string().into();
                CredentialError::WrappingTokenUsed { path }.into()
            }
            other => other,
        })?;
    answer.data()
}
