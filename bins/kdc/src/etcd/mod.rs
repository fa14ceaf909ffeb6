//! Reading from etcd: the flags, the connection, and the questions that are asked.
//!
//! Three methods are all that is needed, so their messages are written down here (`messages`) instead of
//! generated, and building `kdc` takes no protobuf compiler.

mod call;
mod endpoint;
mod messages;
mod snapshot;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::runtime;
use call::{Caller, Login};
use messages::{KeyValue, RangeRequest, RangeResponse};
pub(crate) use snapshot::SnapshotStream;

/// Rows in the first answer of a scan. Later ones have as many as make an answer of [`ANSWER_LEN`]: rows may have 1.5 MiB or 200 bytes.
const PAGE: i64 = 100;
const MIN_PAGE: i64 = 20;
const MAX_PAGE: i64 = 100_000;
/// Bytes that an answer shall have. For every answer etcd counts all rows that are left, which takes about 0.3 s for a million, so
/// that many small ones cost more than the rows.
const ANSWER_LEN: i64 = 16 << 20;
/// The most by which an answer has more rows than the one before.
const GROWTH: i64 = 16;
/// Bytes that etcd may send before it must hear from us; the 64 KiB of HTTP/2 would make it wait at every step.
const WINDOW: u32 = 4 << 20;

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
    /// How long etcd may take to connect, and for each answer.
    #[arg(long = "etcd-timeout", value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    etcd_timeout: Duration,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A live connection to the first endpoint that answered.
