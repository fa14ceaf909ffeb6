//! The validating webhook of Kamaji: an update of a TenantControlPlane whose Deployment the API server would not take is refused,
//! with the words of the API server.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::template::{self, Facts, text};
use crate::client::{ApiError, Client, Resource};
use crate::{Error, pki};

const DEPLOYMENTS: Resource = Resource::new("apps/v1", "deployments");

/// The server of the webhook. Ends when dropped; the API server refuses updates then.
#[derive(Debug)]
pub(super) struct Webhook {
    acceptor: JoinHandle<()>,
    _folder: TempDir,
}

impl Webhook {
    /// Starts the server and registers it with the API server of `client`.
    pub(super) async fn start(client: &Client) -> Result<Self, Error> {
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let authority = pki::authority()?;
        let tls = pki::tls_acceptor(&authority.write_party(folder.path(), "kamaji")?)?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = TcpListener::bind(any).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) =
            bound.map_err(Error::file("listen on", Path::new("127.0.0.1")))?;
        let acceptor = tokio::spawn(accept(listener, tls, client.clone()));
        let registration = registration(address, &authority.ca_pem);
        client
            .apply(&registration)
            .await
            .map_err(|error| super::unexpected(&error))?;
        Ok(Self {
            acceptor,
            _folder: folder,
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

fn registration(address: SocketAddr, ca_pem: &str) -> Value {
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "kamaji-validating-webhook-configuration"},
        "webhooks": [{
            "name": "vtenantcontrolplane.kb.io",
            "clientConfig": {"url": format!("https://{address}/validate"), "caBundle": bundle},
            "rules": [{
                "apiGroups": ["kamaji.clastix.io"], "apiVersions": ["v1alpha1"],
                "operations": ["UPDATE"], "resources": ["tenantcontrolplanes"],
            }],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
        }],
    })
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, client: Client) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, such as one reset at once.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, tls.clone(), client.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// All requests of one connection. An error means that the client has gone.
async fn serve(stream: TcpStream, tls: TlsAcceptor, client: Client) {
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(|request: Request<Incoming>| {
        let client = client.clone();
        async move {
            let review: Value =
                serde_json::from_slice(&read(request.into_body()).await?).unwrap_or(Value::Null);
            let answer = json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": answer(&client, &review["request"]).await,
            });
            let mut answer = Response::new(answer.to_string());
            let json = hyper::header::HeaderValue::from_static("application/json");
            answer
                .headers_mut()
                .insert(hyper::header::CONTENT_TYPE, json);
            Ok::<_, hyper::Error>(answer)
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}

/// The Deployment that would come of the object is created without being stored; one of its name is there already, which is found
/// last.
async fn answer(client: &Client, request: &Value) -> Value {
    let facts = Facts {
        schema: "dry-run".to_owned(),
        etcd_endpoint: "https://127.0.0.1:2379".to_owned(),
    };
    let deployment = template::deployment(&request["object"], &facts);
    let namespace = text(request, "/namespace");
    let refusal = match client
        .create_dry_run(DEPLOYMENTS, namespace, &deployment)
        .await
    {
        Ok(_) => None,
        Err(ApiError::Refused { status: 409, .. }) => None,
        Err(ApiError::Refused { message, .. }) => Some(message),
        Err(error) => Some(error.to_string()),
    };
    let uid = &request["uid"];
    match refusal {
        None => json!({"uid": uid, "allowed": true}),
        Some(cause) => {
            let message = format!(
                "the resulting Deployment will generate a configuration error, cannot proceed: {cause}"
            );
            json!({"uid": uid, "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": message}})
        }
    }
}
