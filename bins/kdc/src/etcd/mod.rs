//! Reading from etcd: the flags, the connection, and the questions that are asked.
//!
//! Two methods are all that is needed, so their messages are written down here (`messages`) instead of
//! generated, and building `kdc` takes no protobuf compiler.

mod messages;
mod snapshot;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::runtime;
use messages::{KeyValue, RangeRequest, RangeResponse};
pub(crate) use snapshot::SnapshotStream;

/// What the keys of all Kubernetes objects begin with, unless kube-apiserver's `--etcd-prefix` says otherwise.
pub(crate) const REGISTRY: &str = "/registry/";

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
/// The longest answer. etcd takes rows of 1.5 MiB unless it was told otherwise.
const MAX_ANSWER_LEN: usize = 512 << 20;

/// Where etcd is, and what it wants to see. The same files as kube-apiserver's `--etcd-cafile`, `--etcd-certfile`,
/// `--etcd-keyfile`.
#[derive(Debug, Args)]
#[command(next_help_heading = "etcd")]
pub(crate) struct EtcdFlags {
    /// Addresses of etcd, tried in order.
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
    channel: Channel,
    endpoint: String,
    timeout: Duration,
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
        let endpoints: Vec<Endpoint> = self
            .etcd_endpoints
            .iter()
            .map(|url| self.endpoint(url))
            .collect::<Result<_, _>>()?;
        let runtime = runtime::start_few()?;
        let mut refused = Vec::new();
        for (endpoint, url) in endpoints.iter().zip(&self.etcd_endpoints) {
            match runtime.block_on(endpoint.connect()) {
                Ok(channel) => {
                    return Ok(Some(Connection {
                        runtime,
                        channel,
                        endpoint: url.clone(),
                        timeout: self.etcd_timeout,
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
            .map_err(|_| usage("is no URL; write https://HOST:2379"))?
            .connect_timeout(self.etcd_timeout)
            .timeout(self.etcd_timeout)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        match (endpoint.uri().scheme_str(), &self.etcd_cacert) {
            (Some("http"), None) => Ok(endpoint),
            (Some("http"), Some(_)) => {
                Err(usage("is http, but --etcd-cacert is given; write https"))
            }
            (Some("https"), Some(authority)) => {
                endpoint.tls_config(self.tls(authority)?).map_err(|error| {
                    Failure::at(
                        Exit::Data,
                        "--etcd-cacert, --etcd-cert, --etcd-keyfile",
                        &error,
                    )
                })
            }
            (Some("https"), None) => Err(usage(
                "needs --etcd-cacert, the certificate of etcd's authority",
            )),
            _ => Err(usage("is neither http nor https")),
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
    /// The row at `key`, if there is one.
    pub(crate) fn row(&self, key: &[u8]) -> Result<Option<Row>, Failure> {
        let answer = self.ask(RangeRequest {
            key: key.to_vec(),
            ..RangeRequest::default()
        })?;
        Ok(answer.kvs.into_iter().next().map(Row::from))
    }

    /// Whether there is any row whose key begins with `prefix`.
    pub(crate) fn has_any(&self, prefix: &[u8]) -> Result<bool, Failure> {
        let answer = self.ask(RangeRequest {
            key: prefix.to_vec(),
            range_end: end_of_prefix(prefix),
            limit: 1,
            revision: 0,
        })?;
        Ok(!answer.kvs.is_empty())
    }

    /// Hands every row whose key begins with `prefix` to `visit`, in order of their keys, as of one moment. The next answer is
    /// on its way while rows are visited.
    pub(crate) fn scan(&self, prefix: &[u8], mut visit: impl FnMut(Row)) -> Result<(), Failure> {
        let range_end = end_of_prefix(prefix);
        let first = if prefix.is_empty() {
            vec![0]
        } else {
            prefix.to_vec()
        };
        let page = |key: Vec<u8>, limit, revision| {
            self.runtime.spawn(self.range(RangeRequest {
                key,
                range_end: range_end.clone(),
                limit,
                revision,
            }))
        };
        let mut revision = 0;
        let mut next = Some(page(first, PAGE, revision));
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

    fn ask(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        let answer = self.runtime.block_on(self.range(request));
        answer.map_err(|status| self.refusal(&status))
    }

    fn range(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, Status>> + Send + use<> {
        let (channel, limit) = (self.channel.clone(), self.timeout);
        let call = async {
            let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_LEN);
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
            let codec = ProstCodec::<RangeRequest, RangeResponse>::default();
            grpc.unary(Request::new(request), path, codec).await
        };
        async move {
            let answer = tokio::time::timeout(limit, call).await;
            let late =
                || Status::deadline_exceeded("no answer in time; --etcd-timeout allows more");
            answer
                .unwrap_or_else(|_| Err(late()))
                .map(tonic::Response::into_inner)
        }
    }

    fn refusal(&self, status: &Status) -> Failure {
        let exit = match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
            _ => Exit::Unavailable,
        };
        let (code, message) = (status.code(), status.message());
        Failure::new(
            exit,
            format_args!("etcd at `{}`: {code:?}: {message}", self.endpoint),
        )
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

/// The least key after all that begin with `prefix`: its last byte below 0xff, one higher, and nothing after it.
/// Where there is none, a single zero byte, which etcd takes for "to the end".
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
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
