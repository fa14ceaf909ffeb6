//! What rows are read from.

use async_trait::async_trait;

use super::EtcdError;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a key and its value")]
pub struct Row {
    /// The whole key, with the prefix of its API server.
    pub key: Vec<u8>,
    /// The value as it is stored.
    pub value: Vec<u8>,
}

/// A row with the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "sources make it")]
pub struct RevisedRow {
    /// The row.
    pub row: Row,
    /// `mod_revision` of etcd, which is the resourceVersion of the object that kube-apiserver keeps in the row.
    pub revision: i64,
}

/// What is called with each row.
pub type Visit<'v> = &'v mut (dyn FnMut(Row) + Send);

/// Where rows of etcd are read: a live [`EtcdClient`](super::EtcdClient), or a stand-in.
#[async_trait]
pub trait RowSource: Send + Sync {
    /// The address, for messages.
    fn endpoint(&self) -> &str;

    /// The row at `key`, if there is one.
    ///
    /// # Errors
    /// [`EtcdError`].
    async fn row(&self, key: &[u8]) -> Result<Option<RevisedRow>, EtcdError>;

    /// Hands every row whose key begins with `prefix` to `visit`, in order of their keys, all as of one moment. An empty
    /// prefix stands for the whole etcd.
    ///
    /// # Errors
    /// [`EtcdError`]; rows that were visited before it are not all.
    async fn scan(&self, prefix: &[u8], visit: Visit<'_>) -> Result<(), EtcdError>;

    /// As [`Self::scan`] over the whole etcd, with empty values.
    ///
    /// # Errors
    /// [`EtcdError`].
    async fn scan_keys(&self, visit: Visit<'_>) -> Result<(), EtcdError>;
}
