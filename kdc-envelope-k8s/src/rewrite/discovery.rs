//! Asks an API server what it serves.
//!
//! By the documents for each group and version, which all versions of Kubernetes have. The aggregated document would be one
//! request, but it may leave a group out of date without an error.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{RewriteError, Verb};
use super::resolve::{Group, Resource, Version, concerns};
use super::response::{Failure, Response, judge_other};
use super::retry_budget::RetryBudget;
use super::transport::Transport;
use crate::encryption_config::GroupResource;

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// What is served, as far as it can matter for these names; the core group comes first.
pub(super) async fn discover(
    transport: &Transport,
    retries: &mut RetryBudget<'_>,
    wanted: &[GroupResource],
) -> Result<Vec<Group>, RewriteError> {
    let mut server = Server { transport, retries };
    let core = server.version("/api/v1", "v1").await?;
    let mut groups = vec![Group {
        name: "".into(),
        versions: core.into_iter().collect(),
    }];
    if wanted.iter().all(|name| name.group().is_empty()) {
        return Ok(groups);
    }
    let listed: GroupList = server.read("/apis", "/apis").await?;
    let mut services = server.services().await?;
    for group in listed.groups {
        if !concerns(&group.name, wanted) {
            continue;
        }
        let mut versions = Vec::new();
        for name in group.in_order_of_preference() {
            let service = services.remove(&(name.clone(), group.name.clone()));
            if service.is_some() {
                versions.push(Version {
                    name,
                    service,
                    resources: Vec::new(),
                });
                continue;
            }
            let path = format!("/apis/{}/{name}", group.name);
            versions.extend(server.version(&path, &name).await?);
        }
        groups.push(Group {
            name: group.name,
            versions,
        });
    }
    groups.extend(away(services, wanted));
    Ok(groups)
}

/// Services of aggregated API servers, by version and group.
type Services = BTreeMap<(Box<str>, Box<str>), Box<str>>;

/// Groups of aggregated API servers that are not even listed, since nothing answers for them.
fn away(services: Services, wanted: &[GroupResource]) -> impl Iterator<Item = Group> {
    let services = services.into_iter();
    let services = services.filter(|((_, group), _)| concerns(group, wanted));
    services.map(|((version, group), service)| Group {
        name: group,
        versions: vec![Version {
            name: version,
            service: Some(service),
            resources: Vec::new(),
        }],
    })
}

struct Server<'a, 't> {
    transport: &'a Transport,
    retries: &'a mut RetryBudget<'t>,
}

impl Server<'_, '_> {
    /// `None` if the version went while it was asked for.
    async fn version(&mut self, path: &str, name: &str) -> Result<Option<Version>, RewriteError> {
        let Some(list): Option<ResourceList> = self.read_if_there(path, path).await? else {
            return Ok(None);
        };
        Ok(Some(Version {
            name: name.into(),
            service: None,
            resources: list.resources.into_iter().map(Resource::from).collect(),
        }))
    }

    async fn services(&mut self) -> Result<Services, RewriteError> {
        let list: ApiServiceList = self
            .read(API_SERVICES, "apiservices.apiregistration.k8s.io")
            .await?;
        let entries = list.items.into_iter().filter_map(|item| {
            let ApiServiceSpec {
                group,
                version,
                service,
            } = item.spec;
            let service = service?;
            let name = format!("{}/{}", service.namespace, service.name);
            Some(((version, group), name.into()))
        });
        Ok(entries.collect())
    }

    async fn read<T: DeserializeOwned>(
        &mut self,
        path: &str,
        what: &str,
    ) -> Result<T, RewriteError> {
        match self.read_if_there(path, what).await? {
            Some(document) => Ok(document),
            None => Err(RewriteError::Unexpected {
                server: self.transport.server(),
                verb: Verb::Get,
                resource: what.into(),
                why: "status 404".into(),
            }),
        }
    }

    /// Tries until there is a response.
    async fn read_if_there<T: DeserializeOwned>(
        &mut self,
        path: &str,
        what: &str,
    ) -> Result<Option<T>, RewriteError> {
        let verb = if path == API_SERVICES {
            Verb::List
        } else {
            Verb::Get
        };
        let transport = self.transport;
        let judge = |response: Response| read_document(&response, verb, what);
        self.retries
            .until_answered(verb, what, || transport.get(path), judge)
            .await
    }
}

/// The document, or a failure that may pass.
fn read_document<T: DeserializeOwned>(
    response: &Response,
    verb: Verb,
    what: &str,
) -> Result<Result<Option<T>, Failure>, RewriteError> {
    match response.status {
        200 => Ok(serde_json::from_slice(&response.body)
            .map(Some)
            .map_err(|error| {
                Failure::server(&format!("an answer that is not understood: {error}"))
            })),
        404 => Ok(Ok(None)),
        _ => judge_other(verb, what, response).map(Err),
    }
}

#[derive(Debug, Deserialize)]
struct GroupList {
    groups: Vec<GroupDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupDocument {
    name: Box<str>,
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Debug, Deserialize)]
struct GroupVersion {
    version: Box<str>,
}

impl GroupDocument {
    fn in_order_of_preference(&self) -> Vec<Box<str>> {
        let preferred = self.preferred_version.iter();
        let mut names: Vec<_> = preferred.map(|version| version.version.clone()).collect();
        for version in &self.versions {
            if !names.contains(&version.version) {
                names.push(version.version.clone());
            }
        }
        names
    }
}

#[derive(Debug, Deserialize)]
struct ResourceList {
    resources: Vec<ResourceDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDocument {
    name: Box<str>,
    #[serde(default)]
    verbs: Option<Vec<Box<str>>>,
    #[serde(default)]
    storage_version_hash: Box<str>,
}

impl From<ResourceDocument> for Resource {
    fn from(document: ResourceDocument) -> Self {
        Self {
            name: document.name,
            verbs: document.verbs.unwrap_or_default(),
            is_stored: !document.storage_version_hash.is_empty(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct ApiServiceList {
    items: Vec<ApiService>,
}

#[derive(Debug, Deserialize)]
struct ApiService {
    spec: ApiServiceSpec,
}

#[derive(Debug, Deserialize)]
struct ApiServiceSpec {
    #[serde(default)]
    group: Box<str>,
    #[serde(default)]
    version: Box<str>,
    #[serde(default)]
    service: Option<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(default)]
    namespace: Box<str>,
    #[serde(default)]
    name: Box<str>,
}
