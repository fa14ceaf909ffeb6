//! May this key go? The question before a key version is wiped, or before OpenBao is told to decrypt with it no longer
//! (`min_decryption_version`).
//!
//! The answer is [`Evidence`] about the rows that were counted. An etcd in which no row is under any version of the key proves
//! nothing about it, as it may be the wrong etcd: [`KeyRemoval::unrelated`] is the gap for that.
//!
//! ```
//! use kdc_envelope::key_removal::KeyRemoval;
//! use kdc_envelope::key_usage::KeyUsage;
//!
//! // Version 1 is to go, and version 2 stays.
//! let removal = KeyRemoval::new(&["local-v1-a"], &["local-v2-b"]);
//! let mut rows = KeyUsage::new("");
//! rows.count(b"/registry/secrets/default/plain", b"{}");
//! let mut evidence = removal.none_needs(&rows);
//! assert!(evidence.is_proof());
//! // But no row is under version 2 either. Is it the right etcd?
//! evidence.add_gaps(removal.unrelated(&rows, "https://etcd-0:2379"));
//! assert!(!evidence.is_proof());
//! ```

use crate::evidence::{Evidence, Gap, GapKind};
use crate::key_usage::KeyUsage;

/// Versions of one key encryption key, by their key ids: those that are to go, and those that stay.
#[derive(Debug, Clone, Copy)]
pub struct KeyRemoval<'k> {
    going: &'k [&'k str],
    staying: &'k [&'k str],
}

impl<'k> KeyRemoval<'k> {
    /// Nothing can be read with the versions of the key ids `going` afterwards. `staying` are all others of the same key.
    #[must_use]
    pub const fn new(going: &'k [&'k str], staying: &'k [&'k str]) -> Self {
        Self { going, staying }
    }

    /// What the rows say about the statement that none of them needs a version that goes; see [`KeyUsage::none_needs`].
    #[must_use]
    pub fn none_needs(&self, rows: &KeyUsage) -> Evidence {
        rows.none_needs_any(self.going)
    }

    /// The gap that is left if no row is under any version of the key: the rows at `place` may have nothing to do with it.
    #[must_use]
    pub fn unrelated(&self, rows: &KeyUsage, place: &str) -> Option<Gap> {
        let mut versions = self.going.iter().chain(self.staying);
        let is_related = versions.any(|key_id| rows.rows_under(key_id) > 0);
        (!is_related).then(|| Gap::new(GapKind::Unrelated, 0, place))
    }

    /// The least etcd key of a row that needs a version that goes, up to 1,024 bytes of it.
    #[must_use]
    pub fn first_needing<'r>(&self, rows: &'r KeyUsage) -> Option<&'r [u8]> {
        let firsts = self.going.iter();
        firsts.filter_map(|key_id| rows.first_under(key_id)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Conclusion;

    fn row(key_id: &str) -> Vec<u8> {
        let len = char::from(u8::try_from(key_id.len()).unwrap());
        let message = format!("\n<{}\x12{len}{key_id}\x1a\x01w", "x".repeat(60));
        [b"k8s:enc:kms:v2:p:", message.as_bytes()].concat()
    }

    fn conclude(removal: &KeyRemoval<'_>, rows: &KeyUsage) -> (bool, u64) {
        let mut evidence = removal.none_needs(rows);
        evidence.add_gaps(removal.unrelated(rows, "etcd"));
        (evidence.is_proof(), evidence.contradicting())
    }

    #[test]
    fn every_version_that_goes_counts_once() {
        let mut rows = KeyUsage::new("");
        rows.count(b"/registry/secrets/a/b", &row("v1"));
        rows.count(b"/registry/secrets/a/a", &row("v2"));
        rows.count(b"/registry/secrets/a/c", &row("v3"));
        let both = KeyRemoval::new(&["v1", "v2", "v1"], &["v3"]);
        assert_eq!(conclude(&both, &rows), (false, 2));
        assert_eq!(
            both.first_needing(&rows),
            Some(&b"/registry/secrets/a/a"[..])
        );
        let seen = both.none_needs(&rows);
        assert!(matches!(
            seen.conclude(),
            Conclusion::Refuted { seen: 3, .. }
        ));
        let unused = KeyRemoval::new(&["v0"], &["v1", "v2", "v3"]);
        assert_eq!(conclude(&unused, &rows), (true, 0));
        assert_eq!(unused.first_needing(&rows), None);
    }

    #[test]
    fn rows_of_another_key_prove_nothing() {
        let mut rows = KeyUsage::new("");
        rows.count(b"/registry/secrets/a/b", &row("other"));
        let removal = KeyRemoval::new(&["v1"], &["v2"]);
        assert_eq!(conclude(&removal, &rows), (false, 0));
        assert!(removal.none_needs(&rows).is_proof());
        assert_eq!(
            removal.unrelated(&rows, "etcd").unwrap().kind,
            GapKind::Unrelated
        );
    }
}
