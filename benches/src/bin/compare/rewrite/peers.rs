//! What others do: lists with bodies, and a PUT of each object, one after the other.
//!
//! kubectl is the real one. The migrator is a stand-in, since it could not be built here; what that leaves out, its updates of
//! its own resource, would only make it slower.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::fixture::Fixture;

/// As the migrator pages.
const PAGE: usize = 500;
const PATH: &str = "/api/v1/secrets";

/// `kubectl get secrets -A -o json | kubectl replace -f -`.
pub(super) async fn get_then_replace(fixture: &Fixture, kubectl: &Path) -> Result<Option<f64>> {
    let (kubeconfig, kubectl) = (fixture.kubeconfig(), kubectl.to_owned());
    tokio::task::spawn_blocking(move || get_then_replace_with(&kubectl, &kubeconfig)).await??;
    Ok(None)
}

fn get_then_replace_with(kubectl: &Path, kubeconfig: &Path) -> Result<()> {
    let kubectl = |args: &[&str]| {
        let mut command = Command::new(kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).args(args);
        command
    };
    let mut get = kubectl(&["get", "secrets", "-A", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()?;
    let objects = get.stdout.take().context("no output of kubectl get")?;
    let replace = kubectl(&["replace", "-f", "-"])
        .stdin(objects)
        .stdout(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&replace.stderr);
    ensure!(get.wait()?.success(), "kubectl get failed");
    ensure!(replace.status.success(), "kubectl replace: {errors}");
    Ok(())
}

/// kube-storage-version-migrator: one worker that puts the objects of a page before it lists the next one
/// (`pkg/migrator/core.go`).
pub(super) async fn migrate(fixture: &Fixture) -> Result<Option<f64>> {
    let client = Client::of(fixture)?;
    let mut token = String::new();
    loop {
        let (page, next) = client.page(&token).await?;
        for object in &page {
            client.put(object).await?;
        }
        if next.is_empty() {
            return Ok(None);
        }
        token = next;
    }
}

struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    fn of(fixture: &Fixture) -> Result<Self> {
        let kubeconfig: Value = serde_json::from_slice(&std::fs::read(fixture.kubeconfig())?)?;
        let text = |pointer: &str| {
            let text = kubeconfig.pointer(pointer).and_then(Value::as_str);
            text.with_context(|| format!("no {pointer} in the kubeconfig"))
        };
        let ca = std::fs::read(text("/clusters/0/cluster/certificate-authority")?)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
            .build()?;
        Ok(Self {
            http,
            url: text("/clusters/0/cluster/server")?.to_owned(),
            token: text("/users/0/user/token")?.to_owned(),
        })
    }

    async fn page(&self, token: &str) -> Result<(Vec<Value>, String)> {
        let url = format!("{}{PATH}?limit={PAGE}&continue={token}", self.url);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await?;
        let mut list: Value = answer.error_for_status()?.json().await?;
        let next = list.pointer("/metadata/continue").and_then(Value::as_str);
        let next = next.unwrap_or_default().to_owned();
        let items = list.get_mut("items").map(Value::take);
        let Some(Value::Array(mut items)) = items else {
            anyhow::bail!("no items in a list");
        };
        // Items of typed lists do not say what they are.
        for item in &mut items {
            if let Some(item) = item.as_object_mut() {
                item.insert("apiVersion".to_owned(), "v1".into());
                item.insert("kind".to_owned(), "Secret".into());
            }
        }
        Ok((items, next))
    }

    async fn put(&self, object: &Value) -> Result<()> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let namespace = text("/metadata/namespace").context("no namespace")?;
        let name = text("/metadata/name").context("no name")?;
        let url = format!("{}/api/v1/namespaces/{namespace}/secrets/{name}", self.url);
        let request = self.http.put(url).bearer_auth(&self.token);
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .body(object.to_string());
        let answer = request.send().await?;
        let status = answer.status();
        // The whole object comes back.
        answer.bytes().await?;
        ensure!(status.is_success(), "PUT of {namespace}/{name}: {status}");
        Ok(())
    }
}
