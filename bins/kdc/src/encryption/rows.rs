//! The rows in etcd, held against who should have written them.

use std::collections::BTreeMap;

use clap::Args;
use kdc_envelope::evidence::{Conclusion, Evidence, Gap, GapKind};
use kdc_envelope::key_usage::{KeyUsage, Provider, RowGroup};
use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
use kdc_envelope_k8s::encryption_config::{LocalProvider, Transformer, etcd_prefix};
use kdc_envelope_k8s::rewrite::{Skipped, count, resolve};
use kdc_envelope_k8s::{GroupResource, Layout};
use kube::Client;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::{prefix, refusal};
use crate::etcd::{Connection, EtcdFlags};
use crate::failure::{Exit, Failure};

/// Where rows can be read.
#[derive(Debug, Args)]
pub(super) struct RowFlags {
    /// The --etcd-prefix of kube-apiserver [default: the one that is found in etcd]
    #[arg(
        long,
        value_name = "PREFIX",
        requires = "etcd_endpoints",
        help_heading = "etcd"
    )]
    etcd_prefix: Option<String>,
    #[command(flatten)]
    pub(super) etcd: EtcdFlags,
}

/// The rows of all resources, and what they say.
#[derive(Debug, Serialize)]
pub(super) struct Rows {
    #[serde(flatten)]
    pub(super) origin: Origin,
    pub(super) resources: Vec<ResourceRows>,
    /// Names under which nothing is served; rows of theirs are looked for all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) skipped: Vec<Skipped>,
    #[serde(skip)]
    evidence: Evidence,
}

/// Where rows are from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Origin {
    /// The address of etcd.
    pub(super) etcd: String,
    /// The prefix under which they are; `/` if there is none.
    pub(super) etcd_prefix: String,
    /// What keeps it unknown whether every row is on the newest key.
    pub(super) unknown: Vec<String>,
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
    /// The least etcd key of a row that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_not_current: Option<String>,
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

/// What the API servers tell of the rows.
pub(super) struct Told {
    expected: Vec<Expected>,
    not_served: Vec<Skipped>,
    client: Client,
    /// Whose rows they are.
    identity: Option<prefix::Identity>,
}

/// Asks the API servers what rows there should be.
pub(super) async fn ask(plane: &ControlPlane, observation: &Observation) -> Result<Told, Failure> {
    let (expected, not_served) = expected(plane, observation).await?;
    Ok(Told {
        expected,
        not_served,
        client: plane.client.clone(),
        identity: prefix::identity(&plane.client).await,
    })
}

/// The resources that the configuration names, wildcards spelled out, each with its writer; and those that nobody serves.
async fn expected(
    plane: &ControlPlane,
    observation: &Observation,
) -> Result<(Vec<Expected>, Vec<Skipped>), Failure> {
    let layouts = observation.layouts();
    let Some(layout) = layouts.first() else {
        let line = "no EncryptionConfiguration can be read, so nobody knows who should have written the rows";
        return Err(Failure::new(Exit::Config, line));
    };
    let names: Vec<_> = layout.rules().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let resolved = resolve(&plane.client, &names).await;
    let resolved = resolved.map_err(|error| refusal::of_rewrite(&error))?;
    let hashes = key_id_hashes(observation);
    // A definition that was deleted may have left rows.
    let not_served: Vec<_> = resolved.not_served().cloned().collect();
    let served = resolved.resources.into_iter().map(|served| served.resource);
    let others = not_served.iter().map(|skipped| skipped.resource.clone());
    let expected = served.chain(others).map(|resource| {
        let writer = writer(layout, &resource);
        let kms = writer.kms_v2();
        let key_id_hash = kms.and_then(|kms| hashes.get(&*kms.name).cloned().flatten());
        Expected {
            resource,
            writer,
            key_id_hash,
        }
    });
    Ok((expected.collect(), not_served))
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

/// Reads all rows.
pub(super) fn read(flags: &RowFlags, told: &Told, runtime: &Runtime) -> Result<Rows, Failure> {
    let Some(etcd) = flags.etcd.connection()? else {
        return Err(Failure::new(Exit::Usage, "--etcd-endpoints is missing"));
    };
    etcd.check_one_cluster()?;
    let given = flags.etcd_prefix.as_deref();
    let prefix = prefix::find(&etcd, given, told.identity.as_ref())?;
    let mut evidence = Evidence::new();
    let mut resources = Vec::new();
    let mut without_rows = Vec::new();
    for expected in &told.expected {
        let usage = key_usage(&etcd, &prefix, expected)?;
        let rows = ResourceRows::of(expected, &usage);
        evidence.merge(rows.evidence(expected, &usage));
        if rows.rows == 0 {
            without_rows.push(expected.resource.clone());
        }
        resources.push(rows);
    }
    for gap in runtime.block_on(missing(&told.client, &without_rows, &prefix)) {
        evidence.add_gap(gap);
    }
    let origin = Origin {
        etcd: etcd.endpoint().to_owned(),
        etcd_prefix: match prefix.is_empty() {
            true => "/".to_owned(),
            false => prefix,
        },
        unknown: evidence.gaps().iter().map(ToString::to_string).collect(),
    };
    Ok(Rows {
        origin,
        resources,
        skipped: told.not_served.clone(),
        evidence,
    })
}

fn key_usage(etcd: &Connection, prefix: &str, expected: &Expected) -> Result<KeyUsage, Failure> {
    let prefix = format!("{prefix}/{}", etcd_prefix(&expected.resource));
    let mut usage = KeyUsage::new(prefix.as_str());
    etcd.scan(prefix.as_bytes(), |row| {
        usage.count(&row.key, &row.value);
    })?;
    Ok(usage)
}

/// No row is as it should be only where the API server has no object either: its rows may be under another prefix, or in
/// another etcd (`--etcd-servers-overrides`).
async fn missing(client: &Client, resources: &[GroupResource], prefix: &str) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for resource in resources {
        let place = format!("{prefix}/{}", etcd_prefix(resource));
        let counted = count(client, std::slice::from_ref(resource)).await;
        // Who may not list them does not know whether there are any.
        let objects = counted.ok().map(|counted| counted.objects());
        if objects != Some(0) {
            gaps.push(Gap::new(GapKind::Empty, objects.unwrap_or(0), place));
        }
    }
    gaps
}

