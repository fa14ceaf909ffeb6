//! Reading the rows of a live etcd, and its snapshots, for proof of what they are encrypted with.
//!
//! Rows are read through [`RowSource`], so that what is concluded from them can be tested without a server. Nothing is ever
//! written. Three methods of etcd suffice, so their messages are written down here (`messages`) instead of generated,
//! and building this crate takes no protobuf compiler.

mod call;
mod endpoint;
mod error;
mod messages;
mod options;
mod snapshot;
mod source;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Endpoint;

use call::Caller;
pub use error::{CallFault, ConnectFailure, EndpointError, EtcdError};
use messages::{KeyValue, RangeRequest, RangeResponse};
pub use options::{EtcdOptions, EtcdTls, EtcdUser};
pub use snapshot::SnapshotStream;
pub use source::{RevisedRow, Row, RowSource, Visit};

/// Rows in the first response of a scan. Later ones have as many as make a response of [`RESPONSE_LEN`]: rows may have
/// 1.5 MiB or 200 bytes.
const PAGE: i64 = 100;
const MIN_PAGE: i64 = 20;
const MAX_PAGE: i64 = 100_000;
/// Bytes that a response shall have. For every response etcd counts all rows that are left, which takes about 0.3 s for a
/// million, so that many small ones cost more than the rows.
const RESPONSE_LEN: i64 = 16 << 20;
/// The most by which a response has more rows than the one before.
const GROWTH: i64 = 16;

/// A connection to the first member of a cluster that accepted one. Copies share it.
///
/// ```no_run
/// use std::time::Duration;
///
/// use kdc_envelope::key_usage::KeyUsage;
/// use kdc_envelope_k8s::etcd::{EtcdClient, EtcdError, EtcdOptions, RowSource};
///
/// # async fn count() -> Result<(), EtcdError> {
/// let options = EtcdOptions {
///     endpoints: vec!["127.0.0.1:2379".to_owned()],
///     tls: None,
///     user: None,
///     timeout: Duration::from_secs(5),
/// };
/// let etcd = EtcdClient::connect(&options).await?;
/// etcd.check_one_cluster().await?;
/// let mut usage = KeyUsage::new("/registry/secrets/");
/// etcd.scan(b"/registry/secrets/", &mut |row| {
///     usage.count(&row.key, &row.value);
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EtcdClient {
    caller: Caller,
    endpoint: Box<str>,
    /// The addresses that were not tried.
    rest: Vec<(Endpoint, String)>,
}

