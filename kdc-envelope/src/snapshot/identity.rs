//! Which snapshot of which cluster: bound into the header, and compared with what the caller expects when it is opened.

/// The longest name of a cluster or snapshot, in bytes.
pub const MAX_NAME_LEN: usize = 253;
/// The longest description of a source, in bytes.
pub const MAX_SOURCE_LEN: usize = 1024;

/// Names a snapshot. Public: it stands in the header in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    cluster: Box<str>,
    snapshot: Box<str>,
    source: Box<str>,
}

/// A cluster, a snapshot or a source has a name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} `{value}` {reason}")]
#[non_exhaustive]
pub struct InvalidIdentity {
    /// Which name.
    pub field: &'static str,
    /// The name, as it was given.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Identity {
    /// The snapshot `snapshot` of `cluster`, taken from `source`, such as `https://10.0.0.1:2379` or the path of a file.
    ///
    /// Cluster and snapshot become parts of object keys: 1 to [`MAX_NAME_LEN`] ASCII letters, digits, `-`, `_` and `.`, the first of
    /// which is a letter or a digit. The source is text of up to [`MAX_SOURCE_LEN`] bytes without control characters.
    ///
    /// # Errors
    /// [`InvalidIdentity`] names the part that is not such a name.
    pub fn new(cluster: &str, snapshot: &str, source: &str) -> Result<Self, InvalidIdentity> {
        check_name("the cluster name", cluster)?;
        check_name("the snapshot id", snapshot)?;
        check_source(source)?;
        Ok(Self {
            cluster: cluster.into(),
            snapshot: snapshot.into(),
            source: source.into(),
        })
    }

    /// The cluster whose etcd it is.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The id of the snapshot, unique in its cluster.
    #[must_use]
    pub fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// Where it was taken from, for people.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Checks a name that becomes part of an object key.
///
/// # Errors
/// [`InvalidIdentity`] with `field` in it.
pub fn check_name(field: &'static str, name: &str) -> Result<(), InvalidIdentity> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let reason = match name.bytes().next() {
        None => "is empty",
        Some(_) if name.len() > MAX_NAME_LEN => "is longer than 253 bytes",
        Some(first) if !first.is_ascii_alphanumeric() => "does not begin with a letter or a digit",
        Some(_) if !name.bytes().all(is_allowed) => {
            "has characters other than letters, digits, `-`, `_` and `.`"
        }
        Some(_) => return Ok(()),
    };
    Err(invalid(field, name, reason))
}

fn check_source(source: &str) -> Result<(), InvalidIdentity> {
    if source.len() > MAX_SOURCE_LEN {
        return Err(invalid("the source", source, "is longer than 1,024 bytes"));
    }
    if source.chars().any(char::is_control) {
        return Err(invalid("the source", source, "has control characters"));
    }
    Ok(())
}

fn invalid(field: &'static str, value: &str, reason: &'static str) -> InvalidIdentity {
    InvalidIdentity {
        field,
        value: value
            .chars()
            .take(80)
            .flat_map(char::escape_debug)
            .collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_object_keys_and_nothing_else() {
        assert!(Identity::new("prod-1", "prod-1-2026-11-24T10-00-00Z", "").is_ok());
        let long = "a".repeat(254);
        for bad in ["", ".", "..", "a/b", "a b", "-a", "ü", "a\n", long.as_str()] {
            assert!(Identity::new(bad, "s", "").is_err(), "{bad}");
            assert!(Identity::new("c", bad, "").is_err(), "{bad}");
        }
        assert!(Identity::new("c", "s", "a\nb").is_err());
    }
}
