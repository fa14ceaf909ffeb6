//! The etcd that tenants share, as Kamaji's etcd driver sets it up: TLS, authentication, and for each tenant a user, a role on its
//! prefix, and a client certificate.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use serde_json::Value;

use crate::etcd::{self, Row};
use crate::pki::{self, TlsFiles};
use crate::{Error, Etcd};

/// The name of its DataStore object.
pub const DATA_STORE: &str = "default";

/// A DataStore. Ends, and all rows of its tenants with it, when dropped.
#[derive(Debug)]
pub struct DataStore {
    etcd: Etcd,
    root: TlsFiles,
    administrator: Administrator,
}

impl DataStore {
    pub(super) async fn start() -> Result<Self, Error> {
        let etcd = Etcd::start_with_tls().await?;
        let root = pki::authority()?.write_party(etcd.folder(), "root")?;
        let administrator = Administrator::new(&etcd, &root);
        for arguments in [
            &["user", "add", "root", "--no-password"][..],
            &["role", "add", "root"],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            administrator.etcdctl(arguments).await?;
        }
        Ok(Self {
            etcd,
            root,
            administrator,
        })
    }

    /// The etcd.
    #[must_use]
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// The etcd, to kill or pause it.
    pub fn etcd_mut(&mut self) -> &mut Etcd {
        &mut self.etcd
    }

    /// The certificate of the user `root`, who may do everything.
    #[must_use]
    pub fn root(&self) -> &TlsFiles {
        &self.root
    }

    /// All rows whose key begins with `prefix`, such as `/<schema>/secrets/`, in order of their keys.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with what etcdctl printed.
    pub async fn rows(&self, prefix: &str) -> Result<Vec<Row>, Error> {
        let text = self
            .administrator
            .etcdctl(&["get", "--prefix", prefix, "--write-out=json"])
            .await?;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let rows = answer["kvs"].as_array().into_iter().flatten();
        rows.map(|row| {
            let mut row = row.clone();
            // etcdctl prints numbers where etcd's own JSON has strings.
            row["mod_revision"] = Value::from(row["mod_revision"].to_string());
            etcd::parse_row(&row).ok_or_else(|| unexpected(format!("row {row}")))
        })
        .collect()
    }

    /// The row under `key`, if there is one.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn row(&self, key: &str) -> Result<Option<Row>, Error> {
        let rows = self.rows(key).await?;
        Ok(rows.into_iter().find(|row| row.key == key))
    }

    /// What sets tenants up.
    pub(super) fn administrator(&self) -> &Administrator {
        &self.administrator
    }
}

/// etcdctl as root.
#[derive(Debug, Clone)]
pub(super) struct Administrator {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Administrator {
    fn new(etcd: &Etcd, root: &TlsFiles) -> Self {
        let command = etcd.etcdctl_as(Some(root));
        Self {
            program: command.get_program().to_owned(),
            arguments: command.get_args().map(OsStr::to_owned).collect(),
        }
    }

    /// Makes user and role of a tenant whose keys begin with `/<schema>/`, unless they are there. The slash keeps out those whose
    /// schema only begins alike.
    pub(super) async fn add_tenant(&self, schema: &str, user: &str) -> Result<(), Error> {
        let prefix = format!("/{schema}/");
        let users = self.etcdctl(&["user", "list"]).await?;
        if users.lines().any(|line| line == user) {
            return Ok(());
        }
        for arguments in [
            &["role", "add", schema][..],
            &[
                "role",
                "grant-permission",
                "--prefix=true",
                schema,
                "readwrite",
                &prefix,
            ],
            &["user", "add", user, "--no-password"],
            &["user", "grant-role", user, schema],
        ] {
            self.etcdctl(arguments).await?;
        }
        Ok(())
    }

    /// Runs etcdctl as root and gives what it printed.
    async fn etcdctl(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output
            .map_err(|error| unexpected(error.to_string()))?
            .map_err(|source| Error::Process {
                action: "run",
                name: "etcdctl".to_owned(),
                source,
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(unexpected(format!("{arguments:?}: {error}")))
    }
}

fn unexpected(detail: String) -> Error {
    Error::Unexpected {
        name: "etcdctl",
        detail,
    }
}
