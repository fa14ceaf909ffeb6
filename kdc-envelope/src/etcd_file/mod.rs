//! Files of etcd: snapshots, and the data file `member/snap/db`. Read only, in bounded memory, whatever they hold.
//!
//! An etcd file is a [bbolt](https://github.com/etcd-io/bbolt) database: pages that form a B+tree per bucket. The bucket
//! `key` holds every change of every row that was not compacted yet:
//!
//! | part | layout |
//! |---|---|
//! | key | revision: main (8, big endian) ‖ `_` ‖ sub (8, big endian), and `t` after it if the row was deleted |
//! | value | `mvccpb.KeyValue` in protobuf: the row's key and value, of a deleted row the key alone |
//!
//! A snapshot is such a file with the SHA-256 of all bytes before it at the end, so that its length modulo 512 is 32.
//!
//! [`EtcdFile`] walks the changes from the newest to the oldest, so the first one of a key is its row, and remembers the keys it
//! has seen by a keyed 128-bit hash. The work is linear in the length of the file: no page is read twice, and links
//! that form a loop are an error.
//!
//! Sources: `go.etcd.io/bbolt`, `internal/common/{page,meta,bucket}.go`; `go.etcd.io/etcd/server/v3`, `storage/mvcc/revision.go`;
//! `etcdutl/snapshot`.

mod error;
mod file;
mod history;
mod key_value;
mod meta;
mod page;
mod pages;
mod read_at;
mod trailer;
mod tree;

pub use error::{EtcdFileError, PageFault};
pub use file::{EtcdFile, FileKeyUsage};
pub use history::{Row, Totals};
pub use read_at::ReadAt;
