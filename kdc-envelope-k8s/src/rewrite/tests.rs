//! Passes against a server that says what no real one can be made to say, at a time that does not pass by itself.

use core::convert::Infallible;
use core::task::{Context, Poll};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::*;

type Script = Arc<dyn Fn(&Method, &str) -> (u16, Value) + Send + Sync>;

/// Answers by method and path, at once.
#[derive(Clone)]
struct Scripted(Script);

impl Service<Request<Body>> for Scripted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = core::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().unwrap().as_str();
        let (status, body) = (self.0)(request.method(), path);
        let body = Body::from(body.to_string().into_bytes());
        core::future::ready(Ok(Response::builder().status(status).body(body).unwrap()))
    }
}

fn client(answer: impl Fn(&Method, &str) -> (u16, Value) + Send + Sync + 'static) -> Client {
    Client::new(Scripted(Arc::new(answer)), "default")
}

/// Serves these resources of the core group, with the objects `a`, `b` and `c` each, whose rows are current.
fn served(names: &[&str], method: &Method, path: &str) -> (u16, Value) {
    if path == "/api/v1" {
        let resource = |name: &&str| json!({"name": name, "verbs": ["list", "patch"], "storageVersionHash": "h"});
        let resources: Vec<_> = names.iter().map(resource).collect();
        return (
            200,
            json!({"kind": "APIResourceList", "resources": resources}),
        );
    }
    if method == Method::PATCH {
        let path = path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        return (200, json!({"metadata": metadata(name)}));
    }
    let is_one = |name: &&str| path.contains(&format!("metadata.name%3D{name}"));
    let all = ["a", "b", "c"];
    let named: Vec<_> = match path.contains("fieldSelector") {
        true => all.into_iter().filter(is_one).collect(),
        false => all.to_vec(),
    };
    let items: Vec<_> = named
        .iter()
        .map(|name| json!({"metadata": metadata(name)}))
        .collect();
    (
        200,
        json!({"kind": "PartialObjectMetadataList", "items": items}),
    )
}

fn metadata(name: &str) -> Value {
    json!({"namespace": "default", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7"})
}

fn status(code: u16, message: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "code": code, "message": message}),
    )
}

fn names(names: &[&str]) -> Vec<GroupResource> {
    names
        .iter()
        .map(|name| GroupResource::from_text(name))
        .collect()
}

async fn pass_over(
    client: &Client,
    resources: &[&str],
) -> (Result<RewriteReport, RewriteError>, Vec<Progress>) {
    let told = Mutex::new(Vec::new());
    let tell = |progress: &Progress| told.lock().unwrap().push(progress.clone());
    let report = rewrite(client, &names(resources), &RewriteOptions::default(), &tell).await;
    (report, told.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_object_that_alone_fails_for_long_is_refused_and_the_others_go_on() {
    for (code, message) in [
        (
            500,
            "failed to encrypt DEK, error: rpc error: code = InvalidArgument",
        ),
        (503, "webhook says later"),
    ] {
        let client = client(move |method, path| match method {
            &Method::PATCH if path.contains("secrets/b?") => status(code, message),
            _ => served(&["secrets", "configmaps"], method, path),
        });
        let (report, told) = pass_over(&client, &["secrets", "configmaps"]).await;
        let report = report.unwrap();
        assert_eq!((report.current(), report.refused()), (5, 1), "{report:?}");
        let refusal = &report.resources[0].refusals[0];
        assert_eq!(refusal.place(), "default/b");
        assert!(refusal.why.contains(message), "{refusal:?}");
        // What is waited for is reported.
        let waiting: Vec<_> = told
            .iter()
            .filter_map(|progress| progress.waiting.as_ref())
            .collect();
        assert!(!waiting.is_empty());
        assert_eq!(
            (&*waiting[0].resource, &*waiting[0].object),
            ("secrets", "default/b")
        );
        assert!(report.elapsed < core::time::Duration::from_secs(300));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_altogether_is_given_up_with_the_object_that_was_tried_last() {
    let client = client(|method, path| match *method {
        Method::PATCH => status(500, "etcdserver: no leader"),
        _ => served(&["secrets"], method, path),
    });
    let (report, told) = pass_over(&client, &["secrets"]).await;
    let error = report.unwrap_err();
    assert!(
        matches!(&error, RewriteError::RetriesExhausted { object, .. } if object.starts_with("default/")),
        "{error}"
    );
    assert!(
        error.to_string().contains("the last one, with `default/"),
        "{error}"
    );
    assert!(
        told.iter()
            .filter(|progress| progress.waiting.is_some())
            .count()
            > 5
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_say_what_it_serves_is_waited_for_aloud() {
    let asked = Mutex::new(0);
    let client = client(move |method, path| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked {
            ..12 => status(500, "etcdserver: leader changed"),
            _ => served(&["secrets"], method, path),
        }
    });
    let (report, told) = pass_over(&client, &["secrets"]).await;
    assert_eq!(report.unwrap().current(), 3);
    let waiting = told
        .iter()
        .find_map(|progress| progress.waiting.as_ref())
        .unwrap();
    assert_eq!(&*waiting.resource, "/api/v1");
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_goes_during_a_pass_is_named_and_the_others_go_on() {
    let is_gone = Mutex::new(false);
    let client = client(move |method, path| {
        let mut is_gone = is_gone.lock().unwrap();
        if path.starts_with("/api/v1/things") {
            *is_gone = true;
            return status(404, "the server could not find the requested resource");
        }
        match *is_gone {
            true => served(&["secrets"], method, path),
            false => served(&["things", "secrets"], method, path),
        }
    });
    let (report, _) = pass_over(&client, &["things", "secrets"]).await;
    let report = report.unwrap();
    assert_eq!(report.current(), 3);
    assert_eq!(
        report.skipped[0].to_string(),
        "things: nothing is served under this name"
    );
    assert!(report.is_complete());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_too_large_is_asked_once_and_a_full_etcd_ends_the_pass() {
    let tries = Arc::new(Mutex::new(0));
    let client_of = |message: &'static str| {
        let tries = Arc::clone(&tries);
        client(move |method, path| match method {
            &Method::PATCH if path.contains("secrets/b?") => {
                *tries.lock().unwrap() += 1;
                status(500, message)
            }
            _ => served(&["secrets"], method, path),
        })
    };
    let too_large = client_of("etcdserver: request is too large");
    let report = pass_over(&too_large, &["secrets"]).await.0.unwrap();
    assert_eq!((report.current(), report.refused()), (2, 1));
    assert_eq!(*tries.lock().unwrap(), 1);
    let full = client_of("etcdserver: mvcc: database space exceeded");
    let (report, told) = pass_over(&full, &["secrets"]).await;
    let error = report.unwrap_err();
    assert!(
        matches!(
            error,
            RewriteError::Storage {
                verb: Verb::Patch,
                ..
            }
        ),
        "{error}"
    );
    assert!(told.iter().all(|progress| progress.waiting.is_none()));
}

#[tokio::test]
async fn a_pass_without_an_object_is_complete_and_proves_nothing() {
    let client = client(|method, path| match path.starts_with("/api/v1/secrets") {
        true => (
            200,
            json!({"kind": "PartialObjectMetadataList", "items": []}),
        ),
        false => served(&["secrets"], method, path),
    });
    let report = pass_over(&client, &["secrets", "nonsense"])
        .await
        .0
        .unwrap();
    assert!(report.is_complete() && !report.evidence().is_proof());
    assert!(report.evidence().gaps().is_empty());
}
