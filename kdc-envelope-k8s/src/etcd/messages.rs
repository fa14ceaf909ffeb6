//! The fields of etcd's `Range`, `Snapshot` and `Authenticate` calls that are used; others are skipped on reading and have their defaults on writing.
//!
//! Source: `etcdserverpb/rpc.proto` and `mvccpb/kv.proto` of `go.etcd.io/etcd/api/v3`.

/// `etcdserverpb.RangeRequest`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    /// Empty: `key` alone. A single zero byte: everything from `key`. Else: up to this key, which is left out.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    /// 0: no limit.
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    /// 0: the newest.
    #[prost(int64, tag = "4")]
    pub(super) revision: i64,
    /// Leave the values out.
    #[prost(bool, tag = "8")]
    pub(super) keys_only: bool,
    /// Leave the rows out.
    #[prost(bool, tag = "9")]
    pub(super) count_only: bool,
}

/// `etcdserverpb.RangeResponse`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
    /// Whether `limit` cut rows off.
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
    /// Rows in the range, whatever the limit.
    #[prost(int64, tag = "4")]
    pub(super) count: i64,
}

impl RangeResponse {
    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.kvs.len()).unwrap_or(i64::MAX)
    }

    /// Of keys and values.
    pub(super) fn bytes(&self) -> i64 {
        let len = |row: &KeyValue| row.key.len().saturating_add(row.value.len());
        let bytes = self.kvs.iter().map(len).fold(0, usize::saturating_add);
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// `etcdserverpb.ResponseHeader`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    pub(super) cluster_id: u64,
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

/// `mvccpb.KeyValue`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    /// Of the last change.
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
}

/// `etcdserverpb.AuthenticateRequest`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) password: String,
}

/// `etcdserverpb.AuthenticateResponse`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    pub(super) token: String,
}

/// `etcdserverpb.SnapshotRequest`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct SnapshotRequest {}

/// `etcdserverpb.SnapshotResponse`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct SnapshotResponse {
    /// The next piece of the database file, and at last its SHA-256.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) blob: Vec<u8>,
}
