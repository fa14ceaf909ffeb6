//! `kms-plugin` with its key in OpenBao, beside a bare HTTP client that sends one request for each call, and beside the same
//! plugin with a local key. One OpenBao, one run.

mod bare;
mod calls;
mod cold;
mod fixture;
mod memory;
mod policy;
mod rates;

use std::path::Path;

use anyhow::Result;

use crate::print;
use calls::Steady;
use fixture::Fixture;

pub(crate) async fn compare(kms_plugin: &Path) -> Result<()> {
    let fixture = Fixture::start(kms_plugin).await?;
    print(format_args!(
        "kms-plugin on OpenBao {}, server, plugin and load generator on the same cores\n",
        fixture.version()
    ));
    // It idles behind its own proxy while all else is measured.
    let steady = Steady::begin(&fixture).await?;
    rates::against_bare(&fixture).await?;
    rates::against_local(&fixture, kms_plugin).await?;
    cold::compare(&fixture).await?;
    policy::compare(&fixture).await?;
    calls::count(&fixture).await?;
    memory::measure(&fixture).await?;
    steady.end()
}

/// The head of a table.
fn head(columns: &[&str]) {
    print(format_args!("| {} |", columns.join(" | ")));
    print(format_args!("|{}", "---|".repeat(columns.len())));
}
