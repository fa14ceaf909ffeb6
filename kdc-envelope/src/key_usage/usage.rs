//! Counting rows by what encrypts them.

use super::prefixes::{Place, REGISTRY, resource_of};
use super::{Damage, Prefixes, Provider, ValueEncryption};
use crate::evidence::{Evidence, Gap, GapKind};

/// The most groups that are told apart.
pub(crate) const MAX_GROUPS: usize = 1024;
/// The longest name, key id or resource that is kept, in bytes.
const MAX_TEXT_LEN: usize = 1024;

/// Rows that are encrypted alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowGroup {
    /// The kind of provider.
    pub provider: Provider,
    /// The name of the KMS provider, or of the local key.
    pub name: Option<String>,
    /// The key id of KMS v2 rows.
    pub key_id: Option<String>,
    /// The version of the KEK, where the rows tell.
    pub version: Option<u32>,
    /// Of plain rows, the resource, as far as their keys tell: what follows the prefix of an API server, such as `secrets`; with
    /// its group where the key has it, such as `apiregistration.k8s.io/apiservices`.
    pub resource: Option<String>,
    /// Whether kube-apiserver would refuse the rows whatever keys it has.
    pub damaged: bool,
    /// How many rows.
    pub rows: u64,
    /// Sum of the lengths of their values in bytes.
    pub bytes: u64,
    /// The least etcd key of them, up to 1,024 bytes of it.
    pub first_key: Vec<u8>,
}

/// All rows under a prefix, counted by [`RowGroup`], which are in order.
///
/// An empty prefix stands for a whole etcd or file, rows of all its writers included. Only then follows anything from it about keys that may
/// go: see [`Self::none_needs`].
///
/// Takes bounded memory whatever the rows say: it keeps up to 1,024 groups with texts of up to 1,024 bytes, and counts rows
/// beyond that as [ungrouped](Self::ungrouped).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsage {
    prefix: Vec<u8>,
    prefixes: Prefixes,
    groups: Vec<RowGroup>,
    /// The group of the row before, which most rows share with theirs.
    last: usize,
    ungrouped: u64,
    rows: u64,
    bytes: u64,
    first_damaged: Option<Vec<u8>>,
}

/// What makes rows alike, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alike<'a> {
    provider: Provider,
    name: Option<&'a str>,
    version: Option<u32>,
    key_id: Option<&'a str>,
    resource: Option<&'a str>,
    damaged: bool,
}

impl KeyUsage {
    /// No rows counted yet, for those whose etcd keys begin with `prefix`.
    #[must_use]
    pub fn new(prefix: impl Into<Vec<u8>>) -> Self {
        Self {
            prefix: prefix.into(),
            prefixes: Prefixes::default(),
            groups: Vec::new(),
            last: 0,
            ungrouped: 0,
            rows: 0,
            bytes: 0,
            first_damaged: None,
        }
    }

    /// Counts the row with `value` at the etcd key `key`. Returns whether it is under the prefix; others do not count.
    pub fn count(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.prefixes.add(key);
        if !key.starts_with(&self.prefix) {
            return false;
        }
        let encryption = encryption_of(key, value);
        let damaged = encryption.damage.is_some();
        if damaged
            && self
                .first_damaged
                .as_deref()
                .is_none_or(|first| key < first)
        {
            self.first_damaged = Some(key.to_vec());
        }
        self.rows += 1;
        self.bytes += value.len() as u64;
        let is_plain = encryption.provider == Provider::Identity;
        let alike = Alike {
            provider: encryption.provider,
            name: encryption.name.as_deref(),
            version: encryption.version,
            key_id: encryption.key_id,
            resource: is_plain.then(|| resource_of(key)).flatten(),
            damaged,
        };
        match self.group(alike) {
            Some(group) => {
                group.rows += 1;
                group.bytes += value.len() as u64;
                let key = key.get(..MAX_TEXT_LEN).unwrap_or(key);
                if group.first_key.is_empty() || key < group.first_key.as_slice() {
                    key.clone_into(&mut group.first_key);
                }
            }
            None => self.ungrouped += 1,
        }
        true
    }

