//! The calls that tests make to kube-apiserver.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::Error;

/// Longer than the API server's own limit of a minute for a request.
const REQUEST_LIMIT: Duration = Duration::from_secs(90);
const MERGE_PATCH: &str = "application/merge-patch+json";

/// A kind of object, as its place in the API's paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    group_version: &'static str,
    plural: &'static str,
}

impl Resource {
    /// Secrets.
    pub const SECRETS: Self = Self::new("v1", "secrets");
    /// ConfigMaps.
    pub const CONFIG_MAPS: Self = Self::new("v1", "configmaps");
    /// Service accounts.
    pub const SERVICE_ACCOUNTS: Self = Self::new("v1", "serviceaccounts");
    /// Namespaces; they lie in no namespace.
    pub const NAMESPACES: Self = Self::new("v1", "namespaces");

    /// `group_version` is what `apiVersion` says, such as `v1` or
    /// `coordination.k8s.io/v1`; `plural` such as `leases`.
    #[must_use]
    pub const fn new(group_version: &'static str, plural: &'static str) -> Self {
        Self {
            group_version,
            plural,
        }
    }

    fn path(self, namespace: &str, name: &str) -> String {
        let api = if self.group_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        let mut path = format!("/{api}/{}", self.group_version);
        if !namespace.is_empty() {
            path.extend(["/namespaces/", namespace]);
        }
        path.extend(["/", self.plural]);
        if !name.is_empty() {
            path.extend(["/", name]);
        }
        path
    }
}

/// A client with all rights. An empty namespace stands for all of them in a
/// list, and for none where the objects lie in none.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    /// Empty for a client that shows a certificate.
    token: String,
}

