//! Observing everything that counts, in one go.

use core::time::Duration;
use std::collections::BTreeMap;

use kdc_envelope::ErrorChain;
use tokio::task::JoinSet;

use super::ControlPlane;
use super::ports::{ConfigTarget, PortError, StoredState, UnlistedServer};
use crate::cluster::{self, ClusterError, Member, ServerName, ServerState};
use crate::encryption_config::{Layout, LocalKey, Transformer};
use crate::rotation::history::KeyHistory;
use crate::rotation::{ApiServer, BackupNeeds, Observed, Timestamp};

/// How often everything is asked while API servers go away in the middle.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// An API server renews its Lease every ten seconds.
const RENEWED: Duration = Duration::from_secs(60);

/// What was seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Observation {
    /// For the planner.
    pub observed: Observed,
    /// The state of the changes in full.
    pub stored: StoredState,
    /// The nodes, in their order.
    pub nodes: Vec<NodeView>,
    /// API servers that have a Lease and are none of the nodes.
    pub unlisted: Vec<Member>,
    /// When it was seen.
    pub now: Timestamp,
}

/// What was seen of a node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeView {
    /// Its name for people.
    pub name: Box<str>,
    /// Where its configuration lies, for people.
    pub place: Box<str>,
    /// What its API server says, or why not.
    pub server: Result<ServerState, Box<str>>,
}

/// Nothing can be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The state, the keys of a target, or the needs of backups.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Two of the given addresses lead to one process, so another API server may stand behind none of them.
    #[error(
        "{first} and {second} are one process: they show the same id and the same start; give the address of each API server itself, not of a proxy or load balancer"
    )]
    SameServer {
        /// One name of it.
        first: Box<str>,
        /// The other one.
        second: Box<str>,
    },
    /// The API servers do not say who they are.
    #[error("cannot tell which API servers there are")]
    Members(#[source] ClusterError),
}

impl Observation {
    /// Every transformer that the keyring or a file names.
    #[must_use]
    pub fn transformers(&self) -> Vec<&Transformer> {
        let kept = self.stored.keyring.entries().iter();
        let kept = kept.map(|entry| &entry.transformer);
        let layouts = self.layouts();
        let in_files = layouts.into_iter().flat_map(Layout::transformers);
        kept.chain(in_files).collect()
    }

    /// What the files mean, in the order of the nodes, but for those that cannot be read.
    #[must_use]
    pub fn layouts(&self) -> Vec<&Layout> {
        let files = self.observed.servers.iter();
        files
            .filter_map(|server| server.file.as_ref().ok().map(|file| &*file.layout))
            .collect()
    }
}

impl ControlPlane {
    /// Observes configurations, API servers and state, but does not ask backups ([`Self::ask_backups`]).
    ///
    /// # Errors
    /// [`ObserveError`]. A node that does not answer, or whose file cannot be read, is no error: the planner is told.
    pub async fn observe(&self) -> Result<Observation, ObserveError> {
        for _ in 1..ATTEMPTS {
            match self.observe_once().await {
                // It went away between two questions: the next attempt sees that it does not answer at all.
                Err(ObserveError::Members(ClusterError::Unreachable { .. })) => {
                    tokio::time::sleep(PAUSE).await;
                }
                observed => return observed,
            }
        }
        self.observe_once().await
    }

    async fn observe_once(&self) -> Result<Observation, ObserveError> {
        let stored = self.store.load().await?;
        let mut targets = self.targets.observe().await?;
        let states = self.ask_all().await;
        let now = self.clock.now();
        let mut servers = Vec::new();
        let mut nodes = Vec::new();
        let mut earlier = Vec::new();
        for (node, state) in self.nodes.iter().zip(states) {
            let state = state.map_err(|error| ErrorChain::new(&error).to_string().into_boxed_str());
            let found = targets.iter().position(|target| target.server == node.name);
            let found = found.ok_or_else(|| PortError::UnknownServer(node.name.clone()))?;
            let mut target = targets.swap_remove(found);
            earlier.append(&mut target.earlier);
            nodes.push(NodeView {
                name: node.name.clone(),
                place: target.place.clone(),
                server: state.clone(),
            });
            servers.push(api_server(target, &state, now));
        }
        check_distinct(&nodes)?;
        let unlisted = self.unlisted(&nodes, now).await?;
        let mut others: Vec<UnlistedServer> = unlisted.iter().map(UnlistedServer::of).collect();
        if let Some(members) = &self.members {
            others.extend(members.unlisted().await?);
        }
        let first = servers.first().cloned();
        servers.extend(others.into_iter().filter_map(|other| {
            let first = first.as_ref()?;
            Some(unlisted_server(other, first, &stored.keyring))
        }));
        let observed = Observed {
            servers,
            earlier,
            keyring: stored.keyring.keyring(),
            row_writers: stored.row_writers.clone(),
            rewritten: stored.passes.rewritten.clone(),
            verified: stored.passes.verified.clone(),
            retained: BackupNeeds::NotAsked,
        };
        Ok(Observation {
            observed,
            stored,
            nodes,
            unlisted,
            now,
        })
    }

