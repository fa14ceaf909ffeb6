//! Leaving the rewriting to kube-controller-manager, which has a controller for it from Kubernetes 1.37 on
//! (KEP-4192; `pkg/controller/storageversionmigrator` in Kubernetes).
//!
//! It is asked by an object of storagemigration.k8s.io/v1 for each resource, and sends the same kind of patch from where it
//! keeps what it knows of all objects. It tells how it came along only at the end, stops at the first object that is
//! refused, and proves nothing: what it knew was perhaps not the newest. So a pass has to follow.
//!
//! Rights that it needs: `create`, `get` and `delete` on `storageversionmigrations.storagemigration.k8s.io`, and those of
//! [`resolve`](super::resolve()).

use core::time::Duration;

use http::Method;
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::error::{RewriteError, Verb};
use super::find;
use super::options::RewriteOptions;
use super::progress::Waiting;
use super::resolve::ServedResource;
use super::response::{Failure, Response, judge_other, one_line};
use super::retry_budget::RetryBudget;
use super::transport::Transport;
use crate::encryption_config::GroupResource;

const API: &str = "/apis/storagemigration.k8s.io/v1";
const COLLECTION: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
const RESOURCE: &str = "storageversionmigrations.storagemigration.k8s.io";
/// Times between two looks at a migration.
const POLL: Duration = Duration::from_millis(500);

/// A resource that kube-controller-manager says it has rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Migrated {
    /// Which one.
    pub resource: GroupResource,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "super::report::seconds")]
    pub elapsed: Duration,
}

/// Asks kube-controller-manager to rewrite all objects of these resources, given as in an EncryptionConfiguration, one
/// resource after the other, and waits until it has.
/// What it did is proven by a [pass](super::rewrite()) in which nothing is rewritten, and not by this.
///
/// The objects that ask for it have names that begin with `kdc-envelope-`, stay as a record, and are replaced the next time.
/// `begin` is called with each resource before its turn, `wait` while no request succeeds. Dropping the future leaves a migration that has begun to its
/// controller.
///
/// # Errors
/// [`RewriteError::NoMigrations`] where storagemigration.k8s.io/v1 is not served, [`RewriteError::NotTakenUp`] where no controller
/// works on a migration for [`RewriteOptions::retry_budget`], [`RewriteError::MigrationFailed`]; and those of a pass.
pub async fn hand_over(
    client: &Client,
    resources: &[GroupResource],
    options: &RewriteOptions,
    begin: &(dyn Fn(&GroupResource) + Sync),
    wait: &(dyn Fn(Waiting) + Sync),
) -> Result<Vec<Migrated>, RewriteError> {
    let transport = Transport::new(client, options.request_timeout);
    let migrator = Migrator {
        transport: &transport,
        retries: RetryBudget::new(options.retry_budget, wait),
        limit: options.retry_budget,
    };
    let migrated = migrate_all(migrator, resources, begin).await;
    migrated.map_err(|error| error.at(&transport.server()))
}

async fn migrate_all(
    mut migrator: Migrator<'_>,
    resources: &[GroupResource],
    begin: &(dyn Fn(&GroupResource) + Sync),
) -> Result<Vec<Migrated>, RewriteError> {
    let found = find(migrator.transport, &mut migrator.retries, resources).await?;
    let served = found.resources;
    if migrator.ask(Verb::Get, API, None).await?.is_none() {
        let server = migrator.transport.server();
        return Err(RewriteError::NoMigrations { server });
    }
    let mut all = Vec::new();
    for ServedResource { resource, .. } in &served {
        begin(resource);
        all.push(migrator.migrate(resource).await?);
    }
    Ok(all)
}

struct Migrator<'a> {
    transport: &'a Transport,
    retries: RetryBudget<'a>,
    limit: Duration,
}

impl Migrator<'_> {
    async fn migrate(&mut self, resource: &GroupResource) -> Result<Migrated, RewriteError> {
        let start = Instant::now();
        let path = format!("{COLLECTION}/{}", name_of(resource));
        // An earlier one does not count, however it ended: its rows were those of its time.
        self.ask(Verb::Delete, &path, None).await?;
        let body = migration(resource);
        while self
            .ask(Verb::Create, COLLECTION, Some(&body))
            .await?
            .is_none()
        {
            self.ask(Verb::Delete, &path, None).await?;
            sleep(POLL).await;
        }
        loop {
            sleep(POLL).await;
            let Some(response) = self.ask(Verb::Get, &path, None).await? else {
                let why = "another client deleted the StorageVersionMigration".into();
                return Err(failed(resource, why));
            };
            match state_of(&response) {
                State::Succeeded => {
                    return Ok(Migrated {
                        resource: resource.clone(),
                        elapsed: start.elapsed(),
                    });
                }
                State::Failed(why) => return Err(failed(resource, why)),
                State::New if start.elapsed() >= self.limit => {
                    return Err(RewriteError::NotTakenUp {
                        resource: resource.clone(),
                        waited: self.limit,
                    });
                }
                State::New | State::Running => {}
            }
        }
    }

    /// Tries until there is a response; `None` is one that says that the object is not there, or that it is there already.
    async fn ask(
        &mut self,
        verb: Verb,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Option<Response>, RewriteError> {
        let method = match verb {
            Verb::Create => Method::POST,
            Verb::Delete => Method::DELETE,
            _ => Method::GET,
        };
        let transport = self.transport;
        let send = || transport.exchange_json(method.clone(), path, body);
        self.retries
            .until_answered(verb, RESOURCE, send, |response| judge(verb, response))
            .await
    }
}

