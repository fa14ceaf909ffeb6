//! Calls to OpenBao's API: as whom and in which namespace, and those that
//! tests need to set a server up.

use std::fmt;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Grant, unexpected};
use crate::Error;

/// Longer than the server takes for a rotation under load.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// One who calls the API of a server: its token and namespace. Follows no
/// redirect and tries nothing twice.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    /// PEM certificates of the authorities that are trusted.
    authorities: Vec<String>,
    address: String,
    token: String,
    namespace: String,
}

impl Caller {
    pub(super) fn new(address: String, ca_pem: String) -> Result<Self, Error> {
        let authorities = vec![ca_pem];
        Ok(Self {
            http: http_client(&authorities)?,
            authorities,
            address,
            token: String::new(),
            namespace: String::new(),
        })
    }

    /// The same server, called with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// The same caller in a namespace, such as `team/one`; it replaces the
    /// namespace of this caller.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The token of this caller.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The namespace of this caller; empty for the root.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Sends a request to `/v1/PATH` and gives status and body of the answer
    /// in any form; a body that is not JSON is `null`.
    ///
    /// # Errors
    /// [`Error::Http`] when no answer came.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value), Error> {
        self.send(method, path, body, None).await
    }

    /// [`Self::request`], which has to succeed.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with the server's errors for a status other than
    /// 2xx.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Error> {
        let answer = self.request(method, path, body).await?;
        successful(method, path, answer)
    }

    /// [`Self::call`] whose answer is wrapped in a token that lives for `ttl`,
    /// in whole seconds: `/wrap_info/token`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_wrapped(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        ttl: Duration,
    ) -> Result<Value, Error> {
        let answer = self.send(method, path, body, Some(ttl)).await?;
        successful(method, path, answer)
    }

    /// Mounts a Transit engine.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn enable_transit(&self, mount: &str) -> Result<(), Error> {
        let body = json!({"type": "transit"});
        self.call("POST", &format!("sys/mounts/{mount}"), Some(body))
            .await
            .map(|_| ())
    }

    /// Creates a Transit key of type aes256-gcm96.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_key(&self, mount: &str, name: &str) -> Result<(), Error> {
        self.call("POST", &format!("{mount}/keys/{name}"), Some(json!({})))
            .await
            .map(|_| ())
    }

    /// Rotates a Transit key and gives its newest version.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn rotate_key(&self, mount: &str, name: &str) -> Result<u64, Error> {
        let path = format!("{mount}/keys/{name}/rotate");
        let answer = self.call("POST", &path, None).await?;
        answer
            .pointer("/data/latest_version")
            .and_then(Value::as_u64)
            .ok_or_else(|| unexpected(format!("{path} answered no latest_version")))
    }

    /// Writes an ACL policy in HCL.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn write_policy(&self, name: &str, hcl: &str) -> Result<(), Error> {
        let path = format!("sys/policies/acl/{name}");
        self.call("POST", &path, Some(json!({"policy": hcl})))
            .await
            .map(|_| ())
    }

    /// Creates a token.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_token(&self, grant: &Grant) -> Result<String, Error> {
        let body = Value::Object(grant.fields(""));
        let answer = self.call("POST", "auth/token/create", Some(body)).await?;
        text(&answer, "/auth/client_token")
    }

    /// Mounts an auth method, such as `approle`, under `auth/MOUNT`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn enable_auth(&self, kind: &str, mount: &str) -> Result<(), Error> {
        self.call(
            "POST",
            &format!("sys/auth/{mount}"),
            Some(json!({"type": kind})),
        )
        .await
        .map(|_| ())
    }

    /// Creates a namespace within that of this caller and gives the same
    /// caller in it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_namespace(&self, name: &str) -> Result<Self, Error> {
        self.call("POST", &format!("sys/namespaces/{name}"), Some(json!({})))
            .await?;
        let parent = self.namespace.trim_end_matches('/');
        Ok(self.in_namespace(format!("{parent}/{name}").trim_start_matches('/')))
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        wrap: Option<Duration>,
    ) -> Result<(u16, Value), Error> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| unexpected(format!("{method:?} is no HTTP method")))?;
        let mut request = self
            .http
            .request(method, format!("{}/v1/{path}", self.address));
        if !self.token.is_empty() {
            request = request.header("X-Vault-Token", &self.token);
        }
        if !self.namespace.is_empty() {
            request = request.header("X-Vault-Namespace", &self.namespace);
        }
        if let Some(ttl) = wrap {
            request = request.header("X-Vault-Wrap-TTL", ttl.as_secs());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(http_error)?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(http_error)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// Trusts one more authority from now on.
    pub(super) fn trust(&mut self, ca_pem: String) -> Result<(), Error> {
        self.authorities.push(ca_pem);
        self.http = http_client(&self.authorities)?;
        Ok(())
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

fn successful(method: &str, path: &str, answer: (u16, Value)) -> Result<Value, Error> {
    let (status, body) = answer;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let errors = body.get("errors").unwrap_or(&Value::Null);
    Err(unexpected(format!(
        "{method} {path} answered {status}: {errors}"
    )))
}

/// The string at `pointer` of an answer.
pub(super) fn text(answer: &Value, pointer: &str) -> Result<String, Error> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| unexpected(format!("an answer has no {pointer}")))
}

fn http_client(authorities: &[String]) -> Result<reqwest::Client, Error> {
    let authorities = authorities
        .iter()
        .map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(http_error)?;
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_certs_only(authorities)
        .timeout(REQUEST_LIMIT)
        .build()
        .map_err(http_error)
}

fn http_error(source: reqwest::Error) -> Error {
    Error::Http {
        name: "openbao",
        source: source.without_url(),
    }
}
