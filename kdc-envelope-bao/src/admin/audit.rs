//! Which audit devices there are. They are declared in the configuration of the server and cannot be made through the API.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Admin, AdminError};

/// Something that OpenBao writes its audit log to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct AuditDevice {
    /// `file`, `socket`, `syslog` or `http`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The note that an administrator left about it.
    #[serde(default)]
    pub description: String,
}

impl Admin {
    /// The audit devices by their paths. They belong to the root namespace, which is asked whatever the own namespace is; the token needs
    /// `sudo` on `sys/audit` there.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn audit_devices(&self) -> Result<BTreeMap<String, AuditDevice>, AdminError> {
        let answer = self.in_namespace(None).get("sys/audit").await?;
        let devices: BTreeMap<String, AuditDevice> = answer.data()?;
        Ok(super::mounts::without_slashes(devices))
    }
}
