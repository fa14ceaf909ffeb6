//! `kms-plugin` with its key in OpenBao, beside a bare HTTP client that sends one request for each call, and beside the same
//! plugin with a local key. One OpenBao, one run.

mod bare;
mod calls;
mod cold;
mod memory;
mod policy;
mod rates;
mod stand;

use std::path::Path;

use anyhow::Result;

use crate::print;
use calls::Steady;
use stand::Stand;

pub(crate) async fn compare(kms_plugin: &Path) -> Result<()> {
    let stand = Stand::start(kms_plugin).await?;
    print(format_args!(
        "kms-plugin on OpenBao {}, server, plugin and load generator on the same cores\n",
        stand.version()
    ));
    // It idles behind its own proxy while all else is measured.
    let steady = Steady::begin(&stand).await?;
    rates::against_bare(&stand).await?;
    rates::against_local(&stand, kms_plugin).await?;
    cold::compare(&stand).await?;
    policy::compare(&stand).await?;
    calls::count(&stand).await?;
    memory::measure(&stand).await?;
    steady.end()
}

/// The head of a table.
fn head(columns: &[&str]) {
    print(format_args!("| {} |", columns.join(" | ")));
    print(format_args!("|{}", "---|".repeat(columns.len())));
}
