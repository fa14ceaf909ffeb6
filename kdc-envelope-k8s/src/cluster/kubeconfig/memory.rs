//! A kubeconfig that is no file, such as the one that a Secret holds for a hosted cluster.

use core::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use super::KubeconfigError;
use super::view::{self, View};

/// Fields of a cluster that name a file of this machine, each with what to write instead.
const OF_CLUSTERS: &[(&str, &str)] = &[("certificate-authority", "certificate-authority-data")];
/// The same of a user, or fields that name a program.
const OF_USERS: &[(&str, &str)] = &[
    ("client-certificate", "client-certificate-data"),
    ("client-key", "client-key-data"),
    ("tokenFile", "token"),
    ("exec", "a token or certificate"),
    ("auth-provider", "a token or certificate"),
];

/// A kubeconfig in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct KubeconfigInMemory {
    pub(in crate::cluster) name: String,
    content: Zeroizing<Vec<u8>>,
}

/// Without the content, which holds credentials.
impl fmt::Debug for KubeconfigInMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeconfigInMemory")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl KubeconfigInMemory {
    /// `name` stands for the file in messages, such as `Secret tenant-a/admin-kubeconfig`.
    #[must_use]
    pub fn new(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            content: Zeroizing::new(content.into()),
        }
    }

    pub(super) fn parse(&self) -> Result<(PathBuf, Value), KubeconfigError> {
        let name = Path::new(&self.name);
        let (name, value) = view::parse_bytes(name, self.content.to_vec())?;
        check_stands_alone(&View::root(&name, &value))?;
        Ok((name, value))
    }
}

fn check_stands_alone(root: &View<'_>) -> Result<(), KubeconfigError> {
    check_entries(root, "clusters", "cluster", OF_CLUSTERS)?;
    check_entries(root, "users", "user", OF_USERS)
}

fn check_entries(
    root: &View<'_>,
    list: &str,
    field: &str,
    outside: &[(&str, &str)],
) -> Result<(), KubeconfigError> {
    for entry in root.list(list)? {
        let Some(view) = entry.mapping(field)? else {
            continue;
        };
        for (name, instead) in outside {
            if view.raw(name).is_some_and(|value| value != "") {
                return Err(view.unsupported(format_args!(
                    ".{name} names what is outside of it, which is not followed from memory; write {instead}"
                )));
            }
        }
    }
    Ok(())
}