#[derive(Debug)]
pub(crate) struct Connection {
    runtime: Runtime,
    caller: Caller,
    endpoint: String,
    /// The endpoints that were not tried.
    rest: Vec<(Endpoint, String)>,
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
        let wants_tls = self.etcd_cacert.is_some() || self.etcd_cert.is_some();
        let mut endpoints = Vec::new();
        for text in &self.etcd_endpoints {
            let url = endpoint::url_of(text, wants_tls)?;
            endpoints.push((self.endpoint(&url)?, url));
        }
        let login = match (&self.etcd_user, &self.etcd_password_file) {
            (Some(user), Some(file)) => Some(Arc::new(Login::new(user, file)?)),
            _ => None,
        };
        let runtime = runtime::start_few()?;
        let mut refused = Vec::new();
        let mut endpoints = endpoints.into_iter();
        while let Some((endpoint, url)) = endpoints.next() {
            match runtime.block_on(endpoint.connect()) {
                Ok(channel) => {
                    return Ok(Some(Connection {
                        runtime,
                        caller: Caller::new(channel, self.etcd_timeout, login),
                        endpoint: url,
                        rest: endpoints.collect(),
                    }));
                }
                Err(error) => refused.push(format!("`{url}`: {}", crate::failure::chain(&error))),
            }
        }
        let refused = refused.join(", ");
        Err(Failure::new(Exit::Unavailable, format_args!("--etcd-endpoints: cannot connect to etcd: {refused}"))
            .hint("check the address, the --etcd-cacert, --etcd-cert and --etcd-server-name flags, and that etcd runs"))
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, Failure> {
        let usage = |words: &str| {
            Failure::new(
                Exit::Usage,
                format_args!("--etcd-endpoints: `{url}` {words}"),
            )
        };
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|_| usage("is no address; write https://HOST:2379"))?
            .connect_timeout(self.etcd_timeout)
            .timeout(self.etcd_timeout)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let is_http = endpoint.uri().scheme_str() == Some("http");
        match &self.etcd_cacert {
            _ if is_http => {
                let given = [
                    ("--etcd-cacert", self.etcd_cacert.is_some()),
                    ("--etcd-cert", self.etcd_cert.is_some()),
                    ("--etcd-server-name", self.etcd_server_name.is_some()),
                ];
                match given.iter().find(|(_, is_given)| *is_given) {
                    Some((flag, _)) => {
                        Err(usage(&format!("is http, but {flag} is given; write https")))
                    }
                    None => Ok(endpoint),
                }
            }
            Some(authority) => endpoint.tls_config(self.tls(authority)?).map_err(|error| {
                Failure::at(
                    Exit::Data,
                    "--etcd-cacert, --etcd-cert, --etcd-keyfile",
                    &error,
                )
            }),
            None => Err(usage(
                "needs --etcd-cacert, the certificate of etcd's authority",
            )),
        }
    }

    fn tls(&self, authority: &Path) -> Result<ClientTlsConfig, Failure> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read_pem(
            "--etcd-cacert",
            authority,
            "CERTIFICATE",
        )?));
        if let (Some(cert), Some(key)) = (&self.etcd_cert, &self.etcd_keyfile) {
            let key = Zeroizing::new(read_pem("--etcd-keyfile", key, "PRIVATE KEY")?);
            tls = tls.identity(Identity::from_pem(
                read_pem("--etcd-cert", cert, "CERTIFICATE")?,
                key.as_slice(),
            ));
        }
        if let Some(name) = &self.etcd_server_name {
            tls = tls.domain_name(name);
        }
        Ok(tls)
    }
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
        &self.endpoint
    }

    /// The row at `key`, if there is one.
    pub(crate) fn row(&self, key: &[u8]) -> Result<Option<Row>, Failure> {
        let row = self.row_with_revision(key)?;
        Ok(row.map(|(row, _)| row))
    }

    /// The row at `key`, if there is one, and the revision of its last change.
    pub(crate) fn row_with_revision(&self, key: &[u8]) -> Result<Option<(Row, i64)>, Failure> {
        let answer = self.ask(RangeRequest {
            key: key.to_vec(),
            ..RangeRequest::default()
        })?;
        let row = answer.kvs.into_iter().next();
        Ok(row.map(|row| {
            let revision = row.mod_revision;
            (Row::from(row), revision)
        }))
    }

    /// How many rows there are whose keys do not begin with `prefix`.
    pub(crate) fn count_outside(&self, prefix: &[u8]) -> Result<u64, Failure> {
        let count = |key: Vec<u8>, range_end: Vec<u8>| {
            let question = RangeRequest {
                key,
                range_end,
                count_only: true,
                ..RangeRequest::default()
            };
            let answer = self.ask(question)?;
            Ok::<_, Failure>(u64::try_from(answer.count).unwrap_or(0))
        };
        if prefix.is_empty() {
            return Ok(0);
        }
        let before = count(FIRST.to_vec(), prefix.to_vec())?;
        let end = end_of_prefix(prefix);
        let after = match end == FIRST {
            true => 0,
            false => count(end, FIRST.to_vec())?,
        };
        Ok(before.saturating_add(after))
    }

    /// Hands every row whose key begins with `prefix` to `visit`, in order of their keys, as of one moment. The next answer is
    /// on its way while rows are visited. An empty prefix stands for the whole etcd.
    pub(crate) fn scan(&self, prefix: &[u8], visit: impl FnMut(Row)) -> Result<(), Failure> {
        self.pages(prefix, false, visit)
    }

    /// As [`Self::scan`] over the whole etcd, without values.
    pub(crate) fn scan_keys(&self, mut visit: impl FnMut(&[u8])) -> Result<(), Failure> {
        self.pages(b"", true, |row| visit(&row.key))
    }

    fn pages(
        &self,
        prefix: &[u8],
        keys_only: bool,
        mut visit: impl FnMut(Row),
    ) -> Result<(), Failure> {
        let range_end = end_of_prefix(prefix);
        let first = if prefix.is_empty() { FIRST } else { prefix };
        let page = |key: Vec<u8>, limit, revision| {
            self.runtime.spawn(self.range(RangeRequest {
                key,
                range_end: range_end.clone(),
                limit,
                revision,
                keys_only,
                count_only: false,
            }))
        };
        let mut revision = 0;
        let mut next = Some(page(first.to_vec(), PAGE, revision));
        while let Some(asked) = next.take() {
            let answer = self.runtime.block_on(asked);
            let answer = answer.unwrap_or_else(|error| Err(Status::from_error(error.into())));
            let answer = answer.map_err(|status| self.refusal(&status))?;
            if let Some(header) = answer.header.filter(|_| revision == 0) {
                revision = header.revision;
            }
            if let Some(last) = answer.kvs.last().filter(|_| answer.more) {
                // The least key after the last one.
                let key = [last.key.as_slice(), &[0]].concat();
                let limit = next_limit(answer.rows(), answer.bytes());
                next = Some(page(key, limit, revision));
            }
            answer.kvs.into_iter().map(Row::from).for_each(&mut visit);
        }
        Ok(())
    }

    /// Refuses endpoints of different clusters: what one of them holds says nothing about the others. Those that do not answer
    /// may be members that are down.
    pub(crate) fn check_one_cluster(&self) -> Result<(), Failure> {
        let any = || RangeRequest {
            key: FIRST.to_vec(),
            count_only: true,
            ..RangeRequest::default()
        };
        let id = |answer: RangeResponse| answer.header.map(|header| header.cluster_id);
        if self.rest.is_empty() {
            return Ok(());
        }
        // A user who may not read this key cannot tell; what is read later is refused on its own.
        let Ok(ours) = self.ask(any()).map(id) else {
            return Ok(());
        };
        for (endpoint, url) in &self.rest {
            let Ok(channel) = self.runtime.block_on(endpoint.connect()) else {
                continue;
            };
            let caller = self.caller.elsewhere(channel);
            let Ok(answer) = self.runtime.block_on(caller.call(RANGE, any())) else {
                continue;
            };
            if id(answer) != ours {
                let line = format_args!(
                    "--etcd-endpoints: `{}` and `{url}` belong to different clusters; name the members of one",
                    self.endpoint
                );
                return Err(Failure::new(Exit::Usage, line));
            }
        }
        Ok(())
    }

    fn ask(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        let answer = self.runtime.block_on(self.range(request));
        answer.map_err(|status| self.refusal(&status))
    }

    fn range(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, Status>> + Send + use<> {
        self.caller.clone().call(RANGE, request)
    }

    fn refusal(&self, status: &Status) -> Failure {
        let (code, message) = (status.code(), status.message());
        let place = format!("etcd at `{}`", self.endpoint);
        let denied = |words: &str| Failure::new(Exit::Denied, format_args!("{place} {words}"));
        match (code, self.caller.user()) {
            (Code::InvalidArgument, None) if message.contains("user name is empty") => {
                denied("asks for a user; name one with --etcd-user and --etcd-password-file")
            }
            (Code::InvalidArgument, Some(user)) if message.contains("authentication failed") => {
                denied(&format!(
                    "does not know user `{user}` with the password in --etcd-password-file"
                ))
            }
            (Code::PermissionDenied, Some(user)) => denied(&format!(
                "does not let user `{user}` read that; grant it the range, or name another --etcd-user"
            )),
            (Code::PermissionDenied, None) => denied(
                "does not let the name in the client's certificate read that; grant it the range, or name an --etcd-user",
            ),
            (Code::Unauthenticated, _) => denied(&format!("refuses the login: {message}")),
            _ => {
                let failure = Failure::new(
                    Exit::Unavailable,
                    format_args!("{place}: {code:?}: {message}"),
                );
                let is_told = message.starts_with("etcdserver: ") || code == Code::DeadlineExceeded;
                match self.endpoint.starts_with("http://") {
                    // In etcd's own words, or by a clock.
                    _ if is_told => failure,
                    true => failure.hint("is it the port of an etcd 3 for its clients? if etcd speaks TLS, write https and add --etcd-cacert"),
                    false => failure.hint("is it the port of an etcd 3 for its clients?"),
                }
            }
        }
    }
}

