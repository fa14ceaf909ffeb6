//! Rows of other plugins that stored a Transit ciphertext as it is.
//!
//! A cluster that moves to this plugin with the Transit key that wrapped its rows so far can go on reading them. These plugins bind
//! nothing, so their rows are opened without associated data, and the ciphertext alone says the version: under a rotation,
//! their key ids did not always tell the truth.

use kdc_envelope::{Annotations, KeyId};

use super::key::is_segment;

/// What kleidi puts beside each ciphertext.
const KLEIDI_ANNOTATION: &str = "v2.kleidi.beezy.dev";
const KLEIDI_KEY_ID: &str = "kleidi-kms-plugin_";
/// More digits are neither a version nor a time.
const MAX_DIGITS: usize = 20;

/// The plugins whose rows are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlainRow {
    /// A number as key id and no annotation. `vault-kubernetes-kms` (Falco) writes the version of the key, `vault-kms-provider` (Ruddickmg) the time
    /// at which the newest version was made, in seconds since 1970.
    Numbered,
    /// `vault-kms-plugin` (NVIDIA DPF): mount, name and version of the key as key id, between slashes, and no annotation.
    Path,
    /// `kleidi`: version and creation time in the key id, and one constant annotation.
    Kleidi,
}

impl PlainRow {
    /// Which plugin wrote the row, if one that is known.
    #[must_use]
    pub fn recognise(key_id: &KeyId, annotations: &Annotations) -> Option<Self> {
        let id = key_id.as_str();
        if annotations.is_empty() {
            if is_number(id) {
                return Some(Self::Numbered);
            }
            return is_path(id).then_some(Self::Path);
        }
        let (version, time) = id.strip_prefix(KLEIDI_KEY_ID)?.split_once('_')?;
        let is_kleidi = annotations.len() == 1
            && annotations.get(KLEIDI_ANNOTATION).is_some()
            && is_number(version)
            && is_number(time);
        is_kleidi.then_some(Self::Kleidi)
    }
}

/// Whether it is `MOUNT/KEY/VERSION`; a mount may have several parts.
fn is_path(id: &str) -> bool {
    id.rsplit_once('/').is_some_and(|(key, version)| {
        key.contains('/') && key.split('/').all(is_segment) && is_number(version)
    })
}

fn is_number(text: &str) -> bool {
    (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(id: &str, annotations: &[(&str, &str)]) -> Option<PlainRow> {
        let annotations = Annotations::try_from_iter(annotations.iter().copied()).unwrap();
        PlainRow::recognise(&KeyId::new(id).unwrap(), &annotations)
    }

    #[test]
    fn known_plugins_are_told_apart_and_others_are_not_taken() {
        let kleidi = [("v2.kleidi.beezy.dev", "1")];
        assert_eq!(recognise("3", &[]), Some(PlainRow::Numbered));
        assert_eq!(recognise("1795315719", &[]), Some(PlainRow::Numbered));
        assert_eq!(
            recognise("kleidi-kms-plugin_2_1795315719", &kleidi),
            Some(PlainRow::Kleidi)
        );
        assert_eq!(recognise("transit/etcd/3", &[]), Some(PlainRow::Path));
        assert_eq!(recognise("a/b/etcd/12", &[]), Some(PlainRow::Path));
        for (id, annotations) in [
            ("transit/etcd/3", &kleidi[..]),
            ("transit/etcd/", &[]),
            ("transit/etcd/v3", &[]),
            ("etcd/3", &[]),
            ("/etcd/3", &[]),
            ("transit//3", &[]),
            ("../etcd/3", &[]),
            ("3", &kleidi[..]),
            ("kleidi-kms-plugin_2_1795315719", &[]),
            ("kleidi-kms-plugin_2_", &kleidi),
            ("kleidi-kms-plugin_x_1", &kleidi),
            (
                "kleidi-kms-plugin_2_1",
                &[("v2.kleidi.beezy.dev", "1"), ("a.b", "")],
            ),
            ("obk2.abc", &[]),
            ("-3", &[]),
            ("3 ", &[]),
            ("123456789012345678901", &[]),
        ] {
            assert_eq!(recognise(id, annotations), None, "{id}");
        }
    }
}
