//! Counting rows of a live etcd by what encrypts them.

use kdc_envelope::survey::RowSurvey;

use crate::etcd::Connection;
use crate::failure::{Exit, Failure};

/// Counts the rows under `prefix` as of one moment; an empty one stands for the whole etcd.
pub(super) fn take(etcd: &Connection, prefix: &str) -> Result<RowSurvey, Failure> {
    let mut survey = RowSurvey::new(prefix);
    etcd.scan(prefix.as_bytes(), |row| {
        survey.count(&row.key, &row.value);
    })?;
    if survey.rows() == 0 {
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
            .hint("--etcd-prefix '' counts all rows and tells the prefixes of API servers"),
        };
        return Err(failure);
    }
    Ok(survey)
}
