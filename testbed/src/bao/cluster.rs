//! Three OpenBao servers that are one raft cluster.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ACTIVE, Bao, Options, POLL, STANDBY, START_LIMIT, unexpected};
use crate::Error;

const NODES: usize = 3;
/// A node that is stopped answers never.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// A raft cluster of three servers, each on its own ports. When its leader is
/// killed, another leads within seconds.
#[derive(Debug)]
pub struct BaoCluster {
    nodes: Vec<Bao>,
}

impl BaoCluster {
    /// Starts the nodes as `options` say, always with persistent storage,
    /// and waits until all of them vote. All have the same root token.
    ///
    /// # Errors
    /// As [`Options::start`].
    pub async fn start(options: Options) -> Result<Self, Error> {
        let options = options.persistent();
        let mut first = options.clone().start().await?;
        first.healthy = &[ACTIVE, STANDBY];
        // A node votes once it was stable so long; the default is 10 s.
        let autopilot = json!({"server_stabilization_time": "250ms"});
        let path = "sys/storage/raft/autopilot/configuration";
        first.root().call("POST", path, Some(autopilot)).await?;
        let mut nodes = vec![first];
        for number in 1..NODES {
            let mut options = options.clone();
            options.node = number;
            let node = Bao::start_blank(&options).await?;
            let joined = match nodes.first() {
                Some(first) => join(node, first).await?,
                None => node,
            };
            nodes.push(joined);
        }
        let cluster = Self { nodes };
        cluster.wait_for_voters().await?;
        Ok(cluster)
    }

    /// Where the nodes listen, in their order.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.address().to_owned())
            .collect()
    }

    /// The three nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Bao] {
        &self.nodes
    }

    /// The three nodes, to kill, stop and restart them.
    pub fn nodes_mut(&mut self) -> &mut [Bao] {
        &mut self.nodes
    }

    /// Waits until a node is active and gives its place in [`Self::nodes`].
    ///
    /// # Errors
    /// [`Error::Unexpected`] when none is active after a minute.
    pub async fn leader(&self) -> Result<usize, Error> {
        self.leader_other_than(None).await
    }

    /// Makes the leader give up its lead, which it will not take again for
    /// 10 s, and gives the place of the next one.
    ///
    /// # Errors
    /// As [`Self::leader`].
    pub async fn step_down(&self) -> Result<usize, Error> {
        let leader = self.leader().await?;
        if let Some(node) = self.nodes.get(leader) {
            node.root().call("PUT", "sys/step-down", None).await?;
        }
        self.leader_other_than(Some(leader)).await
    }

    async fn leader_other_than(&self, old: Option<usize>) -> Result<usize, Error> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            for (place, node) in self.nodes.iter().enumerate() {
                if old == Some(place) {
                    continue;
                }
                let health = node.root().request("GET", "sys/health", None);
                if let Ok(Ok((ACTIVE, _))) = tokio::time::timeout(PROBE_LIMIT, health).await {
                    return Ok(place);
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(unexpected(format!(
            "no node of the cluster was active within {} s",
            START_LIMIT.as_secs()
        )))
    }

    async fn wait_for_voters(&self) -> Result<(), Error> {
        let start = Instant::now();
        let mut voters = 0;
        while start.elapsed() < START_LIMIT {
            let Some(first) = self.nodes.first() else {
                break;
            };
            let path = "sys/storage/raft/configuration";
            let answer = first.root().call("GET", path, None).await?;
            voters = answer
                .pointer("/data/config/servers")
                .and_then(Value::as_array)
                .map_or(0, |servers| {
                    servers
                        .iter()
                        .filter(|server| server.get("voter") == Some(&Value::Bool(true)))
                        .count()
                });
            if voters == NODES {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(unexpected(format!(
            "{voters} of {NODES} nodes vote after {} s",
            START_LIMIT.as_secs()
        )))
    }
}

/// Lets a blank node join the cluster of `leader`.
async fn join(mut node: Bao, leader: &Bao) -> Result<Bao, Error> {
    let mut body = json!({"leader_api_addr": leader.address()});
    if let (Some(ca), Value::Object(fields)) = (leader.ca_file(), &mut body) {
        let pem = std::fs::read_to_string(ca).map_err(Error::file("read", ca))?;
        fields.insert("leader_ca_cert".to_owned(), Value::String(pem));
    }
    node.root
        .call("POST", "sys/storage/raft/join", Some(body))
        .await?;
    node.healthy = leader.healthy;
    node.unseal_key.clone_from(&leader.unseal_key);
    node.root = node.root.with_token(leader.root_token());
    node.unseal().await?;
    Ok(node)
}
