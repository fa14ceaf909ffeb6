//! Asking an API server what rows there should be, and reading them.

use kdc_envelope::evidence::{Conclusion, Evidence, Gap, GapKind};
use kdc_envelope::key_usage::KeyUsage;
use kube::Client;
use serde::Serialize;

use super::{ExpectedRows, ResourceRows, RowsError, prefix};
use crate::encryption_config::{GroupResource, Layout, etcd_prefix};
use crate::etcd::RowSource;
use crate::rewrite::{RewriteError, Skipped, count, resolve};
use crate::rotation::ApiServer;

/// The rows that there should be, as an API server tells. Holds no row yet.
pub struct RowExpectations {
    expected: Vec<ExpectedRows>,
    not_served: Vec<Skipped>,
    client: Client,
    identity: Option<prefix::Identity>,
}

/// The rows of all resources, and what they say.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Rows {
    /// Where they are from.
    #[serde(flatten)]
    pub origin: Origin,
    /// One for each resource.
    pub resources: Vec<ResourceRows>,
    /// Names under which nothing is served; their rows are read all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    #[serde(skip)]
    evidence: Evidence,
}

/// Where rows are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "plain data that pages show")]
pub struct Origin {
    /// The address of etcd.
    pub etcd: String,
    /// The prefix under which they are; `/` if there is none.
    pub etcd_prefix: String,
    /// What keeps it unknown whether every row is on the newest key.
    pub unknown: Vec<String>,
}

impl core::fmt::Debug for RowExpectations {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RowExpectations")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl RowExpectations {
    /// Asks the API server behind `client` which resources the configuration stands for, wildcards spelled out, and whose
    /// rows they are. `servers` tell the key ids of KMS plugins.
    ///
    /// # Errors
    /// [`RewriteError`]: the API server does not answer, or does not let this user ask.
    pub async fn ask(
        client: &Client,
        layout: &Layout,
        servers: &[ApiServer],
    ) -> Result<Self, RewriteError> {
        let names: Vec<_> = layout.rules().map(|(name, _)| name.clone()).collect();
        let (served, not_served) = match names.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => {
                let resolved = resolve(client, &names).await?;
                let not_served = resolved.not_served().cloned().collect();
                (resolved.resources, not_served)
            }
        };
        // A definition that was deleted may have left rows.
        let left = not_served.iter().map(|skipped: &Skipped| &skipped.resource);
        let resources = served.iter().map(|served| &served.resource).chain(left);
        Ok(Self {
            expected: ExpectedRows::of(layout, servers, resources.cloned()),
            identity: prefix::identity(client).await,
            client: client.clone(),
            not_served,
        })
    }

    /// Reads all rows. `prefix` is the `--etcd-prefix` of kube-apiserver; without one, it is found by the namespace
    /// `kube-system`, whose row the API server has written.
    ///
    /// # Errors
    /// [`RowsError`]: etcd cannot be read, or it is not known which rows are those of the API server.
    pub async fn read(
        &self,
        etcd: &dyn RowSource,
        prefix: Option<&str>,
    ) -> Result<Rows, RowsError> {
        let prefix = prefix::find(etcd, prefix, self.identity.as_ref()).await?;
        let mut evidence = Evidence::new();
        let mut resources = Vec::new();
        let mut without_rows = Vec::new();
        for expected in &self.expected {
            let usage = usage(etcd, &prefix, &expected.resource).await?;
            let (rows, judged) = expected.judge(&usage);
            evidence.merge(judged);
            if rows.rows == 0 {
                without_rows.push(expected.resource.clone());
            }
            resources.push(rows);
        }
        evidence.add_gaps(missing(&self.client, &without_rows, &prefix).await);
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
            skipped: self.not_served.clone(),
            evidence,
        })
    }
}

async fn usage(
    etcd: &dyn RowSource,
    prefix: &str,
    resource: &GroupResource,
) -> Result<KeyUsage, RowsError> {
    let prefix = format!("{prefix}/{}", etcd_prefix(resource));
    let mut usage = KeyUsage::new(prefix.as_str());
    let mut count = |row: crate::etcd::Row| {
        usage.count(&row.key, &row.value);
    };
    etcd.scan(prefix.as_bytes(), &mut count).await?;
    Ok(usage)
}

/// No row is as it should be only where the API server has no object either: its rows may be under another prefix, or in
/// another etcd (`--etcd-servers-overrides`).
async fn missing(client: &Client, resources: &[GroupResource], prefix: &str) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for resource in resources {
        let place = format!("{prefix}/{}", etcd_prefix(resource));
        let counted = count(client, std::slice::from_ref(resource)).await;
        // A user who may not list them does not know whether there are any.
        let objects = counted.ok().map(|counted| counted.objects());
        if objects != Some(0) {
            gaps.push(Gap::new(GapKind::Empty, objects.unwrap_or(0), place));
        }
    }
    gaps
}

impl Rows {
    /// Whether every row is on the newest key.
    #[must_use]
    pub fn conclude(&self) -> Conclusion<'_> {
        self.evidence.conclude()
    }

    /// What was seen for and against it.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The least key of a row that is not.
    #[must_use]
    pub fn first_not_current(&self) -> Option<&str> {
        let firsts = self.resources.iter();
        firsts
            .filter_map(|rows| rows.first_not_current.as_deref())
            .min()
    }
}