/// The response, or a failure that may pass.
fn judge(
    verb: Verb,
    response: Response,
) -> Result<Result<Option<Response>, Failure>, RewriteError> {
    match (response.status, verb) {
        (200..=202, _) => Ok(Ok(Some(response))),
        (404, Verb::Get | Verb::Delete) | (409, Verb::Create) => Ok(Ok(None)),
        _ => judge_other(verb, RESOURCE, &response).map(Err),
    }
}

fn failed(resource: &GroupResource, why: Box<str>) -> RewriteError {
    RewriteError::MigrationFailed {
        resource: resource.clone(),
        why,
    }
}

fn name_of(resource: &GroupResource) -> String {
    format!("kdc-envelope-{resource}")
}

fn migration(resource: &GroupResource) -> Vec<u8> {
    json!({
        "apiVersion": "storagemigration.k8s.io/v1",
        "kind": "StorageVersionMigration",
        "metadata": {"name": name_of(resource)},
        "spec": {"resource": {"group": resource.group(), "resource": resource.resource()}},
    })
    .to_string()
    .into_bytes()
}

/// How far a migration is, as its status says.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// No controller has written a status.
    New,
    Running,
    Succeeded,
    Failed(Box<str>),
}

fn state_of(response: &Response) -> State {
    // A status that is not understood is read again.
    let Ok(Migration { status }) = serde_json::from_slice(&response.body) else {
        return State::New;
    };
    let is_true = |name: &str| {
        let mut conditions = status.conditions.iter();
        conditions.find(|condition| *condition.kind == *name && &*condition.status == "True")
    };
    if is_true("Succeeded").is_some() {
        State::Succeeded
    } else if let Some(condition) = is_true("Failed") {
        State::Failed(one_line(&condition.message))
    } else if status.conditions.is_empty() && status.resource_version.is_empty() {
        State::New
    } else {
        State::Running
    }
}

#[derive(Deserialize)]
struct Migration {
    #[serde(default)]
    status: MigrationStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MigrationStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
    /// The first thing that the controller writes: its rows are those up to here.
    #[serde(default)]
    resource_version: Box<str>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: Box<str>,
    status: Box<str>,
    #[serde(default)]
    message: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &serde_json::Value) -> State {
        state_of(&Response {
            status: 200,
            body: json!({"status": status}).to_string().into_bytes(),
            ..Response::default()
        })
    }

    #[test]
    fn states_of_a_migration() {
        let condition =
            |kind: &str, status: &str| json!({"type": kind, "status": status, "message": "a\nb"});
        assert_eq!(state(&json!({})), State::New);
        assert_eq!(state(&json!({"resourceVersion": "5"})), State::Running);
        let running = condition("Running", "True");
        assert_eq!(state(&json!({"conditions": [running]})), State::Running);
        let ended =
            json!({"conditions": [condition("Running", "False"), condition("Succeeded", "True")]});
        assert_eq!(state(&ended), State::Succeeded);
        let failed =
            json!({"conditions": [condition("Succeeded", "False"), condition("Failed", "True")]});
        assert_eq!(state(&failed), State::Failed("a b".into()));
    }

    #[test]
    fn names_are_names_of_objects() {
        let widgets = GroupResource::from_text("widgets.example.com");
        assert_eq!(name_of(&widgets), "kdc-envelope-widgets.example.com");
    }

    #[test]
    fn what_is_gone_and_what_is_there_already_is_no_failure() {
        let response = |status| Response {
            status,
            ..Response::default()
        };
        assert!(matches!(judge(Verb::Delete, response(404)), Ok(Ok(None))));
        assert!(matches!(judge(Verb::Create, response(409)), Ok(Ok(None))));
        assert!(matches!(
            judge(Verb::Create, response(201)),
            Ok(Ok(Some(_)))
        ));
        assert!(matches!(judge(Verb::Get, response(503)), Ok(Err(_))));
        let denied = judge(Verb::Create, response(403));
        assert!(matches!(
            denied,
            Err(RewriteError::Denied {
                verb: Verb::Create,
                ..
            })
        ));
    }
}
