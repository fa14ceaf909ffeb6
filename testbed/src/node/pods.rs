//! What tests do with pods.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Node, POLL};
use crate::Error;
use crate::client::{ApiError, Resource};

const PODS: Resource = Resource::new("v1", "pods");

impl Node {
    /// Applies all documents of a manifest as `kubectl apply --server-side` does, and fails on unknown fields.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it is no YAML, or when kube-apiserver refuses.
    pub async fn apply(&self, manifest: &str) -> Result<(), Error> {
        for document in documents(manifest)? {
            self.client.apply(&document).await.map_err(refused)?;
        }
        Ok(())
    }

    /// Waits until `holds` gives something for the pod, which is null while there is none, and gives that.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the pod's status, its events and the ends of the node's logs.
    pub async fn wait<T>(
        &mut self,
        namespace: &str,
        pod: &str,
        limit: Duration,
        holds: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        loop {
            self.ensure_running()?;
            let object = self.client.read(PODS, namespace, pod).await;
            let object = object.unwrap_or(Value::Null);
            if let Some(found) = holds(&object) {
                return Ok(found);
            }
            if start.elapsed() > limit {
                let mut last = format!("{:#}", field(&object, "status"));
                last.push_str(&self.events(namespace).await);
                for container in containers(&object) {
                    let log = self.logs(namespace, pod, &container).await;
                    last.push_str(&format!("\n--- {container}: {}", log.unwrap_or_default()));
                }
                return Err(self.deadline("running the pod as expected", limit, &last));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// [`Self::wait`] until the pod is ready.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn wait_until_pod_ready(
        &mut self,
        namespace: &str,
        pod: &str,
        limit: Duration,
    ) -> Result<Value, Error> {
        let ready = |pod: &Value| has_condition(pod, "Ready").then(|| pod.clone());
        self.wait(namespace, pod, limit, ready).await
    }

    /// Runs a program in a running container, and gives what it prints.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when there is no such container, or the program fails.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        words: &[&str],
    ) -> Result<String, Error> {
        let object = self
            .client
            .read(PODS, namespace, pod)
            .await
            .map_err(refused)?;
        let id = statuses(&object)
            .find(|status| status["name"] == container)
            .and_then(|status| status["containerID"].as_str())
            .and_then(|id| id.strip_prefix("containerd://"))
            .ok_or_else(|| Error::Unexpected {
                name: "node",
                detail: format!("no container {container} runs in {pod}"),
            })?;
        let mut all = vec![
            "ctr",
            "-n",
            "k8s.io",
            "task",
            "exec",
            "--exec-id",
            "test",
            id,
        ];
        all.extend(words);
        self.run(&all)
    }

    /// What a container has printed since it was started the last time.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when kubelet gives none.
    pub async fn logs(&self, namespace: &str, pod: &str, container: &str) -> Result<String, Error> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}");
        let answer = self.client.raw(&path).await.map_err(refused)?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        Err(Error::Unexpected {
            name: "kubelet",
            detail: answer.body,
        })
    }

    /// A token of a service account for this audience, or else for kube-apiserver itself.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when kube-apiserver refuses.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: Option<&str>,
    ) -> Result<String, Error> {
        self.client
            .service_account_token(namespace, account, audience, Duration::from_hours(1))
            .await
            .map_err(refused)
    }

    async fn events(&self, namespace: &str) -> String {
        let events = self
            .client
            .list(Resource::new("v1", "events"), namespace)
            .await;
        let events = events.unwrap_or(Value::Null);
        let messages = field(&events, "items").as_array().into_iter().flatten();
        messages
            .filter_map(|event| event["message"].as_str())
            .map(|message| format!("\n{message}"))
            .collect()
    }
}

/// Whether a pod or a node says that this condition is true.
#[must_use]
pub(super) fn has_condition(object: &Value, name: &str) -> bool {
    let conditions = field(field(object, "status"), "conditions").as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == name && condition["status"] == "True")
    })
}

/// A field of an object; null, if it has none of this name.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&Value::Null)
}

/// The documents of a manifest, with anchors and aliases resolved.
fn documents(manifest: &str) -> Result<Vec<Value>, Error> {
    serde_saphyr::from_multiple(manifest).map_err(|error| Error::Unexpected {
        name: "the manifest",
        detail: error.to_string(),
    })
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .filter_map(|list| field(field(pod, "status"), list).as_array())
        .flatten()
}

fn containers(pod: &Value) -> Vec<String> {
    let names = statuses(pod).filter_map(|status| status["name"].as_str());
    names.map(str::to_owned).collect()
}

fn refused(error: ApiError) -> Error {
    Error::Unexpected {
        name: "kube-apiserver",
        detail: format!("{error:?}"),
    }
}
