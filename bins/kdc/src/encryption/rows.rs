//! The rows in etcd, held against who should have written them: the flags, and errors as lines.

use clap::Args;
use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
#[cfg(test)]
pub(super) use kdc_envelope_k8s::rows::GroupRows;
pub(super) use kdc_envelope_k8s::rows::{Origin, ResourceRows, Rows};
use kdc_envelope_k8s::rows::{RowExpectations, RowsError};
use tokio::runtime::Runtime;

use super::refusal;
use crate::etcd::{self, EtcdFlags};
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

/// Asks the API servers what rows there should be.
pub(super) async fn ask(
    plane: &ControlPlane,
    observation: &Observation,
) -> Result<RowExpectations, Failure> {
    let layouts = observation.layouts();
    let Some(layout) = layouts.first() else {
        let line = "no EncryptionConfiguration can be read, so it is not known which provider should have written the rows";
        return Err(Failure::new(Exit::Config, line));
    };
    let asked = RowExpectations::ask(&plane.client, layout, &observation.observed.servers).await;
    asked.map_err(|error| refusal::of_rewrite(&error))
}

/// Reads all rows.
pub(super) fn read(
    flags: &RowFlags,
    expectations: &RowExpectations,
    runtime: &Runtime,
) -> Result<Rows, Failure> {
    runtime.block_on(async {
        let Some(etcd) = flags.etcd.connect().await? else {
            return Err(Failure::new(Exit::Usage, "--etcd-endpoints is missing"));
        };
        let one = etcd.check_one_cluster().await;
        one.map_err(|error| etcd::of_etcd(&error))?;
        let rows = expectations.read(&etcd, flags.etcd_prefix.as_deref()).await;
        etcd::note_needless_user(&etcd);
        rows.map_err(|error| of_rows(&error))
    })
}

fn of_rows(error: &RowsError) -> Failure {
    const PREFIX: &str = "--etcd-prefix";
    match error {
        RowsError::Etcd(error) => etcd::of_etcd(error),
        RowsError::Keys(error) => {
            etcd::of_etcd(error).hint("or name --etcd-prefix, so that not every key must be read")
        }
        RowsError::EmptyPrefix => Failure::new(
            Exit::Usage,
            "--etcd-prefix is empty; write / if kube-apiserver keeps its objects without a prefix",
        ),
        RowsError::NoApiServer { .. } => Failure::at(Exit::NoInput, "--etcd-endpoints", error)
            .hint("is it the etcd of this cluster? --etcd-prefix names a prefix that is not found"),
        RowsError::NotThere { .. } => Failure::at(Exit::NoInput, PREFIX, error),
        RowsError::Ambiguous { .. } => {
            Failure::at(Exit::Usage, format_args!("{PREFIX} is missing"), error)
        }
        RowsError::OtherCluster { .. } => Failure::of(Exit::Negative, error)
            .hint("check --etcd-endpoints, --etcd-prefix and --kubeconfig"),
        error => Failure::of(Exit::Unavailable, error),
    }
}
