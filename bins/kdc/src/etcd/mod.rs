//! Reading from etcd for commands: the flags, and calls that wait for their response.

mod failure;
mod snapshot;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use clap::Args;
use kdc_envelope::local::private_file;
use kdc_envelope_k8s::etcd::{
    EtcdClient, EtcdError, EtcdOptions, EtcdTls, EtcdUser, RowSource as _,
};
pub(crate) use kdc_envelope_k8s::etcd::{RevisedRow, Row};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, exit_of_private_file};
use crate::output::note;
use crate::runtime;
pub(crate) use failure::of_etcd;
pub(crate) use snapshot::SnapshotReader;

/// Where etcd is, and what it wants to see. The same files as kube-apiserver's `--etcd-cafile`, `--etcd-certfile`,
/// `--etcd-keyfile`.
#[derive(Debug, Args)]
#[command(next_help_heading = "etcd")]
pub(crate) struct EtcdFlags {
    /// Addresses of etcd, tried in order: https://HOST:2379, or HOST:2379 as etcdctl takes it.
    #[arg(long = "etcd-endpoints", value_name = "URL", value_delimiter = ',')]
    etcd_endpoints: Vec<String>,
    /// Certificates of the authorities that etcd's certificate comes from; needed with https.
    #[arg(long = "etcd-cacert", value_name = "FILE", requires = "etcd_endpoints")]
    etcd_cacert: Option<PathBuf>,
    /// Certificate to show to etcd.
    #[arg(long = "etcd-cert", value_name = "FILE", requires_all = ["etcd_endpoints", "etcd_keyfile"])]
    etcd_cert: Option<PathBuf>,
    /// Private key of that certificate.
    #[arg(long = "etcd-keyfile", value_name = "FILE", requires = "etcd_cert")]
    etcd_keyfile: Option<PathBuf>,
    /// The name that etcd's certificate must have, if it is not the one in the URL.
    #[arg(
        long = "etcd-server-name",
        value_name = "NAME",
        requires = "etcd_endpoints"
    )]
    etcd_server_name: Option<String>,
    /// The user to log in as, if etcd asks for one.
    #[arg(long = "etcd-user", value_name = "NAME", requires_all = ["etcd_endpoints", "etcd_password_file"])]
    etcd_user: Option<String>,
    /// File with the password of that user, readable by its owner alone.
    #[arg(
        long = "etcd-password-file",
        value_name = "FILE",
        requires = "etcd_user"
    )]
    etcd_password_file: Option<PathBuf>,
    /// Time limit for connecting to etcd, and for each response.
    #[arg(long = "etcd-timeout", value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    etcd_timeout: Duration,
}

/// A live connection to the first endpoint that answered.
#[derive(Debug)]
pub(crate) struct Connection {
    runtime: Runtime,
    client: EtcdClient,
}

impl EtcdFlags {
    /// Whether rows are to come from etcd.
    pub(crate) const fn is_given(&self) -> bool {
        !self.etcd_endpoints.is_empty()
    }

    /// Connects to the first endpoint that can be reached; `None` if none is named.
    pub(crate) fn connection(&self) -> Result<Option<Connection>, Failure> {
        if !self.is_given() {
            return Ok(None);
        }
        let runtime = runtime::start_few()?;
        let client = runtime.block_on(self.connect())?;
        Ok(client.map(|client| Connection { runtime, client }))
    }

    /// As [`Self::connection`], on the runtime of the caller.
    pub(crate) async fn connect(&self) -> Result<Option<EtcdClient>, Failure> {
        if !self.is_given() {
            return Ok(None);
        }
        let client = EtcdClient::connect(&self.options()?).await;
        client.map(Some).map_err(|error| self.not_connected(&error))
    }

    fn options(&self) -> Result<EtcdOptions, Failure> {
        let user = match (&self.etcd_user, &self.etcd_password_file) {
            (Some(name), Some(file)) => Some(EtcdUser {
                name: name.clone(),
                password: read_password(file)?,
            }),
            _ => None,
        };
        Ok(EtcdOptions {
            endpoints: self.etcd_endpoints.clone(),
            tls: self.tls()?,
            user,
            timeout: self.etcd_timeout,
        })
    }