    /// Asks the backups what they need, if there are any to ask, and puts that into `observation`.
    ///
    /// # Errors
    /// [`PortError`] if they cannot be asked.
    pub async fn ask_backups(&self, observation: &mut Observation) -> Result<(), PortError> {
        if let Some(backups) = &self.backups {
            observation.observed.retained = backups.needs().await?;
        }
        Ok(())
    }

    /// What each node's API server says, in the order of the nodes.
    async fn ask_all(&self) -> Vec<Result<ServerState, ClusterError>> {
        let mut asking = JoinSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let client = node.client.clone();
            asking.spawn(async move { (index, cluster::probe(&client).await) });
        }
        let mut answers: BTreeMap<usize, _> = BTreeMap::new();
        while let Some(answer) = asking.join_next().await {
            answers.extend(answer);
        }
        let unknown = || {
            Err(ClusterError::Unreachable {
                server: ServerName::default(),
                message: "it was not asked to the end".into(),
            })
        };
        let indices = 0..self.nodes.len();
        indices
            .map(|index| answers.remove(&index).unwrap_or_else(unknown))
            .collect()
    }

    /// API servers with a Lease that none of the nodes accounts for. One that has shut down keeps its Lease for an hour, and
    /// counts until then: it may come back. Where something else says which ones there are, one counts as long as it renews its
    /// Lease.
    async fn unlisted(
        &self,
        nodes: &[NodeView],
        now: Timestamp,
    ) -> Result<Vec<Member>, ObserveError> {
        let mut members = match self.members().await {
            Ok(members) => members,
            // With no server that answers there is nothing to compare, and the planner stops anyway.
            Err(_) if nodes.iter().all(|node| node.server.is_err()) => return Ok(Vec::new()),
            Err(error) => return Err(ObserveError::Members(error)),
        };
        let ids = nodes.iter().map(|node| {
            let state = node.server.as_ref().ok()?;
            state.metrics.server_id_hash.as_deref()
        });
        // A server without a configuration shows no id, and one that does not answer neither.
        let nameless = ids.clone().filter(Option::is_none).count();
        members.retain(|member| !ids.clone().flatten().any(|id| id == member.id_hash()));
        members.sort_by_key(|member| core::cmp::Reverse(member.renewed));
        members.drain(..nameless.min(members.len()));
        if self.members.is_some() {
            let is_alive = |renewed: Timestamp| renewed.after(RENEWED) >= now;
            members.retain(|member| member.renewed.is_none_or(is_alive));
        }
        Ok(members)
    }

    /// The first API server that answers says which ones there are.
    async fn members(&self) -> Result<Vec<Member>, ClusterError> {
        let mut outcome = cluster::members(&self.client).await;
        for node in &self.nodes {
            if outcome.is_ok() {
                break;
            }
            outcome = cluster::members(&node.client).await.or(outcome);
        }
        outcome
    }
}

/// Each node must be a process of its own. Those on hosts of one name share their id, but not the time of their start.
fn check_distinct(nodes: &[NodeView]) -> Result<(), ObserveError> {
    let mut known: Vec<((&str, &str), &NodeView)> = Vec::new();
    for node in nodes {
        let process = node.server.as_ref().ok().and_then(|state| {
            let metrics = &state.metrics;
            Some((
                metrics.server_id_hash.as_deref()?,
                metrics.started_exactly.as_deref()?,
            ))
        });
        let Some(process) = process else { continue };
        if let Some((_, first)) = known.iter().find(|(other, _)| *other == process) {
            return Err(ObserveError::SameServer {
                first: first.name.clone(),
                second: node.name.clone(),
            });
        }
        known.push((process, node));
    }
    Ok(())
}

fn api_server(
    target: ConfigTarget,
    state: &Result<ServerState, Box<str>>,
    now: Timestamp,
) -> ApiServer {
    let loaded = match (state, &target.file) {
        (Err(why), _) | (Ok(_), Err(why)) => Err(why.clone()),
        (Ok(state), Ok(file)) => state
            .metrics
            .loaded(file, state.minor, now)
            .map_err(|error| error.to_string().into()),
    };
    let kms = state.as_ref().map(|state| state.metrics.kms_key_ids());
    ApiServer {
        name: target.server,
        file: target.file,
        history: target.keys,
        loaded,
        kms: kms.unwrap_or_default(),
    }
}

impl UnlistedServer {
    /// One that has a Lease.
    fn of(member: &Member) -> Self {
        let host = member.host.as_deref().unwrap_or("an unknown host");
        let lease = &member.lease;
        let why = format!(
            "it is none of the given API servers; if it is gone for good, the Lease `{lease}` in kube-system can be deleted"
        );
        Self {
            name: format!("the API server on {host}").into(),
            why: why.into(),
        }
    }
}

/// An API server that is none of the nodes. It is given the files of another, so that the planner sees nothing to do there but
/// to wait.
fn unlisted_server(other: UnlistedServer, first: &ApiServer, keyring: &KeyHistory) -> ApiServer {
    let keys: Vec<LocalKey> = keyring.local_keys().cloned().collect();
    ApiServer {
        name: other.name,
        file: first.file.clone(),
        history: keys,
        loaded: Err(other.why),
        kms: BTreeMap::new(),
    }
}
