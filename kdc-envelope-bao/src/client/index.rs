//! What OpenBao must know when it answers: the `X-Vault-Index` of an earlier answer.

use std::sync::{Arc, PoisonError, RwLock};

/// The longest index that is taken, in bytes. Those of OpenBao have some hundred; servers refuse a header that is far longer.
const MAX_LEN: usize = 1024;

/// The index of the last look at a key, shared by all who use that key.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedIndex(Arc<RwLock<Option<Arc<str>>>>);

impl SharedIndex {
    pub(crate) fn latest(&self) -> Option<Arc<str>> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    /// Takes over the index of an answer. One without an index, or with one that cannot be sent back, leaves the former.
    pub(crate) fn learn(&self, index: Option<Arc<str>>) {
        if let Some(index) = index.filter(|index| index.len() <= MAX_LEN) {
            let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(index);
        }
    }

    /// Forgets an index that a server did not take, unless another took its place.
    pub(crate) fn forget(&self, refused: &str) {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_deref() == Some(refused) {
            *slot = None;
        }
    }
}

/// Whether an error of this status may be about the index rather than about what was asked: OpenBao answers 400 to one that it cannot
/// decode, Vault 412 to one that it has not reached, and servers with a limit on headers 431.
pub(super) const fn may_refuse(status: u16) -> bool {
    matches!(status, 400 | 412 | 431)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_kept_until_a_server_refuses_it() {
        let index = SharedIndex::default();
        index.learn(Some("a".into()));
        index.learn(None);
        assert_eq!(index.latest().as_deref(), Some("a"));
        index.forget("b");
        assert_eq!(index.latest().as_deref(), Some("a"));
        index.forget("a");
        assert_eq!(index.latest(), None);
    }

    #[test]
    fn an_index_that_no_server_takes_back_is_not_taken() {
        let index = SharedIndex::default();
        index.learn(Some("x".repeat(1024).into()));
        index.learn(Some("y".repeat(1025).into()));
        assert_eq!(index.latest().unwrap().len(), 1024);
        assert!(index.latest().unwrap().starts_with('x'));
    }
}