    fn tls(&self) -> Result<Option<EtcdTls>, Failure> {
        if self.first_of_tls().is_none() {
            return Ok(None);
        }
        let read = |flag, path: &Option<PathBuf>, label| match path {
            Some(path) => read_pem(flag, path, label).map(Some),
            None => Ok(None),
        };
        let authorities = read("--etcd-cacert", &self.etcd_cacert, "CERTIFICATE")?;
        let certificate = read("--etcd-cert", &self.etcd_cert, "CERTIFICATE")?;
        let key = read("--etcd-keyfile", &self.etcd_keyfile, "PRIVATE KEY")?.map(Zeroizing::new);
        Ok(Some(EtcdTls {
            authorities,
            identity: certificate.zip(key),
            server_name: self.etcd_server_name.clone(),
        }))
    }

    /// The first flag that makes sense with https alone.
    fn first_of_tls(&self) -> Option<&'static str> {
        let given = [
            ("--etcd-cacert", self.etcd_cacert.is_some()),
            ("--etcd-cert", self.etcd_cert.is_some()),
            ("--etcd-server-name", self.etcd_server_name.is_some()),
        ];
        let first = given.iter().find(|(_, is_given)| *is_given);
        first.map(|(flag, _)| *flag)
    }
}

/// A line feed at the end is not part of the password.
fn read_password(file: &Path) -> Result<Zeroizing<String>, Failure> {
    const FLAG: &str = "--etcd-password-file";
    let bytes = private_file::read(file)
        .map_err(|error| Failure::at(exit_of_private_file(&error), FLAG, &error))?;
    let bad = |words: &str| {
        let line = format_args!("{FLAG}: `{}` {words}", file.display());
        Failure::new(Exit::Data, line)
    };
    let text = core::str::from_utf8(&bytes).map_err(|_| bad("is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(bad("is empty"));
    }
    if text.contains('\n') {
        return Err(bad("has more than one line"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// A file in PEM with at least one `label`; the TLS library takes a file without any for an empty list.
fn read_pem(flag: &str, path: &Path, label: &str) -> Result<Vec<u8>, Failure> {
    let pem = fs::read(path).map_err(|error| Failure::unreadable(flag, path, &error))?;
    let end = format!("{label}-----");
    if !pem
        .windows(end.len())
        .any(|window| window == end.as_bytes())
    {
        let line = format!("{flag}: `{}` holds no {label} in PEM", path.display());
        return Err(Failure::new(Exit::Data, line));
    }
    Ok(pem)
}

impl Connection {
    /// The address that answered.
    pub(crate) fn endpoint(&self) -> &str {
        self.client.endpoint()
    }

    /// The row at `key`, if there is one.
    pub(crate) fn row(&self, key: &[u8]) -> Result<Option<Row>, Failure> {
        let row = self.wait(self.client.row(key))?;
        Ok(row.map(|RevisedRow { row, .. }| row))
    }

    /// How many rows there are whose keys do not begin with `prefix`.
    pub(crate) fn count_outside(&self, prefix: &[u8]) -> Result<u64, Failure> {
        self.wait(self.client.count_outside(prefix))
    }

    /// Hands every row whose key begins with `prefix` to `visit`, in order of their keys, as of one moment. An empty prefix
    /// stands for the whole etcd.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(Row) + Send,
    ) -> Result<(), Failure> {
        self.wait(self.client.scan(prefix, &mut visit))
    }

    /// Refuses endpoints of different clusters: what one of them holds says nothing about the others.
    pub(crate) fn check_one_cluster(&self) -> Result<(), Failure> {
        self.wait(self.client.check_one_cluster())
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, EtcdError>>) -> Result<T, Failure> {
        let response = self.runtime.block_on(call);
        note_needless_user(&self.client);
        response.map_err(|error| of_etcd(&error))
    }
}

/// Says once that the flags name a user for nothing.
pub(crate) fn note_needless_user(client: &EtcdClient) {
    static NOTED: Once = Once::new();
    if client.login_is_needless() {
        NOTED.call_once(|| note("etcd asks for no user; --etcd-user is not needed"));
    }
}
