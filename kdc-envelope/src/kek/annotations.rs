//! Public attributes stored beside a wrapped key, under the rules of KMS v2.

use std::collections::BTreeMap;

/// The most bytes that all keys and values of one set of annotations may have together.
///
/// Source: `validateAnnotations` in `k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2`.
pub const MAX_ANNOTATIONS_LEN: usize = 32 * 1024;

/// A map from fully qualified domain names to bytes. Not secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(BTreeMap<String, Vec<u8>>);

/// An annotation that KMS v2 does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAnnotation {
    /// The key is not a fully qualified domain name in lower case.
    #[error("annotation key `{}` is not a fully qualified domain name", .0.escape_debug())]
    Domain(String),
    /// Keys and values together exceed [`MAX_ANNOTATIONS_LEN`].
    #[error("annotations have {0} bytes, more than the {MAX_ANNOTATIONS_LEN} allowed")]
    TooLarge(usize),
}

impl Annotations {
    /// No annotations.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Checks and takes over a set of annotations; of two with one key the later stays.
    ///
    /// # Errors
    /// [`InvalidAnnotation`] as KMS v2 has it.
    pub fn try_from_iter<K, V>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, InvalidAnnotation>
    where
        K: Into<String>,
        V: Into<Vec<u8>>,
    {
        let map: BTreeMap<String, Vec<u8>> = entries
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        check_all(
            map.iter()
                .map(|(key, value)| (key.as_str(), value.as_slice())),
        )?;
        Ok(Self(map))
    }

    /// The value stored under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// Keys and values, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// The number of annotations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks every key and the sum of all sizes.
pub(crate) fn check_all<'a>(
    entries: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), InvalidAnnotation> {
    let mut total = 0usize;
    for (key, value) in entries {
        if !check_domain(key) {
            return Err(InvalidAnnotation::Domain(key.to_owned()));
        }
        total = total.saturating_add(key.len()).saturating_add(value.len());
    }
    if total > MAX_ANNOTATIONS_LEN {
        return Err(InvalidAnnotation::TooLarge(total));
    }
    Ok(())
}

/// Whether `name` may be the key of an annotation: a lower-case RFC 1123 subdomain of at least two labels,
/// at most 253 bytes, each label at most 63; one trailing dot is allowed.
///
/// Source: `IsFullyQualifiedDomainName` in `k8s.io/apimachinery/pkg/util/validation`.
#[must_use]
pub fn check_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_as_upstream_sees_them() {
        let label63 = "a".repeat(63);
        let good = [
            "a.b",
            "10.0.0.1",
            "dev.k8s.io.",
            "a--b.c",
            &format!("{label63}.io"),
        ];
        let long = format!("{}.io", "a.".repeat(126));
        let bad = [
            "",
            ".",
            "com",
            "com.",
            "Dev.k8s.io",
            "*.x.com",
            "a_b.io",
            "http://a.b",
            "a..b",
            ".a.b",
            "a.b..",
            "-a.b",
            "a-.b",
            "ä.b",
            &format!("{label63}a.io"),
            &long,
        ];
        for name in good {
            assert!(check_domain(name), "{name}");
        }
        for name in bad {
            assert!(!check_domain(name), "{name}");
        }
    }

    #[test]
    fn the_sum_of_all_sizes_is_limited_inclusively() {
        let fits = vec![0u8; MAX_ANNOTATIONS_LEN - 3];
        assert!(Annotations::try_from_iter([("a.b", fits.clone())]).is_ok());
        let over = [fits, vec![0]].concat();
        assert_eq!(
            Annotations::try_from_iter([("a.b", over)]),
            Err(InvalidAnnotation::TooLarge(MAX_ANNOTATIONS_LEN + 1))
        );
    }
}
