//! What `status` shows, in the form in which programs read it.

use std::collections::BTreeMap;

use kdc_envelope_k8s::Layout;
use kdc_envelope_k8s::control_plane::Observation;
use kdc_envelope_k8s::rotation::{ApiServer, Observed, Wish, plan};
use serde::Serialize;

use crate::clock;
use crate::encryption::rows::{Origin, ResourceRows};

/// Everything.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) taken: Option<String>,
    pub(super) resources: Vec<ResourceReport>,
    pub(super) servers: Vec<ServerReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<Vec<ResourceRows>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows_from: Option<Origin>,
    /// The last change that was asked for.
    pub(super) change: Option<ChangeReport>,
}

/// A name or wildcard of the first node's configuration.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceReport {
    pub(super) resource: String,
    pub(super) writer: String,
    pub(super) readers: Vec<String>,
}

/// An API server.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerReport {
    pub(super) name: String,
    pub(super) version: Option<String>,
    /// Of its configuration file.
    pub(super) file: String,
    /// What it uses: `its file`, `another file`, or why that is not known.
    pub(super) loaded: String,
    /// Who writes each resource by what it uses, where that is known.
    pub(super) writers: BTreeMap<String, String>,
    pub(super) since: Option<String>,
    pub(super) key_ids: Vec<KeyIdReport>,
}

/// The key id of a KMS plugin, as its hash.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyIdReport {
    pub(super) provider: String,
    pub(super) key_id_hash: String,
}

/// A change and how far it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeReport {
    pub(super) change: &'static str,
    pub(super) asked: String,
    pub(super) phase: String,
    pub(super) blockers: Vec<String>,
}

impl Report {
    pub(super) fn new(observation: &Observation, wish: Option<&Wish>) -> Self {
        let layouts = observation.layouts();
        let rules = layouts
            .first()
            .into_iter()
            .flat_map(|layout| Layout::rules(layout));
        let resources = rules.map(|(name, chain)| ResourceReport {
            resource: name.to_string(),
            writer: chain.writer().to_string(),
            readers: chain.iter().skip(1).map(ToString::to_string).collect(),
        });
        let servers = observation.observed.servers.iter().enumerate();
        let version = |index: usize| {
            let node = observation.nodes.get(index)?;
            let state = node.server.as_ref().ok()?;
            Some(state.version.to_string())
        };
        Self {
            taken: clock::rfc3339(observation.now.as_secs()),
            resources: resources.collect(),
            servers: servers
                .map(|(index, server)| {
                    let used = used(server, &observation.observed);
                    ServerReport::new(server, version(index), used)
                })
                .collect(),
            rows: None,
            rows_from: None,
            change: wish.map(|wish| ChangeReport::new(wish, observation)),
        }
    }
}

/// What the file means that `server` uses, if it is one that is known.
fn used<'o>(server: &'o ApiServer, observed: &'o Observed) -> Option<&'o Layout> {
    let loaded = server.loaded.as_ref().ok()?.hash;
    let files = observed.servers.iter();
    let files = files.filter_map(|server| server.file.as_ref().ok());
    let files = files.map(|file| (file.hash, &file.layout));
    let earlier = observed
        .earlier
        .iter()
        .map(|(hash, layout)| (*hash, layout));
    let mut known = files.chain(earlier);
    known
        .find(|(hash, _)| *hash == loaded)
        .map(|(_, layout)| &**layout)
}

impl ServerReport {
    fn new(server: &ApiServer, version: Option<String>, used: Option<&Layout>) -> Self {
        let file = match &server.file {
            Ok(file) => file.hash.to_string(),
            Err(why) => why.to_string(),
        };
        let (loaded, since) = match (&server.loaded, &server.file) {
            (Ok(loaded), Ok(file)) if loaded.hash == file.hash => {
                ("its file".to_owned(), loaded.since)
            }
            (Ok(loaded), _) => ("another file".to_owned(), loaded.since),
            (Err(why), _) => (why.to_string(), None),
        };
        let key_ids = server.kms.iter().map(|(provider, known)| KeyIdReport {
            provider: provider.to_string(),
            key_id_hash: known.id.to_string(),
        });
        let rules = used.into_iter().flat_map(Layout::rules);
        let writers = rules.map(|(name, chain)| (name.to_string(), chain.writer().to_string()));
        Self {
            name: server.name.to_string(),
            version,
            file,
            loaded,
            writers: writers.collect(),
            since: since.and_then(|since| clock::rfc3339(since.as_secs())),
            key_ids: key_ids.collect(),
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.loaded == "its file"
    }

    /// What it uses, with its writers where that is not its file.
    fn used(&self) -> String {
        if self.is_well() || self.writers.is_empty() {
            return self.loaded.clone();
        }
        let writers = self.writers.iter();
        let writers: Vec<_> = writers
            .map(|(name, writer)| format!("{name}: {writer}"))
            .collect();
        format!("{} ({})", self.loaded, writers.join(", "))
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let dash = || "-".to_owned();
        let key_ids: Vec<_> = self.key_ids.iter().map(KeyIdReport::short).collect();
        vec![
            self.name.clone(),
            self.version.clone().unwrap_or_else(dash),
            self.used(),
            self.since.clone().unwrap_or_else(dash),
            if key_ids.is_empty() {
                dash()
            } else {
                key_ids.join(", ")
            },
        ]
    }
}

impl KeyIdReport {
    /// Enough of the hash to tell it from others.
    pub(super) fn short(&self) -> String {
        let digits = self.key_id_hash.trim_start_matches("sha256:");
        let short: String = digits.chars().take(12).collect();
        format!("{} {short}", self.provider)
    }
}

impl ChangeReport {
    fn new(wish: &Wish, observation: &Observation) -> Self {
        let (phase, blockers) = match wish.desired(&observation.transformers()) {
            Ok(desired) => {
                let plan = plan(&observation.observed, &desired, observation.now);
                let blockers = plan.blockers.iter().map(ToString::to_string).collect();
                (plan.phase.to_string(), blockers)
            }
            Err(error) => ("unknown".to_owned(), vec![error.to_string()]),
        };
        Self {
            change: wish.change.as_str(),
            asked: clock::rfc3339(wish.asked).unwrap_or_else(|| "an unknown time".to_owned()),
            phase,
            blockers,
        }
    }
}
