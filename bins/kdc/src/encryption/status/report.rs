//! What `status` shows, in the form in which programs read it.

use std::collections::BTreeMap;

use kdc_envelope_k8s::Layout;
use kdc_envelope_k8s::control_plane::Observation;
use kdc_envelope_k8s::rewrite::{Resolution, SkipReason};
use kdc_envelope_k8s::rotation::{ApiServer, Change, Observed, Phase, plan};
use serde::Serialize;

use crate::clock;
use crate::encryption::phase;
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
    /// What configuration files lack of what rows may lie under.
    pub(super) lacking: Vec<String>,
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
    /// Why no row of it is passed over, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<SkipReason>,
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
    /// When it came to its end. What is due since then, such as rows under an earlier key id, needs no abort.
    pub(super) done: Option<String>,
    pub(super) phase: String,
    pub(super) blockers: Vec<String>,
}

impl Report {
    pub(super) fn new(
        observation: &Observation,
        change: Option<&Change>,
        lacking: Vec<String>,
    ) -> Self {
        let layouts = observation.layouts();
        let rules = layouts
            .first()
            .into_iter()
            .flat_map(|layout| Layout::rules(layout));
        let resources = rules.map(|(name, chain)| ResourceReport {
            resource: name.to_string(),
            skipped: None,
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
            lacking,
            rows_from: None,
            change: change.map(|change| ChangeReport::new(change, observation)),
        }
    }
}

impl Report {
    /// Tells of resources that the API server does not serve.
    pub(super) fn skip(&mut self, found: &Resolution) {
        for skipped in found.not_served() {
            let name = skipped.resource.to_string();
            let mut resources = self.resources.iter_mut();
            if let Some(resource) = resources.find(|resource| resource.resource == name) {
                resource.skipped = Some(skipped.reason);
            }
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
    fn new(change: &Change, observation: &Observation) -> Self {
        let (phase, blockers) = match change.desired(&observation.transformers()) {
            Ok(desired) => {
                let plan = plan(&observation.observed, &desired, observation.now);
                let blockers = plan.blockers.iter().map(ToString::to_string).collect();
                (phase::word(plan.phase).to_owned(), blockers)
            }
            Err(error) => ("unknown".to_owned(), vec![error.to_string()]),
        };
        Self {
            change: change.kind.as_str(),
            asked: clock::rfc3339(change.requested).unwrap_or_else(|| "an unknown time".to_owned()),
            done: change.done.and_then(clock::rfc3339),
            phase,
            blockers,
        }
    }

    /// What was asked for and when, and when it was done; what comes after it is how things are now.
    pub(super) fn heading(&self) -> String {
        let (change, asked) = (self.change, &self.asked);
        match &self.done {
            Some(done) if self.phase != Phase::Done.as_str() => {
                format!("{change}, asked for at {asked} and finished at {done}; due since then")
            }
            _ => format!("{change}, asked for at {asked}"),
        }
    }
}