impl From<KeyValue> for Row {
    fn from(row: KeyValue) -> Self {
        Self {
            key: row.key,
            value: row.value,
        }
    }
}

/// How many rows the next answer shall have, after one of `rows` rows and `len` bytes.
fn next_limit(rows: i64, len: i64) -> i64 {
    let fitting = rows.saturating_mul(ANSWER_LEN) / len.max(1);
    fitting
        .min(rows.saturating_mul(GROWTH))
        .clamp(MIN_PAGE, MAX_PAGE)
}

/// The least key that a row can have; as the end of a range etcd takes it for "to the end".
const FIRST: &[u8] = &[0];
/// The method that reads rows.
const RANGE: &str = "/etcdserverpb.KV/Range";

/// The least key after all that begin with `prefix`: its last byte below 0xff, one higher, and nothing after it.
/// Where there is none, [`FIRST`].
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    FIRST.to_vec()
}

#[cfg(test)]
mod tests {
    use super::{end_of_prefix, next_limit};

    #[test]
    fn answers_of_a_scan_grow_with_small_rows_and_shrink_with_large_ones() {
        assert_eq!(next_limit(100, 30_000), 1600);
        assert_eq!(next_limit(1600, 1 << 20), 25_600);
        assert_eq!(next_limit(50_000, 1000), 100_000);
        assert_eq!(next_limit(100, 160 << 20), 20);
        assert_eq!(next_limit(1000, 32 << 20), 500);
        assert_eq!(next_limit(20, i64::MAX), 20);
        assert_eq!(next_limit(i64::MAX, 0), 100_000);
    }

    #[test]
    fn a_scan_ends_after_the_last_key_with_the_prefix() {
        assert_eq!(end_of_prefix(b"/registry/"), b"/registry0");
        assert_eq!(end_of_prefix(b"a\xff\xff"), b"b");
        assert_eq!(end_of_prefix(b"\xff"), b"\0");
        assert_eq!(end_of_prefix(b""), b"\0");
    }
}
