//! The rows in etcd, held against who should have written them.

use std::collections::BTreeMap;

use clap::Args;
use kdc_envelope::survey::{Provider, RowGroup, RowSurvey};
use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
use kdc_envelope_k8s::encryption_config::{LocalProvider, Transformer, etcd_prefix};
use kdc_envelope_k8s::rewrite::resolve;
use kdc_envelope_k8s::{GroupResource, Layout};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::refusal;
use crate::etcd::EtcdFlags;
use crate::failure::{Exit, Failure};

/// Where rows can be read.
#[derive(Debug, Args)]
pub(super) struct RowFlags {
    /// The --etcd-prefix of kube-apiserver.
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "/registry",
        help_heading = "etcd"
    )]
    etcd_prefix: String,
    #[command(flatten)]
    pub(super) etcd: EtcdFlags,
}

/// The rows of one resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceRows {
    pub(super) resource: String,
    /// Who should have written them.
    pub(super) writer: String,
    pub(super) rows: u64,
    /// Those of this writer, and of its newest key.
    pub(super) current: u64,
    pub(super) groups: Vec<GroupRows>,
}

/// Rows that were written alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupRows {
    /// By whom.
    pub(super) by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_id: Option<String>,
    pub(super) rows: u64,
    pub(super) current: bool,
    pub(super) damaged: bool,
}

/// A resource and who should write it.
pub(super) struct Expected {
    resource: GroupResource,
    writer: Transformer,
    /// The hash of the key id of a KMS plugin that all API servers agree on.
    key_id_hash: Option<String>,
}

/// The resources that the configuration names, wildcards spelled out, each with its writer.
pub(super) async fn expected(
    plane: &ControlPlane,
    observation: &Observation,
) -> Result<Vec<Expected>, Failure> {
    let layouts = observation.layouts();
    let Some(layout) = layouts.first() else {
        let line = "no EncryptionConfiguration can be read, so nobody knows who should have written the rows";
        return Err(Failure::new(Exit::Config, line));
    };
    let names: Vec<_> = layout.rules().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let resolved = resolve(&plane.client, &names).await;
    let resolved = resolved.map_err(|error| refusal::of_rewrite(&error))?;
    let hashes = key_id_hashes(observation);
    // A definition that was deleted may have left rows.
    let not_served: Vec<_> = resolved
        .not_served()
        .map(|skipped| skipped.resource.clone())
        .collect();
    let served = resolved.resources.into_iter().map(|served| served.resource);
    let expected = served.chain(not_served).map(|resource| {
        let writer = writer(layout, &resource);
        let kms = writer.kms_v2();
        let key_id_hash = kms.and_then(|kms| hashes.get(&*kms.name).cloned().flatten());
        Expected {
            resource,
            writer,
            key_id_hash,
        }
    });
    Ok(expected.collect())
}

fn writer(layout: &Layout, resource: &GroupResource) -> Transformer {
    layout.chain_of(resource).writer().clone()
}

/// By KMS provider the hash of its key id; none if the API servers do not agree.
fn key_id_hashes(observation: &Observation) -> BTreeMap<String, Option<String>> {
    let mut hashes: BTreeMap<String, Option<String>> = BTreeMap::new();
    let told = observation
        .observed
        .servers
        .iter()
        .flat_map(|server| &server.kms);
    for (provider, known) in told {
        let hash = Some(known.id.to_string());
        let agreed = hashes
            .entry(provider.to_string())
            .or_insert_with(|| hash.clone());
        if *agreed != hash {
            *agreed = None;
        }
    }
    hashes
}

/// Reads all rows of `expected`.
pub(super) fn read(flags: &RowFlags, expected: &[Expected]) -> Result<Vec<ResourceRows>, Failure> {
    let Some(etcd) = flags.etcd.connection()? else {
        return Err(Failure::new(Exit::Usage, "--etcd-endpoints is missing"));
    };
    let registry = flags.etcd_prefix.trim_end_matches('/');
    let mut resources = Vec::new();
    for expected in expected {
        let prefix = format!("{registry}/{}", etcd_prefix(&expected.resource));
        let mut survey = RowSurvey::new(prefix.as_str());
        etcd.scan(prefix.as_bytes(), |row| {
            survey.count(&row.key, &row.value);
        })?;
        resources.push(ResourceRows::of(expected, &survey));
    }
    let is_empty = resources.iter().all(|resource| resource.rows == 0);
    if is_empty && !etcd.has_any(format!("{registry}/").as_bytes())? {
        let line = format!(
            "--etcd-prefix: etcd has no row under `{registry}/`; is it the prefix that kube-apiserver uses?"
        );
        return Err(Failure::new(Exit::NoInput, line));
    }
    Ok(resources)
}

impl ResourceRows {
    fn of(expected: &Expected, survey: &RowSurvey) -> Self {
        let groups: Vec<_> = survey
            .groups()
            .iter()
            .map(|group| GroupRows::of(expected, group))
            .collect();
        let current = groups.iter().filter(|group| group.current);
        Self {
            resource: expected.resource.to_string(),
            writer: expected.writer.to_string(),
            rows: survey.rows(),
            current: current.map(|group| group.rows).sum(),
            groups,
        }
    }

    pub(super) const fn is_current(&self) -> bool {
        self.current == self.rows
    }
}

impl GroupRows {
    fn of(expected: &Expected, group: &RowGroup) -> Self {
        let name = group.name.as_deref().unwrap_or_default();
        let by = match group.provider {
            Provider::Identity => "identity".to_owned(),
            provider => format!("{} `{name}`", provider.as_str()),
        };
        Self {
            by,
            key_id: group.key_id.clone(),
            rows: group.rows,
            current: is_current(expected, group),
            damaged: group.damaged,
        }
    }
}

fn is_current(expected: &Expected, group: &RowGroup) -> bool {
    let name = group.name.as_deref().unwrap_or_default();
    let is_writer = match &expected.writer {
        Transformer::Identity => group.provider == Provider::Identity,
        Transformer::Local(key) => {
            group.provider == survey_provider(key.provider()) && name == key.name().as_str()
        }
        Transformer::Kms(kms) => group.provider == Provider::KmsV2 && *kms.name == *name,
        _ => false,
    };
    let has_newest_key = match (&expected.writer, &group.key_id) {
        (Transformer::Kms(_), Some(id)) => expected.key_id_hash.as_deref() == Some(&hash(id)),
        (Transformer::Kms(_), None) => false,
        _ => true,
    };
    is_writer && has_newest_key && !group.damaged
}

const fn survey_provider(provider: LocalProvider) -> Provider {
    match provider {
        LocalProvider::Aesgcm => Provider::Aesgcm,
        LocalProvider::Aescbc => Provider::Aescbc,
        LocalProvider::Secretbox => Provider::Secretbox,
        _ => Provider::Unknown,
    }
}

/// As the metrics of kube-apiserver give a key id.
fn hash(key_id: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(key_id)))
}
