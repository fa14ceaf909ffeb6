//! The Kubernetes auth method: who reviews tokens, and which ServiceAccounts may log in as what.

mod config;
mod network;
mod role;

pub use config::{KubernetesConfig, StoredKubernetesConfig};
pub use role::{AliasNameSource, KubernetesRole};

use super::{Admin, AdminError, Change, LowerName, MountPath};

/// Configuration and roles of one mount of the Kubernetes auth method; from [`Admin::kubernetes`]. The mount itself is ensured with
/// [`Admin::auth_mounts`].
#[derive(Debug, Clone, Copy)]
pub struct KubernetesAuth<'a> {
    admin: &'a Admin,
    mount: &'a MountPath,
}

impl<'a> KubernetesAuth<'a> {
    pub(super) const fn new(admin: &'a Admin, mount: &'a MountPath) -> Self {
        Self { admin, mount }
    }

    /// Writes the configuration unless it is as wanted.
    ///
    /// OpenBao does not show the token that it reviews others with, only whether there is one. So another token in the file is no
    /// difference; after it changed, call [`Self::write_config`].
    ///
    /// # Errors
    /// [`AdminError::Bao`]: `Credential` if the token file cannot be read, `Rejected` for certificates that are none.
    pub async fn ensure_config(self, config: &KubernetesConfig) -> Result<Change, AdminError> {
        let found = self.read_config().await?;
        let fields = found.as_ref().map(|found| config.differences(found));
        if fields.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Change::Unchanged);
        }
        self.write_config(config).await?;
        Ok(fields.map_or(Change::Created, |fields| Change::Updated { fields }))
    }

    /// Writes the configuration, whatever is there. What `config` does not name gets its default.
    ///
    /// # Errors
    /// As [`Self::ensure_config`].
    pub async fn write_config(self, config: &KubernetesConfig) -> Result<(), AdminError> {
        let path = self.path("config");
        config.write(self.admin, &path).await?;
        Ok(())
    }

    /// The configuration, if there is one.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn read_config(self) -> Result<Option<StoredKubernetesConfig>, AdminError> {
        Ok(self.admin.read(&self.path("config")).await?)
    }

    /// Writes the role unless it is as wanted in every field. The order of names and the spelling of durations and networks are no
    /// difference.
    ///
    /// # Errors
    /// [`AdminError::StoredOtherwise`] for a network that is none; [`AdminError::Bao`]
    pub async fn ensure_role(
        self,
        name: &LowerName,
        role: &KubernetesRole,
    ) -> Result<Change, AdminError> {
        role.check(name)?;
        let found = self.read_role(name).await?;
        let fields = found.as_ref().map(|found| role.differences(found));
        if fields.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Change::Unchanged);
        }
        self.admin.write(&self.role_path(name), role).await?;
        Ok(fields.map_or(Change::Created, |fields| Change::Updated { fields }))
    }

    /// The role, if there is one.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn read_role(self, name: &LowerName) -> Result<Option<KubernetesRole>, AdminError> {
        Ok(self.admin.read(&self.role_path(name)).await?)
    }

    /// The names of the roles.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn list_roles(self) -> Result<Vec<String>, AdminError> {
        Ok(self.admin.list(&self.path("role")).await?)
    }

    /// Deletes the role, unless it is gone already. Tokens that it gave stay good until they expire, but are renewed no more.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn delete_role(self, name: &LowerName) -> Result<(), AdminError> {
        self.admin.delete(&self.role_path(name)).await?;
        Ok(())
    }

    fn path(self, what: &str) -> String {
        format!("auth/{}/{what}", self.mount)
    }

    fn role_path(self, name: &LowerName) -> String {
        self.path(&format!("role/{name}"))
    }
}
