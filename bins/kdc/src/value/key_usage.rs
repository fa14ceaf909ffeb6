//! Counting rows of a live etcd by what encrypts them.

use kdc_envelope::key_usage::KeyUsage;

use crate::etcd::Connection;
use crate::failure::{Exit, Failure};

/// Counts the rows under `prefix` as of one moment; an empty one stands for the whole etcd.
pub(super) fn count(etcd: &Connection, prefix: &str) -> Result<KeyUsage, Failure> {
    let mut usage = KeyUsage::new(prefix);
    etcd.scan(prefix.as_bytes(), |row| {
        usage.count(&row.key, &row.value);
    })?;
    if usage.rows() == 0 {
        let failure = match prefix.is_empty() {
            true => Failure::new(
                Exit::NoInput,
                format_args!("etcd at `{}` has no row at all", etcd.endpoint()),
            ),
            false => Failure::new(
                Exit::NoInput,
                format_args!(
                    "--etcd-prefix: etcd at `{}` has no row under `{prefix}`",
                    etcd.endpoint()
                ),
            )
            .hint("--etcd-prefix '' counts all rows and shows the prefixes of API servers"),
        };
        return Err(failure);
    }
    Ok(usage)
}