    /// The prefix of the etcd keys that count.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The prefixes of API servers, by the keys of all rows that were handed in, whether they count or not.
    #[must_use]
    pub const fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// The groups, ordered by provider, name, version, key id and resource.
    #[must_use]
    pub fn groups(&self) -> &[RowGroup] {
        &self.groups
    }

    /// How many rows need the key with this id, as far as the [groups](Self::groups) tell.
    #[must_use]
    pub fn rows_under(&self, key_id: &str) -> u64 {
        let needing = self.groups.iter();
        let needing = needing.filter(|group| group.key_id.as_deref() == Some(key_id));
        needing.map(|group| group.rows).sum()
    }

    /// The least etcd key of a row that needs the key with this id, up to 1,024 bytes of it.
    #[must_use]
    pub fn first_under(&self, key_id: &str) -> Option<&[u8]> {
        let needing = self.groups.iter();
        let needing = needing.filter(|group| group.key_id.as_deref() == Some(key_id));
        needing.map(|group| group.first_key.as_slice()).min()
    }

    /// What the rows say about the statement that none of them needs the key with this id.
    ///
    /// Gaps are rows that do not tell their key, because they are damaged or because there were too many kinds; and all rows outside
    /// of the prefix, if there is one. Plain rows need no key, whichever program wrote them.
    #[must_use]
    pub fn none_needs(&self, key_id: &str) -> Evidence {
        self.none_needs_any(&[key_id])
    }

    /// As [`Self::none_needs`], of several keys at once.
    #[must_use]
    pub fn none_needs_any(&self, key_ids: &[&str]) -> Evidence {
        let of_any = |group: &&RowGroup| {
            let id = group.key_id.as_deref();
            id.is_some_and(|id| key_ids.contains(&id))
        };
        let needing = self.groups.iter().filter(of_any);
        let needing: u64 = needing.map(|group| group.rows).sum();
        let silent = |group: &&RowGroup| group.damaged && group.key_id.is_none();
        let silent: Vec<_> = self.groups.iter().filter(silent).collect();
        let damaged: u64 = silent.iter().map(|group| group.rows).sum();
        let mut evidence = Evidence::new();
        evidence.contradicts(needing);
        evidence.agrees(self.rows - needing - damaged - self.ungrouped);
        if let Some(first) = silent.iter().map(|group| &group.first_key).min() {
            let first = String::from_utf8_lossy(first);
            evidence.add_gap(Gap::new(GapKind::Unreadable, damaged, first));
        }
        if self.ungrouped > 0 {
            let place = String::from_utf8_lossy(&self.prefix);
            evidence.add_gap(Gap::new(GapKind::TooMany, self.ungrouped, place));
        }
        if !self.prefix.is_empty() {
            let place = String::from_utf8_lossy(&self.prefix);
            let place = format!("everything outside of {place}");
            evidence.add_gap(Gap::new(GapKind::NotLookedAt, 0, place));
        }
        evidence
    }

    /// Rows that are in no group because there were too many or too long ones.
    #[must_use]
    pub const fn ungrouped(&self) -> u64 {
        self.ungrouped
    }

    /// How many rows there are, those in no group included.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Sum of the lengths of all values in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The least etcd key of a row that kube-apiserver would refuse whatever keys it has.
    #[must_use]
    pub fn first_damaged(&self) -> Option<&[u8]> {
        self.first_damaged.as_deref()
    }

    fn group(&mut self, alike: Alike<'_>) -> Option<&mut RowGroup> {
        let is_last = self
            .groups
            .get(self.last)
            .is_some_and(|group| group.alike() == alike);
        if !is_last {
            let place = self
                .groups
                .binary_search_by(|group| group.alike().cmp(&alike));
            self.last = match place {
                Ok(place) => place,
                Err(place) => {
                    if self.groups.len() >= MAX_GROUPS || !alike.is_short() {
                        return None;
                    }
                    self.groups.insert(place, RowGroup::new(alike));
                    place
                }
            };
        }
        self.groups.get_mut(self.last)
    }
}

