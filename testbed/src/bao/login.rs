//! Auth methods, set up so that a test can log in with each.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use serde_json::{Map, Value, json};

use super::caller::text;
use super::{Caller, Grant, unexpected};
use crate::client::{ApiError, Resource};
use crate::{ApiServer, Error, pki};

/// What logs in to an AppRole.
#[derive(Clone)]
#[non_exhaustive]
pub struct AppRole {
    /// Names the role; no secret by itself.
    pub role_id: String,
    /// The secret that goes with it.
    pub secret_id: String,
}

impl fmt::Debug for AppRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppRole")
            .field("role_id", &self.role_id)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// Creates a role of the AppRole method at `auth/MOUNT`, which has to be
    /// enabled, and a secret id for it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_approle(
        &self,
        mount: &str,
        role: &str,
        grant: &Grant,
    ) -> Result<AppRole, Error> {
        let path = format!("auth/{mount}/role/{role}");
        self.call("POST", &path, Some(Value::Object(grant.fields("token_"))))
            .await?;
        let id = self.call("GET", &format!("{path}/role-id"), None).await?;
        let secret = self
            .call("POST", &format!("{path}/secret-id"), Some(json!({})))
            .await?;
        Ok(AppRole {
            role_id: text(&id, "/data/role_id")?,
            secret_id: text(&secret, "/data/secret_id")?,
        })
    }

    /// Creates one more secret id of an AppRole and gives the token that
    /// unwraps it, once and within `ttl` in whole seconds.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn wrapped_secret_id(
        &self,
        mount: &str,
        role: &str,
        ttl: Duration,
    ) -> Result<String, Error> {
        let path = format!("auth/{mount}/role/{role}/secret-id");
        let answer = self
            .call_wrapped("POST", &path, Some(json!({})), ttl)
            .await?;
        text(&answer, "/wrap_info/token")
    }

    /// Lets the JWT method at `auth/MOUNT`, which has to be enabled, trust
    /// `issuer`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn configure_jwt(&self, mount: &str, issuer: &JwtIssuer) -> Result<(), Error> {
        let body = json!({
            "jwt_validation_pubkeys": [issuer.key.public_key_pem()],
            "jwt_supported_algs": ["EdDSA"],
            "bound_issuer": JwtIssuer::NAME,
        });
        self.call("POST", &format!("auth/{mount}/config"), Some(body))
            .await
            .map(|_| ())
    }

    /// Creates a role of the JWT method for tokens with this audience and
    /// subject.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_jwt_role(
        &self,
        mount: &str,
        role: &str,
        audience: &str,
        subject: &str,
        grant: &Grant,
    ) -> Result<(), Error> {
        let bound = json!({
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": [audience],
            "bound_subject": subject,
        });
        self.create_role(&format!("auth/{mount}/role/{role}"), bound, grant)
            .await
    }

    /// Creates a role of the certificate method at `auth/MOUNT`, which has to
    /// be enabled, for certificates of [`super::Bao::client_certificate`] with
    /// this name.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_cert_role(
        &self,
        mount: &str,
        role: &str,
        name: &str,
        grant: &Grant,
    ) -> Result<(), Error> {
        let bound = json!({
            "certificate": pki::authority()?.ca_pem,
            "allowed_common_names": [name],
        });
        self.create_role(&format!("auth/{mount}/certs/{role}"), bound, grant)
            .await
    }

    /// Lets the Kubernetes method at `auth/MOUNT`, which has to be enabled,
    /// review tokens at `server`.
    ///
    /// # Errors
    /// As [`Self::call`]; [`Error::Unexpected`] when kube-apiserver refuses.
    pub async fn configure_kubernetes(&self, mount: &str, server: &ApiServer) -> Result<(), Error> {
        let body = json!({
            "kubernetes_host": server.url(),
            "kubernetes_ca_cert": pki::authority()?.ca_pem,
            "token_reviewer_jwt": reviewer_token(server).await.map_err(kube_error)?,
            "disable_local_ca_jwt": true,
        });
        self.call("POST", &format!("auth/{mount}/config"), Some(body))
            .await
            .map(|_| ())
    }

    /// Creates a role of the Kubernetes method for one service account, given
    /// as `NAMESPACE/NAME`, whose tokens carry this audience.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn create_kubernetes_role(
        &self,
        mount: &str,
        role: &str,
        service_account: &str,
        audience: &str,
        grant: &Grant,
    ) -> Result<(), Error> {
        let (namespace, name) = service_account
            .split_once('/')
            .ok_or_else(|| unexpected(format!("{service_account:?} is not NAMESPACE/NAME")))?;
        let bound = json!({
            "bound_service_account_names": [name],
            "bound_service_account_namespaces": [namespace],
            "audience": audience,
        });
        self.create_role(&format!("auth/{mount}/role/{role}"), bound, grant)
            .await
    }

    async fn create_role(&self, path: &str, bound: Value, grant: &Grant) -> Result<(), Error> {
        let mut body: Map<String, Value> = grant.fields("token_");
        if let Value::Object(bound) = bound {
            body.extend(bound);
        }
        self.call("POST", path, Some(Value::Object(body)))
            .await
            .map(|_| ())
    }
}

/// One who signs JSON web tokens (RFC 7519) with an Ed25519 key of its own.
pub struct JwtIssuer {
    key: KeyPair,
}

impl JwtIssuer {
    /// The `iss` of all tokens.
    pub const NAME: &str = "https://issuer.test";

    /// An issuer with a new key.
    ///
    /// # Errors
    /// [`Error::Certificate`] when no key can be made.
    pub fn generate() -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(key_error)?;
        Ok(Self { key })
    }

    /// A token for `subject` that is valid from now for `lifetime`, in whole
    /// seconds; the server forgives 150 s.
    ///
    /// # Errors
    /// [`Error::Certificate`] when it cannot be signed.
    pub fn token(
        &self,
        subject: &str,
        audience: &str,
        lifetime: Duration,
    ) -> Result<String, Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a real server compares with the real clock"
        )]
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.sign(&json!({
            "iss": Self::NAME,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now.saturating_add(lifetime.as_secs()),
        }))
    }

    /// Signs any claims (RFC 7515, RFC 8037).
    ///
    /// # Errors
    /// [`Error::Certificate`] when they cannot be signed.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "EdDSA", "typ": "JWT"});
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(signed.as_bytes()).map_err(key_error)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for JwtIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtIssuer").finish_non_exhaustive()
    }
}

/// A token of a service account that may review the tokens of others.
async fn reviewer_token(server: &ApiServer) -> Result<String, ApiError> {
    const NAME: &str = "token-reviewer";
    let client = server.client();
    client.ensure_service_account("kube-system", NAME).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:auth-delegator",
        },
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": NAME}],
    });
    let bindings = Resource::new("rbac.authorization.k8s.io/v1", "clusterrolebindings");
    client.ensure(bindings, "", &binding).await?;
    client
        .service_account_token("kube-system", NAME, None, Duration::from_hours(1))
        .await
}

fn kube_error(error: ApiError) -> Error {
    Error::Unexpected {
        name: "kube-apiserver",
        detail: format!("{error:?}"),
    }
}

fn key_error(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}