/// Any answer to a request that came back at all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Client {
    pub(crate) fn new(server: String, ca_pem: &str, token: String) -> Result<Self, Error> {
        let error = |source| Error::Http {
            name: "kube-apiserver",
            source,
        };
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).map_err(error)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .timeout(REQUEST_LIMIT)
            .build()
            .map_err(error)?;
        Ok(Self {
            http,
            server,
            token,
        })
    }

    /// A client that shows a certificate, opens a connection for each call, and finds `server` (`https://HOST:PORT`) at `address`,
    /// whatever its name resolves to.
    pub(crate) fn with_certificate(
        server: String,
        address: SocketAddr,
        ca_pem: &str,
        identity_pem: &[u8],
    ) -> Result<Self, Error> {
        let error = |source| Error::Http {
            name: "kube-apiserver",
            source,
        };
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).map_err(error)?;
        let host = server.trim_start_matches("https://");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .identity(reqwest::Identity::from_pem(identity_pem).map_err(error)?)
            .resolve(host, address)
            .pool_max_idle_per_host(0)
            .retry(reqwest::retry::never())
            .timeout(REQUEST_LIMIT)
            .build()
            .map_err(error)?;
        Ok(Self {
            http,
            server,
            token: String::new(),
        })
    }

    /// Creates an object.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn create(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        self.object(Method::POST, &resource.path(namespace, ""), Some(object))
            .await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn read(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiError> {
        self.object(Method::GET, &resource.path(namespace, name), None)
            .await
    }

    /// Lists objects: the list object, with `items`.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn list(&self, resource: Resource, namespace: &str) -> Result<Value, ApiError> {
        self.object(Method::GET, &resource.path(namespace, ""), None)
            .await
    }

    /// Replaces an object by one of the same name.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn replace(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        self.object(Method::PUT, &resource.path(namespace, name), Some(object))
            .await
    }

    /// Changes fields of an object by a merge patch (RFC 7396): `null` takes a field away, and a list is replaced as a whole.
    /// With a `subresource`, such as `status`, those of it alone.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn merge_patch(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Value, ApiError> {
        let mut path = resource.path(namespace, name);
        if let Some(subresource) = subresource {
            path.extend(["/", subresource]);
        }
        let sent = self.send_as(Method::PATCH, &path, Some(patch), MERGE_PATCH);
        object_of(sent.await?)
    }

    /// Checks what [`Self::create`] would do, and stores nothing.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn create_dry_run(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let path = resource.path(namespace, "") + "?dryRun=All";
        self.object(Method::POST, &path, Some(object)).await
    }

    /// Deletes an object that may take `grace` to end; without any it is gone at once, as a kubelet says of a pod that has ended.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn delete_within(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        grace: Duration,
    ) -> Result<(), ApiError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace.as_secs()});
        let path = resource.path(namespace, name);
        self.object(Method::DELETE, &path, Some(&options))
            .await
            .map(|_| ())
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        self.object(Method::DELETE, &resource.path(namespace, name), None)
            .await
            .map(|_| ())
    }

    /// Creates or changes an object of any kind by server-side apply, and takes no unknown field. Of a namespaced kind without a
    /// namespace it is in `default`.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses, also when it has no such kind.
    pub async fn apply(&self, object: &Value) -> Result<Value, ApiError> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let version = text("/apiVersion").unwrap_or_default();
        let group = if version.contains('/') { "apis" } else { "api" };
        let kinds = self
            .object(Method::GET, &format!("/{group}/{version}"), None)
            .await?;
        let kind = kinds
            .get("resources")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|resource| {
                let name = resource["name"].as_str().unwrap_or_default();
                object.get("kind") == Some(&resource["kind"]) && !name.contains('/')
            });
        let kind = kind.unwrap_or(&Value::Null);
        let mut path = format!("/{group}/{version}");
        if kind["namespaced"] == true {
            let namespace = text("/metadata/namespace").unwrap_or("default");
            path.extend(["/namespaces/", namespace]);
        }
        path.extend(["/", kind["name"].as_str().unwrap_or("unknown")]);
        path.extend(["/", text("/metadata/name").unwrap_or_default()]);
        path.push_str("?fieldManager=testbed&force=true&fieldValidation=Strict");
        self.object(Method::PATCH, &path, Some(object)).await
    }

    /// Changes a subresource of an object by server-side apply, such as `ephemeralcontainers` of a pod.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn apply_to(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let path = format!(
            "{}/{subresource}?fieldManager=testbed&force=true&fieldValidation=Strict",
            resource.path(namespace, name)
        );
        self.object(Method::PATCH, &path, Some(object)).await
    }

    /// Asks the server to evict a pod, as draining its node does.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses: 429 while a budget of disruptions forbids it.
    pub async fn evict(&self, namespace: &str, pod: &str) -> Result<(), ApiError> {
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        });
        let path = Resource::new("v1", "pods").path(namespace, pod) + "/eviction";
        self.object(Method::POST, &path, Some(&eviction))
            .await
            .map(|_| ())
    }

    /// Creates an object unless one of its name is there.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn ensure(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<(), ApiError> {
        match self.create(resource, namespace, object).await {
            Err(error) if error.status() != Some(409) => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates a service account unless it is there.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn ensure_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name},
        });
        self.ensure(Resource::SERVICE_ACCOUNTS, namespace, &account)
            .await
    }

    /// A token of a service account, as the kubelet mounts it into a pod, for
    /// this audience or else for the API server itself. The API server makes
    /// none that lives for less than 600 s.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        audience: Option<&str>,
        lifetime: Duration,
    ) -> Result<String, ApiError> {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audience.as_slice(),
                "expirationSeconds": lifetime.as_secs(),
            },
        });
        let path = Resource::SERVICE_ACCOUNTS.path(namespace, name) + "/token";
        let answer = self.object(Method::POST, &path, Some(&request)).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(token.unwrap_or_default().to_owned())
    }

    /// Reads any path, such as `/readyz?verbose` or `/metrics`, whatever the
    /// status.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] alone.
    pub async fn raw(&self, path: &str) -> Result<Answer, ApiError> {
        self.send(Method::GET, path, None).await
    }

    async fn object(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        object_of(self.send(method, path, body).await?)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ApiError> {
        let content_type = if method == Method::PATCH {
            // JSON is YAML.
            "application/apply-patch+yaml"
        } else {
            "application/json"
        };
        self.send_as(method, path, body, content_type).await
    }

    async fn send_as(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        content_type: &str,
    ) -> Result<Answer, ApiError> {
        let mut request = self.http.request(method, format!("{}{path}", self.server));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request
                .header(reqwest::header::CONTENT_TYPE, content_type)
                .body(body.to_string());
        }
        let answer = request.send().await.map_err(ApiError::Unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(ApiError::Unreachable)?;
        Ok(Answer { status, body })
    }
}

fn object_of(answer: Answer) -> Result<Value, ApiError> {
    let parsed: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    if (200..300).contains(&answer.status) && parsed.is_object() {
        return Ok(parsed);
    }
    let text = |name: &str| parsed.get(name).and_then(Value::as_str).map(str::to_owned);
    Err(ApiError::Refused {
        status: answer.status,
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or(answer.body),
    })
}

/// Why a call did not do what was asked.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The server answered with an error.
    #[error("kube-apiserver answered {status} {reason}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The `reason` of the Status object, such as `NotFound`; may be empty.
        reason: String,
        /// Its message, or the whole body if that is no Status object.
        message: String,
    },
    /// No answer came.
    #[error("kube-apiserver did not answer")]
    Unreachable(#[source] reqwest::Error),
}

impl ApiError {
    /// The HTTP status, if an answer came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable(_) => None,
        }
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { .. } => write!(f, "{self}"),
            Self::Unreachable(cause) => write!(f, "{self}: {cause:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(
            Resource::SECRETS.path("default", "a"),
            "/api/v1/namespaces/default/secrets/a"
        );
        assert_eq!(Resource::SECRETS.path("", ""), "/api/v1/secrets");
        assert_eq!(Resource::NAMESPACES.path("", "a"), "/api/v1/namespaces/a");
        let leases = Resource::new("coordination.k8s.io/v1", "leases");
        assert_eq!(
            leases.path("a", ""),
            "/apis/coordination.k8s.io/v1/namespaces/a/leases"
        );
    }
}