impl RowGroup {
    fn new(alike: Alike<'_>) -> Self {
        Self {
            provider: alike.provider,
            name: alike.name.map(str::to_owned),
            key_id: alike.key_id.map(str::to_owned),
            version: alike.version,
            resource: alike.resource.map(str::to_owned),
            damaged: alike.damaged,
            rows: 0,
            bytes: 0,
            first_key: Vec::new(),
        }
    }

    fn alike(&self) -> Alike<'_> {
        Alike {
            provider: self.provider,
            name: self.name.as_deref(),
            version: self.version,
            key_id: self.key_id.as_deref(),
            resource: self.resource.as_deref(),
            damaged: self.damaged,
        }
    }
}

impl Alike<'_> {
    fn is_short(&self) -> bool {
        let texts = [self.name, self.key_id, self.resource];
        texts
            .iter()
            .flatten()
            .all(|text| text.len() <= MAX_TEXT_LEN)
    }
}

/// What encrypts the value at a key. Other programs than kube-apiserver keep empty values, such as those of locks: with them nothing is damaged.
fn encryption_of<'v>(key: &[u8], value: &'v [u8]) -> ValueEncryption<'v> {
    let encryption = ValueEncryption::of(value);
    let is_foreign = || !key.starts_with(REGISTRY) && Place::of(key).is_none();
    match encryption.damage {
        Some(Damage::CutOff) if is_foreign() => ValueEncryption {
            provider: Provider::Identity,
            damage: None,
            ..encryption
        },
        _ => encryption,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence::Conclusion;

    fn gcm(name: &str) -> Vec<u8> {
        [b"k8s:enc:aesgcm:v1:", name.as_bytes(), b":", &[0; 40]].concat()
    }

    #[test]
    fn rows_are_grouped_in_order_and_only_under_the_prefix() {
        let mut usage = KeyUsage::new("/registry/");
        assert!(usage.count(b"/registry/secrets/a/b", &gcm("k2")));
        assert!(usage.count(b"/registry/secrets/a/c", &gcm("k1")));
        assert!(usage.count(b"/registry/secrets/a/d", &gcm("k2")));
        assert!(usage.count(b"/registry/configmaps/a/e", b"{}"));
        assert!(!usage.count(b"/registry2/secrets/a/f", &gcm("k1")));
        let seen: Vec<_> = usage
            .groups()
            .iter()
            .map(|group| (group.name.as_deref(), group.resource.as_deref(), group.rows))
            .collect();
        assert_eq!(
            seen,
            [
                (Some("k1"), None, 1),
                (Some("k2"), None, 2),
                (None, Some("configmaps"), 1)
            ]
        );
        assert_eq!((usage.rows(), usage.ungrouped()), (4, 0));
    }

    fn kms(key_id: &str) -> Vec<u8> {
        let len = |text: &str| char::from(u8::try_from(text.len()).unwrap());
        let data = "x".repeat(60);
        let message = format!("\n<{data}\x12{}{key_id}\x1a\x01w", len(key_id));
        [b"k8s:enc:kms:v2:p:", message.as_bytes()].concat()
    }

    #[test]
    fn rows_of_all_resources_tell_whether_a_key_is_needed() {
        let mut usage = KeyUsage::new("");
        usage.count(b"/tenant_a/secrets/default/db", &kms("local-v1-a"));
        usage.count(b"/registry/secrets/default/other", &kms("another"));
        usage.count(b"/locks/leader", b"");
        usage.count(b"/app/state", b"anything");
        assert_eq!(usage.prefixes().found(), ["/registry", "/tenant_a"]);
        let needed = usage.none_needs("local-v1-a");
        assert_eq!((needed.contradicting(), needed.seen()), (1, 4));
        let first = usage.first_under("local-v1-a").unwrap();
        assert_eq!(first, b"/tenant_a/secrets/default/db");
        assert_eq!(
            usage.none_needs("local-v2-b").conclude(),
            Conclusion::Proven { seen: 4 }
        );
    }

    #[test]
    fn what_was_not_looked_at_proves_nothing() {
        let gaps = |usage: &KeyUsage| -> Vec<GapKind> {
            let evidence = usage.none_needs("a");
            assert!(!evidence.is_proof());
            evidence.gaps().iter().map(|gap| gap.kind).collect()
        };
        assert!(gaps(&KeyUsage::new("")).is_empty());
        let mut narrow = KeyUsage::new("/registry/");
        narrow.count(b"/registry/secrets/a", &kms("b"));
        narrow.count(b"/tenant_a/secrets/a", &kms("a"));
        assert_eq!(gaps(&narrow), [GapKind::NotLookedAt]);
        let mut damaged = KeyUsage::new("");
        damaged.count(b"/registry/secrets/a", &kms("b"));
        damaged.count(b"/registry/secrets/b", b"k8s:enc:kms:v2:p:\xff");
        assert_eq!(gaps(&damaged), [GapKind::Unreadable]);
        assert_eq!(
            damaged.none_needs("a").gaps()[0].to_string(),
            "1 could not be read, among them `/registry/secrets/b`"
        );
        let mut many = KeyUsage::new("");
        for number in 0..2000 {
            many.count(b"/registry/secrets/a", &kms(&number.to_string()));
        }
        assert_eq!(gaps(&many), [GapKind::TooMany]);
    }

    proptest! {
        #[test]
        fn a_key_that_a_row_needs_is_never_proven_needless(
            rows in prop::collection::vec((0_u8..6, 0_u8..4), 0..12),
            prefix in prop_oneof![Just(""), Just("/registry/"), Just("/t/")],
        ) {
            let mut usage = KeyUsage::new(prefix);
            let mut is_needed = false;
            let mut is_certain = prefix.is_empty() && !rows.is_empty();
            for (kind, place) in rows {
                let key = ["/registry/secrets/a", "/t/secrets/a", "/x", "y"][usize::from(place)];
                let value = match kind {
                    0 => kms("wanted"),
                    1 => kms("other"),
                    2 => gcm("k"),
                    3 => b"k8s:enc:kms:v2:p:\xff".to_vec(),
                    4 => Vec::new(),
                    _ => b"{}".to_vec(),
                };
                is_needed |= kind == 0;
                is_certain &= kind != 3 && (kind != 4 || place > 1);
                usage.count(key.as_bytes(), &value);
            }
            let evidence = usage.none_needs("wanted");
            prop_assert_eq!(evidence.is_proof(), !is_needed && is_certain);
        }
    }

    #[test]
    fn an_empty_value_is_damage_only_where_kube_apiserver_writes() {
        let damaged = |key: &str| {
            let mut usage = KeyUsage::new("");
            usage.count(key.as_bytes(), b"");
            usage.first_damaged().is_some()
        };
        assert!(damaged("/registry/anything"));
        assert!(damaged("/tenant_a/secrets/default/a"));
        assert!(!damaged("/locks/leader"));
    }

    #[test]
    fn the_least_damaged_key_is_named_whatever_the_order() {
        let mut usage = KeyUsage::new("");
        usage.count(b"b", b"k8s:enc:x");
        usage.count(b"a", b"k8s:enc:x");
        usage.count(b"c", b"k8s:enc:x");
        assert_eq!(usage.first_damaged(), Some(b"a".as_slice()));
    }

    #[test]
    fn memory_is_bounded_whatever_the_rows_say() {
        let mut usage = KeyUsage::new("");
        for number in 0..2000 {
            usage.count(b"a", &gcm(&number.to_string()));
        }
        usage.count(b"a", &gcm("0"));
        assert_eq!((usage.groups().len(), usage.ungrouped()), (MAX_GROUPS, 976));
        assert_eq!(usage.groups()[0].rows, 2);
        let mut usage = KeyUsage::new("");
        usage.count(b"a", &gcm(&"x".repeat(MAX_TEXT_LEN + 1)));
        assert_eq!((usage.groups().len(), usage.ungrouped()), (0, 1));
        assert_eq!(usage.rows(), 1);
    }
}
