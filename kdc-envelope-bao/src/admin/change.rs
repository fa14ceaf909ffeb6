//! What an `ensure` did.

/// What an `ensure` did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It was as wanted; nothing was written.
    Unchanged,
    /// It was not there.
    Created,
    /// It was there and not as wanted.
    Updated {
        /// The fields that differed, by the names that OpenBao gives them.
        fields: Vec<&'static str>,
    },
}

/// The names of those fields that are not the same.
pub(super) fn differing<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields
        .into_iter()
        .filter_map(|(name, is_same)| (!is_same).then_some(name))
        .collect()
}
