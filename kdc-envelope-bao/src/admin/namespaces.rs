//! Namespaces: tenants of OpenBao, each with mounts, policies and tokens of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mounts::without_slashes;
use super::{Admin, AdminError, Change};
use crate::client::{Method, Namespace, Operation, Request, or_default};
use crate::error::BaoError;

/// The namespaces below that of an [`Admin`]; from [`Admin::namespaces`]. Paths are relative to it.
#[derive(Debug, Clone, Copy)]
pub struct Namespaces<'a> {
    admin: &'a Admin,
}

/// What OpenBao tells about a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct NamespaceInfo {
    /// The whole path, with a slash at the end.
    pub path: String,
    /// Names it for ever; another namespace of the same path gets another.
    pub id: String,
    /// Notes of its administrator.
    #[serde(default, deserialize_with = "or_default")]
    pub custom_metadata: BTreeMap<String, String>,
    /// Whether it is locked: all but its unlocking answers 503.
    #[serde(default)]
    pub locked: bool,
    /// Whether it is being made or deleted.
    #[serde(default)]
    pub tainted: bool,
}

#[derive(Serialize)]
struct Metadata<'a> {
    custom_metadata: &'a BTreeMap<String, String>,
}

impl<'a> Namespaces<'a> {
    pub(super) const fn new(admin: &'a Admin) -> Self {
        Self { admin }
    }

    /// Makes the namespace unless it is there. Its parent must be there. Of its metadata only what `metadata` names is set; the rest stays.
    ///
    /// # Errors
    /// [`AdminError::Bao`]: `Lagging` while a namespace of this path is being made or deleted.
    pub async fn ensure(
        self,
        path: &Namespace,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Change, AdminError> {
        let place = place(path);
        let body = Metadata {
            custom_metadata: metadata,
        };
        let Some(found) = self.read(path).await? else {
            // Once: a second attempt would clear what another administrator noted in between.
            let request = Request::new(Operation::Admin, Method::Post, &place).json(&body);
            self.admin.send(request.once()).await?;
            let _: NamespaceInfo = self.admin.observe_until(&place, |_| true).await?;
            return Ok(Change::Created);
        };
        if found.tainted {
            return Err(BaoError::Lagging {
                message: format!("namespace `{path}` is being made or deleted"),
            }
            .into());
        }
        if holds(&found.custom_metadata, metadata) {
            return Ok(Change::Unchanged);
        }
        // A merge: a plain write would clear what it does not name.
        let request = Request::new(Operation::Admin, Method::Patch, &place).json(&body);
        self.admin.send(request).await?;
        Ok(Change::Updated {
            fields: vec!["custom_metadata"],
        })
    }

    /// The namespace at `path`, if there is one.
    ///
    /// # Errors
    /// [`AdminError::Bao`]: `NotFound` if its parent is missing.
    pub async fn read(self, path: &Namespace) -> Result<Option<NamespaceInfo>, AdminError> {
        Ok(self.admin.read(&place(path)).await?)
    }

    /// The namespaces one level below, by their names.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn list(self) -> Result<BTreeMap<String, NamespaceInfo>, AdminError> {
        #[derive(Deserialize)]
        struct Children {
            key_info: BTreeMap<String, NamespaceInfo>,
        }
        let children: Option<Children> = self.admin.read("sys/namespaces?list=true").await?;
        let children = children.map(|children| children.key_info);
        Ok(without_slashes(children.unwrap_or_default()))
    }

    /// Begins to delete the namespace with all that is in it, unless it is gone already. It is over when [`Self::read`] finds nothing.
    ///
    /// # Errors
    /// [`AdminError::Bao`]: `Rejected` if there are namespaces below it.
    pub async fn delete(self, path: &Namespace) -> Result<(), AdminError> {
        self.admin.delete(&place(path)).await?;
        Ok(())
    }
}

/// A call names the last level alone; those above stand in front of it.
fn place(path: &Namespace) -> String {
    match path.as_str().rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/sys/namespaces/{name}"),
        None => format!("sys/namespaces/{path}"),
    }
}

fn holds(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(name, value)| found.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_the_last_level_alone() {
        for (path, expected) in [
            ("org", "sys/namespaces/org"),
            ("org/project", "org/sys/namespaces/project"),
            ("a/b/c", "a/b/sys/namespaces/c"),
        ] {
            assert_eq!(place(&path.parse().unwrap()), expected);
        }
    }

    #[test]
    fn metadata_of_others_is_no_difference() {
        let map = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect::<BTreeMap<_, _>>()
        };
        let found = map(&[("a", "1"), ("b", "2")]);
        assert!(holds(&found, &map(&[])));
        assert!(holds(&found, &map(&[("a", "1")])));
        assert!(!holds(&found, &map(&[("a", "2")])));
        assert!(!holds(&found, &map(&[("c", "1")])));
    }
}
