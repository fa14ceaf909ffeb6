//! Counting rows of a live etcd by what encrypts them: the proof that a key is in use, or no longer.

use kdc_envelope::survey::RowSurvey;

use crate::etcd::Connection;
use crate::failure::{Exit, Failure};

/// Counts the rows under `prefix` as of one moment.
pub(crate) fn take(etcd: &Connection, prefix: &str) -> Result<RowSurvey, Failure> {
    let mut survey = RowSurvey::new(prefix);
    etcd.scan(prefix.as_bytes(), |row| {
        survey.count(&row.key, &row.value);
    })?;
    if survey.rows() == 0 {
        return Err(Failure::new(
            Exit::NoInput,
            format_args!(
                "--etcd-prefix: etcd has no row under `{prefix}`; is it the prefix that kube-apiserver uses?"
            ),
        ));
    }
    Ok(survey)
}
