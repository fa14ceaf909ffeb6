//! Failures of the storage that do not pass by themselves, told from those that do.
//!
//! kube-apiserver hands on what etcd said as the message of a 500, without a reason of its own. The texts are those of
//! `rpctypes` in `go.etcd.io/etcd/api/v3/v3rpc`, and of gRPC itself. Everything that is not listed here may pass.

/// What a lasting failure keeps from being written, with what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// This row; the others can be written.
    Row(&'static str),
    /// Every row.
    Storage(&'static str),
}

/// What the message of a failed request says of the storage; `None` if it may pass.
pub(super) fn lasting(message: &str) -> Option<Lasting> {
    let mut known = LASTING.iter();
    known
        .find(|(text, _)| message.contains(text))
        .map(|(_, lasting)| *lasting)
}

const LASTING: [(&str, Lasting); 10] = [
    ("etcdserver: request is too large", Lasting::Row(TOO_LARGE)),
    // gRPC's own limit, on either side of the connection.
    ("message larger than max", Lasting::Row(TOO_LARGE)),
    (
        "etcdserver: too many operations in txn request",
        Lasting::Row(TOO_MANY),
    ),
    (
        "etcdserver: mvcc: database space exceeded",
        Lasting::Storage(NO_SPACE),
    ),
    ("etcdserver: no space", Lasting::Storage(NO_SPACE)),
    (
        "etcdserver: permission denied",
        Lasting::Storage(NO_PERMISSION),
    ),
    (
        "etcdserver: permission not given",
        Lasting::Storage(NO_PERMISSION),
    ),
    (
        "etcdserver: user name is empty",
        Lasting::Storage(NO_PERMISSION),
    ),
    (
        "etcdserver: authentication failed",
        Lasting::Storage(NO_PERMISSION),
    ),
    ("etcdserver: corrupt cluster", Lasting::Storage(CORRUPT)),
];

pub(super) const TOO_LARGE: &str = "the row is larger than etcd takes once it is encrypted; make the object smaller, or raise \
                                    --max-request-bytes of every etcd member, and begin again";
const TOO_MANY: &str = "etcd does not take the write in one transaction; raise --max-txn-ops of every etcd member, and begin again";
const NO_SPACE: &str = "the database of etcd has reached its quota, and nothing can be written; compact and defragment it, or raise \
                        --quota-backend-bytes, then `etcdctl alarm disarm`, and begin again";
const NO_PERMISSION: &str = "etcd does not give the API server the right to do this; grant it to the user that the API server has in etcd";
const CORRUPT: &str = "members of etcd hold different data; do not write to it before the broken member is replaced (`etcdctl alarm list`)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_row_is_told_from_what_concerns_all() {
        let row = [
            "etcdserver: request is too large",
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2100000 vs. 2097152)",
            "etcdserver: too many operations in txn request",
        ];
        for message in row {
            assert!(
                matches!(lasting(message), Some(Lasting::Row(_))),
                "{message}"
            );
        }
        let storage = [
            "etcdserver: mvcc: database space exceeded",
            "etcdserver: no space",
            "etcdserver: permission denied",
            "etcdserver: user name is empty",
            "etcdserver: authentication failed, invalid user ID or password",
            "etcdserver: corrupt cluster",
        ];
        for message in storage {
            assert!(
                matches!(lasting(message), Some(Lasting::Storage(_))),
                "{message}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_not_lasting() {
        let passing = [
            "etcdserver: no leader",
            "etcdserver: leader changed",
            "etcdserver: request timed out",
            "etcdserver: too many requests",
            // kube-apiserver logs in to etcd again.
            "etcdserver: invalid auth token",
            "etcdserver: mvcc: required revision has been compacted",
            "rpc error: code = Unavailable desc = transport is closing",
            "rpc error: code = ResourceExhausted desc = quota of the key",
            "context deadline exceeded",
            "",
        ];
        for message in passing {
            assert_eq!(lasting(message), None, "{message}");
        }
    }
}
