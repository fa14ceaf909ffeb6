//! Requests of a pass and their answers, within a time limit and counted.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use serde::Serialize;

use super::resolve::{Object, ServedResource};
use super::response::{Failure, FailureKind, Response};
use crate::cluster::{Asked, ServerName, cause};

/// Answers of one object carry its metadata alone.
const OBJECT: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// So do the items of lists.
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const JSON: &str = "application/json";

/// The forms in which a patch that changes nothing can be sent. They mean the same, but cost the server different work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatchForm {
    /// The server takes the object apart field by field, without making text of it. Only types that are compiled in have it.
    Strategic,
    /// The server makes JSON of the object and parses it again (RFC 7386). Every resource has it.
    Merge,
}

impl PatchForm {
    /// The one to begin with. Custom resources are in groups with a dot, and few of these end as Kubernetes' own do; the
    /// server says so of those.
    pub(super) fn first_for(group: &str) -> Self {
        if group.contains('.') && !group.ends_with(".k8s.io") {
            Self::Merge
        } else {
            Self::Strategic
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Merge => "application/merge-patch+json",
        }
    }
}

/// Sends requests.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
    timeout: Duration,
    counts: Arc<Counts>,
    asked: Asked,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Transport {
    pub(super) fn new(client: &Client, timeout: Duration) -> Self {
        Self {
            client: client.clone(),
            timeout,
            counts: Arc::default(),
            asked: Asked::default(),
        }
    }

    /// Who is asked, once that is known.
    pub(super) fn server(&self) -> ServerName {
        self.asked.server()
    }

    /// Bytes of bodies, sent and received.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (
            self.counts.sent.load(Ordering::Relaxed),
            self.counts.received.load(Ordering::Relaxed),
        )
    }

    /// A document, such as one of discovery.
    pub(super) async fn get(&self, path: &str) -> Result<Response, Failure> {
        self.exchange_json(Method::GET, path, None).await
    }

    /// Any request, with a document if there is a `body`.
    pub(super) async fn exchange_json(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Response, Failure> {
        let body = body.map(|body| (JSON, body.to_vec()));
        self.send(method, path, JSON, body).await
    }

    /// A page of metadata.
    pub(super) async fn list(
        &self,
        resource: &ServedResource,
        limit: u32,
        token: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut path = format!("{}?limit={limit}", resource.path());
        if let Some(token) = token {
            path.push_str("&continue=");
            path.push_str(&encode(token));
        }
        self.send(Method::GET, &path, LIST, None).await
    }

    /// A list of this one object, with the rights that listing needs anyway.
    pub(super) async fn probe(
        &self,
        resource: &ServedResource,
        object: &Object,
    ) -> Result<Response, Failure> {
        let selector = encode(&format!("metadata.name={}", object.name));
        let collection = resource.collection(&object.namespace);
        let path = format!("{collection}?fieldSelector={selector}");
        self.send(Method::GET, &path, LIST, None).await
    }

    /// The patch that changes nothing of an object which is still as it was listed.
    pub(super) async fn patch(
        &self,
        resource: &ServedResource,
        object: &Object,
        form: PatchForm,
        field_manager: &str,
    ) -> Result<Response, Failure> {
        let path = format!(
            "{}/{}?fieldManager={}",
            resource.collection(&object.namespace),
            encode(&object.name),
            encode(field_manager),
        );
        // Only what a tool put into etcd by itself has no uid.
        let uid = (!object.uid.is_empty()).then_some(&*object.uid);
        let body = serde_json::to_vec(&Unchanged {
            metadata: UnchangedMetadata {
                uid,
                resource_version: &object.version,
            },
        });
        let body = body.map_err(|error| Failure::request(&error.to_string()))?;
        let body = Some((form.content_type(), body));
        self.send(Method::PATCH, &path, OBJECT, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Response, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .extension(self.asked.clone())
            .header(ACCEPT, accept);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type);
            bytes = body;
        }
        add(&self.counts.sent, bytes.len());
        let request = request
            .body(Body::from(bytes))
            .map_err(|error| Failure::request(&format!("{path} is no path: {error}")))?;
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(response) => response,
            Err(_) => Err(Failure {
                kind: FailureKind::Timeout,
                why: format!("no answer within {} s", self.timeout.as_secs()).into(),
            }),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Response, Failure> {
        let broken = |error: kube::Error| Failure::server(&cause(&error));
        let response = self.client.send(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = body.collect_bytes().await.map_err(broken)?.to_vec();
        add(&self.counts.received, body.len());
        Ok(Response {
            status: head.status.as_u16(),
            retry_after: retry_after(&head.headers),
            body,
            server: self.server(),
        })
    }
}

/// A patch, of either form, that changes nothing of an object that is still as it was listed.
#[derive(Serialize)]
struct Unchanged<'a> {
    metadata: UnchangedMetadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnchangedMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    resource_version: &'a str,
}

impl ServedResource {
    /// Of all its objects, such as `/apis/apps/v1/deployments`.
    fn path(&self) -> String {
        self.collection("")
    }

    /// Of its objects in one namespace; the empty one stands for all of them.
    fn collection(&self, namespace: &str) -> String {
        let (group, version) = (self.resource.group(), &self.version);
        let mut path = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        if !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&encode(namespace));
        }
        path.push('/');
        path.push_str(self.resource.resource());
        path
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// In whole seconds, which is how API servers say it; the form with a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption_config::GroupResource;

    #[test]
    fn paths_of_all_kinds_of_resources() {
        let resource = |name: &str, version: &str| ServedResource {
            resource: GroupResource::from_text(name),
            version: version.into(),
        };
        let secrets = resource("secrets", "v1");
        assert_eq!(secrets.path(), "/api/v1/secrets");
        assert_eq!(secrets.collection("a"), "/api/v1/namespaces/a/secrets");
        let widgets = resource("widgets.example.com", "v1beta1");
        assert_eq!(widgets.path(), "/apis/example.com/v1beta1/widgets");
    }

    #[test]
    fn types_of_kubernetes_begin_with_the_cheaper_form() {
        for group in ["", "apps", "rbac.authorization.k8s.io"] {
            assert_eq!(PatchForm::first_for(group), PatchForm::Strategic, "{group}");
        }
        assert_eq!(PatchForm::first_for("example.com"), PatchForm::Merge);
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(encode("system:a.b-c_d~e"), "system%3Aa.b-c_d~e");
        assert_eq!(encode("a/b ü%=&"), "a%2Fb%20%C3%BC%25%3D%26");
    }

    #[test]
    fn only_seconds_are_read_from_retry_after() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        for (text, seconds) in [("7", Some(7)), ("-1", None), ("Fri, 27 Nov 2026", None)] {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(
                retry_after(&headers),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