impl Rows {
    /// Whether every row is on the newest key.
    pub(super) fn conclude(&self) -> Conclusion<'_> {
        self.evidence.conclude()
    }

    /// The least key of a row that is not.
    pub(super) fn first_not_current(&self) -> Option<&str> {
        let firsts = self.resources.iter();
        firsts
            .filter_map(|rows| rows.first_not_current.as_deref())
            .min()
    }
}

impl ResourceRows {
    fn of(expected: &Expected, usage: &KeyUsage) -> Self {
        let groups: Vec<_> = usage
            .groups()
            .iter()
            .map(|group| GroupRows::of(expected, group))
            .collect();
        let current = groups.iter().filter(|group| group.current);
        let current = current.map(|group| group.rows).sum();
        let stale = usage.groups().iter().zip(&groups);
        let stale = stale.filter(|(_, shown)| !shown.current);
        let first = stale.map(|(group, _)| &group.first_key).min();
        Self {
            resource: expected.resource.to_string(),
            writer: expected.writer.to_string(),
            rows: usage.rows(),
            current,
            first_not_current: first.map(|key| String::from_utf8_lossy(key).into_owned()),
            groups,
        }
    }

    /// What the rows say about the statement that every one is on the newest key.
    fn evidence(&self, expected: &Expected, usage: &KeyUsage) -> Evidence {
        let mut evidence = Evidence::new();
        evidence.agrees(self.current);
        let place = || String::from_utf8_lossy(usage.prefix()).into_owned();
        let ungrouped = usage.ungrouped();
        if ungrouped > 0 {
            evidence.add_gap(Gap::new(GapKind::TooMany, ungrouped, place()));
        }
        let damaged: Vec<_> = usage
            .groups()
            .iter()
            .filter(|group| group.damaged)
            .collect();
        let unreadable: u64 = damaged.iter().map(|group| group.rows).sum();
        if let Some(first) = damaged.iter().map(|group| &group.first_key).min() {
            let first = String::from_utf8_lossy(first);
            evidence.add_gap(Gap::new(GapKind::Unreadable, unreadable, first));
        }
        let stale = self.rows - self.current - ungrouped - unreadable;
        match expected.writer.kms_v2() {
            // Rows of the right plugin are neither new nor old while nobody knows which key is its newest.
            Some(kms) if expected.key_id_hash.is_none() => {
                let name = &*kms.name;
                let of_plugin = usage.groups().iter().filter(|group| {
                    let is_writer = group.provider == Provider::KmsV2;
                    is_writer && group.name.as_deref() == Some(name) && !group.damaged
                });
                let undecided: u64 = of_plugin.map(|group| group.rows).sum();
                evidence.contradicts(stale - undecided);
                if undecided > 0 {
                    let what = format!("newest key id of the KMS plugin {name}");
                    evidence.add_gap(Gap::new(GapKind::Unreadable, 0, what));
                }
            }
            _ => evidence.contradicts(stale),
        }
        evidence
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
            group.provider == row_provider(key.provider()) && name == key.name().as_str()
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

const fn row_provider(provider: LocalProvider) -> Provider {
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