impl EtcdClient {
    /// Connects to the first address that accepts a connection.
    ///
    /// # Errors
    /// [`EtcdError`]: an address, a certificate or the name of the user cannot be used, or no address accepts a connection. A user
    /// is not logged in yet.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, EtcdError> {
        let addresses = options.addresses()?;
        let login = options.login()?;
        let mut failures = Vec::new();
        let mut addresses = addresses.into_iter();
        while let Some((address, url)) = addresses.next() {
            match address.connect().await {
                Ok(channel) => {
                    return Ok(Self {
                        caller: Caller::new(channel, options.timeout, login),
                        endpoint: url.into(),
                        rest: addresses.collect(),
                    });
                }
                Err(error) => failures.push(ConnectFailure {
                    url: url.into(),
                    source: error.into(),
                }),
            }
        }
        match failures.is_empty() {
            true => Err(EtcdError::NoEndpoint),
            false => Err(EtcdError::Connect { failures }),
        }
    }

    /// Whether a user was named although this etcd has no users, as far as calls have shown.
    #[must_use]
    pub fn login_is_needless(&self) -> bool {
        self.caller.login_is_needless()
    }

    /// How many rows there are whose keys do not begin with `prefix`.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn count_outside(&self, prefix: &[u8]) -> Result<u64, EtcdError> {
        if prefix.is_empty() {
            return Ok(0);
        }
        let before = self.count(FIRST.to_vec(), prefix.to_vec()).await?;
        let end = end_of_prefix(prefix);
        let after = match end == FIRST {
            true => 0,
            false => self.count(end, FIRST.to_vec()).await?,
        };
        Ok(before.saturating_add(after))
    }

    async fn count(&self, key: Vec<u8>, range_end: Vec<u8>) -> Result<u64, EtcdError> {
        let response = self.ask(RangeRequest {
            key,
            range_end,
            count_only: true,
            ..RangeRequest::default()
        });
        Ok(u64::try_from(response.await?.count).unwrap_or(0))
    }

    /// Refuses addresses of different clusters: what one of them holds says nothing about the others. Those that do not answer
    /// may be members that are down.
    ///
    /// # Errors
    /// [`EtcdError::DifferentClusters`].
    pub async fn check_one_cluster(&self) -> Result<(), EtcdError> {
        let any = || RangeRequest {
            key: FIRST.to_vec(),
            count_only: true,
            ..RangeRequest::default()
        };
        let id = |response: RangeResponse| response.header.map(|header| header.cluster_id);
        if self.rest.is_empty() {
            return Ok(());
        }
        // A user who may not read this key cannot tell; what is read later is refused on its own.
        let Ok(ours) = self.ask(any()).await.map(id) else {
            return Ok(());
        };
        for (address, url) in &self.rest {
            let Ok(channel) = address.connect().await else {
                continue;
            };
            let caller = self.caller.elsewhere(channel);
            let Ok(response) = caller.call(RANGE, any()).await else {
                continue;
            };
            if id(response) != ours {
                return Err(EtcdError::DifferentClusters {
                    first: self.endpoint.clone(),
                    second: url.as_str().into(),
                });
            }
        }
        Ok(())
    }

    /// All pages, of which the next one is on its way while the rows of one are visited.
    async fn pages(
        &self,
        prefix: &[u8],
        keys_only: bool,
        visit: Visit<'_>,
    ) -> Result<(), EtcdError> {
        let range_end = end_of_prefix(prefix);
        let first = if prefix.is_empty() { FIRST } else { prefix };
        let page = |key: Vec<u8>, limit, revision| {
            self.range(RangeRequest {
                key,
                range_end: range_end.clone(),
                limit,
                revision,
                keys_only,
                count_only: false,
            })
        };
        let mut revision = 0;
        let mut pages = JoinSet::new();
        pages.spawn(page(first.to_vec(), PAGE, revision));
        while let Some(response) = pages.join_next().await {
            let response = response.unwrap_or_else(|error| Err(Status::from_error(error.into())));
            let response = response.map_err(|status| self.error(&status))?;
            if let Some(header) = response.header.filter(|_| revision == 0) {
                revision = header.revision;
            }
            if let Some(last) = response.kvs.last().filter(|_| response.more) {
                // The least key after the last one.
                let key = [last.key.as_slice(), &[0]].concat();
                let limit = next_limit(response.rows(), response.bytes());
                pages.spawn(page(key, limit, revision));
            }
            response
                .kvs
                .into_iter()
                .map(Row::from)
                .for_each(&mut *visit);
        }
        Ok(())
    }

    async fn ask(&self, request: RangeRequest) -> Result<RangeResponse, EtcdError> {
        let response = self.range(request).await;
        response.map_err(|status| self.error(&status))
    }

    fn range(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, Status>> + Send + use<> {
        self.caller.clone().call(RANGE, request)
    }

    fn error(&self, status: &Status) -> EtcdError {
        self.failed(CallFault::of(status, self.caller.user()))
    }

    fn failed(&self, fault: CallFault) -> EtcdError {
        EtcdError::Call {
            endpoint: self.endpoint.clone(),
            fault,
        }
    }
}

#[async_trait]
impl RowSource for EtcdClient {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn row(&self, key: &[u8]) -> Result<Option<RevisedRow>, EtcdError> {
        let response = self.ask(RangeRequest {
            key: key.to_vec(),
            ..RangeRequest::default()
        });
        let row = response.await?.kvs.into_iter().next();
        Ok(row.map(|row| RevisedRow {
            revision: row.mod_revision,
            row: row.into(),
        }))
    }

    async fn scan(&self, prefix: &[u8], visit: Visit<'_>) -> Result<(), EtcdError> {
        self.pages(prefix, false, visit).await
    }

    async fn scan_keys(&self, visit: Visit<'_>) -> Result<(), EtcdError> {
        self.pages(b"", true, visit).await
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

/// How many rows the next response shall have, after one of `rows` rows and `len` bytes.
fn next_limit(rows: i64, len: i64) -> i64 {
    let fitting = rows.saturating_mul(RESPONSE_LEN) / len.max(1);
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
    fn responses_of_a_scan_grow_with_small_rows_and_shrink_with_large_ones() {
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
