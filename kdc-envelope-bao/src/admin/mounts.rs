//! Secrets engines and auth methods: which there are, and that the wanted ones are there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use tokio::time::sleep;

use super::{Admin, AdminError, Change, LAG_PAUSES, MountPath};
use crate::client::or_default;
use crate::error::BaoError;

/// The type of the Transit secrets engine.
const TRANSIT: &str = "transit";

/// The secrets engines or the auth methods of a namespace; from [`Admin::mounts`] and [`Admin::auth_mounts`]. All reads are reads of
/// `sys/mounts` or `sys/auth`.
#[derive(Debug, Clone, Copy)]
pub struct Mounts<'a> {
    admin: &'a Admin,
    base: &'static str,
}

type All = BTreeMap<String, Mount>;

/// A secrets engine or an auth method.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Mount {
    /// Such as `transit` or `kubernetes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The note that an administrator left about it.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// A name of this mount that is not used again when another takes its path.
    #[serde(default)]
    pub accessor: String,
    /// Settings of the engine, such as the `version` of a `kv`.
    #[serde(default)]
    pub options: Option<BTreeMap<String, String>>,
}

impl Mount {
    /// Whether it is what mounting a `kind` makes. Two kinds are shown by another name and an option.
    fn is(&self, kind: &str) -> bool {
        let version = || {
            let options = self.options.as_ref();
            options.and_then(|options| Some(options.get("version")?.as_str()))
        };
        match kind {
            "kv-v2" => self.kind == "kv" && version() == Some("2"),
            "kv-v1" => self.kind == "kv" && version() != Some("2"),
            kind => self.kind == kind,
        }
    }
}

#[derive(Serialize)]
struct New<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

/// How OpenBao begins to say that nothing is mounted at a path.
const NO_MOUNT: &str = "No secret engine mount at";

impl<'a> Mounts<'a> {
    pub(super) const fn of_secrets(admin: &'a Admin) -> Self {
        Self {
            admin,
            base: "sys/mounts",
        }
    }

    pub(super) const fn of_auth(admin: &'a Admin) -> Self {
        Self {
            admin,
            base: "sys/auth",
        }
    }

    /// Mounts an engine or method of type `kind`, such as `kubernetes`, unless one is there. Its settings are left alone.
    ///
    /// # Errors
    /// [`AdminError::MountMismatch`] if something else is there; [`AdminError::Bao`].
    pub async fn ensure(self, path: &MountPath, kind: &str) -> Result<Change, AdminError> {
        if let Some(found) = self.read(path).await? {
            check(path, kind, found)?;
            return Ok(Change::Unchanged);
        }
        let taken = match self.admin.write(&self.place(path), &New { kind }).await {
            Ok(_) => None,
            // Another administrator was faster, or an attempt of ours whose answer was lost; or another mount is in the way.
            Err(error) if is_taken(&error) => Some(error),
            Err(error) => return Err(error.into()),
        };
        let knows = |all: &All| all.contains_key(&listed(path)) || is_in_the_way(all, path);
        let mut all: All = match (self.admin.observe_until(self.base, knows).await, taken) {
            (Ok(all), _) if all.contains_key(&listed(path)) => all,
            (_, Some(taken)) => return Err(taken.into()),
            (all, None) => all?,
        };
        if let Some(found) = all.remove(&listed(path)) {
            check(path, kind, found)?;
        }
        Ok(Change::Created)
    }

    /// Mounts a Transit engine, unless one is there.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub async fn ensure_transit(self, path: &MountPath) -> Result<Change, AdminError> {
        self.ensure(path, TRANSIT).await
    }

    /// As [`Self::ensure_transit`], with rights on the one mount instead of on all: `read` and `update` on `sys/mounts/PATH`.
    ///
    /// A path of several names is looked for among all mounts all the same, as OpenBao could show one above it.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub async fn ensure_transit_alone(self, path: &MountPath) -> Result<Change, AdminError> {
        if path.as_str().contains('/') {
            return self.ensure_transit(path).await;
        }
        let place = self.place(path);
        if let Some(found) = self.read_alone(&place).await? {
            check(path, TRANSIT, found)?;
            return Ok(Change::Unchanged);
        }
        match self.admin.write(&place, &New { kind: TRANSIT }).await {
            Ok(_) => {}
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let mut pauses = LAG_PAUSES.iter();
        loop {
            if let Some(found) = self.read_alone(&place).await? {
                check(path, TRANSIT, found)?;
                return Ok(Change::Created);
            }
            let Some(pause) = pauses.next() else {
                let message = format!("`{place}` does not show what was just written");
                return Err(BaoError::Lagging { message }.into());
            };
            sleep(*pause).await;
        }
    }

    async fn read_alone(self, place: &str) -> Result<Option<Mount>, BaoError> {
        match self.admin.get(place).await {
            Ok(answer) => Ok(Some(answer.data()?)),
            Err(BaoError::NotFound { message, .. }) if message.contains(NO_MOUNT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is mounted at `path` itself. All mounts are read for it: asked for a single one, OpenBao also shows one above it.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn read(self, path: &MountPath) -> Result<Option<Mount>, AdminError> {
        Ok(self.list().await?.remove(path.as_str()))
    }

    /// All mounts by their paths, also those that OpenBao makes itself.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn list(self) -> Result<BTreeMap<String, Mount>, AdminError> {
        let mounts: All = self.admin.get(self.base).await?.data()?;
        Ok(without_slashes(mounts))
    }

    fn place(self, path: &MountPath) -> String {
        format!("{}/{path}", self.base)
    }
}

/// How OpenBao names a mount among all.
fn listed(path: &MountPath) -> String {
    format!("{path}/")
}

/// Whether a mount lies above or below the path, which there cannot be two of.
fn is_in_the_way(all: &All, path: &MountPath) -> bool {
    let wanted = listed(path);
    all.keys()
        .any(|other| other.starts_with(&wanted) || wanted.starts_with(other.as_str()))
}

fn is_taken(error: &BaoError) -> bool {
    matches!(error, BaoError::Rejected { message, .. } if message.contains("already in use"))
}

fn check(path: &MountPath, wanted: &str, found: Mount) -> Result<(), AdminError> {
    if found.is(wanted) {
        return Ok(());
    }
    Err(AdminError::MountMismatch {
        path: path.shared(),
        found: found.kind,
        wanted: wanted.to_owned(),
    })
}

/// OpenBao ends the paths of mounts in a slash.
pub(super) fn without_slashes<T>(all: BTreeMap<String, T>) -> BTreeMap<String, T> {
    all.into_iter()
        .map(|(path, value)| (path.trim_end_matches('/').to_owned(), value))
        .collect()
}
