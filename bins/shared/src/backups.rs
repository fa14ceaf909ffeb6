//! From the keys that retained snapshots need to what must stay in an EncryptionConfiguration. The library of snapshots and the planner
//! of rotations do not know each other, so the programs that use both join them here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use kdc_envelope::key_usage::Provider;
use kdc_envelope_backup::catalogue::{InnerKey, RetainedKeys};
use kdc_envelope_k8s::rotation::{BackupNeeds, Retained, Writer};

/// Names of snapshots that stand for all that need a key.
const NAMED: usize = 3;

/// What the snapshots in `place`, as people call it, need of a configuration.
///
/// Rows that are stored plain need no key and are left out, since most resources are never encrypted. Where it cannot be told which key of
/// a configuration a snapshot means, any may be needed. A bucket without snapshots proves nothing, as it may be the wrong one.
#[must_use]
pub fn needs(keys: &RetainedKeys, place: &str) -> BackupNeeds {
    let mut needs: BTreeMap<Writer, Need> = BTreeMap::new();
    for snapshot in &keys.known {
        let writers: BTreeSet<Writer> = snapshot.keys.iter().filter_map(writer).collect();
        for writer in writers {
            let need = needs.entry(writer).or_default();
            need.count += 1;
            need.newest
                .insert((Reverse(snapshot.created), snapshot.snapshot.clone()));
            if need.newest.len() > NAMED {
                need.newest.pop_last();
            }
        }
    }
    let retained = |(needs, need): (Writer, Need)| Retained {
        needs,
        backups: need
            .newest
            .into_iter()
            .map(|(_, name)| name.into())
            .collect(),
        count: need.count,
    };
    BackupNeeds::Asked {
        needs: needs.into_iter().map(retained).collect(),
        unknown: unknown(keys, place).into_iter().map(Into::into).collect(),
    }
}

/// The snapshots that need one key: how many, and the newest of them.
#[derive(Default)]
struct Need {
    count: u64,
    newest: BTreeSet<(Reverse<u64>, String)>,
}

/// Why it is not known which keys the snapshots need, if it is not.
fn unknown(keys: &RetainedKeys, place: &str) -> Option<String> {
    let is_unmatched = |key: &InnerKey| !is_plain(key) && writer(key).is_none();
    let unmatched = keys.known.iter();
    let unmatched = unmatched.filter(|snapshot| snapshot.keys.iter().any(is_unmatched));
    let unmatched = unmatched.map(|snapshot| &snapshot.snapshot);
    let names: BTreeSet<&String> = keys.unknown.iter().chain(unmatched).collect();
    let mut names = names.into_iter();
    let Some(first) = names.next() else {
        return keys
            .known
            .is_empty()
            .then(|| format!("there is no snapshot in {place}"));
    };
    Some(match names.len() {
        0 => format!("`{first}` does not say which keys it needs"),
        others => format!("`{first}` and {others} more do not say which keys they need"),
    })
}

fn is_plain(key: &InnerKey) -> bool {
    key.provider == Provider::Identity.as_str()
}

/// What rows of one key were written with; `None` for plain rows, for rows that do not name their key, and for those of a provider that no
/// configuration has.
fn writer(key: &InnerKey) -> Option<Writer> {
    let name = key.name.clone()?;
    let is_one_of = |providers: &[Provider]| {
        let mut providers = providers.iter();
        providers.any(|provider| key.provider == provider.as_str())
    };
    if is_one_of(&[Provider::KmsV2, Provider::KmsV1]) {
        return Some(Writer::Kms { name });
    }
    let is_local = is_one_of(&[Provider::Aesgcm, Provider::Aescbc, Provider::Secretbox]);
    is_local.then(|| Writer::Key {
        provider: key.provider.clone(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use kdc_envelope_backup::catalogue::retained_keys;
    use kdc_envelope_backup::{FolderStore, SnapshotStore};
    use kdc_testbed::fixtures::SnapshotSample;
    use serde_json::{Value, json};

    use super::*;

    /// What a folder needs that holds one snapshot with these groups of rows: what stays, and why all may be needed.
    async fn needs_of(groups: Value) -> (Vec<Writer>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let sample = SnapshotSample::default();
        let mut metadata = sample.metadata();
        metadata["rows"] = json!({"total": 1, "groups": groups});
        let snapshot = folder.path().join(sample.cluster).join(sample.id);
        fs::create_dir_all(&snapshot).unwrap();
        for (name, bytes) in [
            ("snapshot.db.enc", vec![0; 100]),
            ("dek.wrapped", b"vault:v1:AAAA".to_vec()),
            ("metadata.json", metadata.to_string().into_bytes()),
        ] {
            fs::write(snapshot.join(name), bytes).unwrap();
        }
        let store: Arc<dyn SnapshotStore> = Arc::new(FolderStore::new(folder.path()));
        let keys = retained_keys(&store, None, sample.created + 1)
            .await
            .unwrap();
        let BackupNeeds::Asked { needs, unknown } = needs(&keys, "bucket") else {
            panic!("the bucket was not asked");
        };
        let writers = needs.into_iter().map(|retained| retained.needs).collect();
        (writers, unknown.len())
    }

    #[tokio::test]
    async fn rows_under_a_key_without_a_name_keep_everything_and_plain_ones_nothing() {
        let nameless = json!([{"provider": "kms-v2", "keyId": "a-key", "rows": 1}]);
        assert_eq!(needs_of(nameless).await, (vec![], 1));
        let named = json!([{"provider": "kms-v2", "name": "bao", "keyId": "a-key", "rows": 1}]);
        let name = "bao".to_owned();
        assert_eq!(needs_of(named).await, (vec![Writer::Kms { name }], 0));
        let plain = json!([{"provider": "identity", "rows": 1}]);
        assert_eq!(needs_of(plain).await, (vec![], 0));
    }

    #[tokio::test]
    async fn rows_of_a_provider_that_no_configuration_has_keep_everything() {
        let local = json!([{"provider": "aescbc", "name": "key1", "rows": 1}]);
        let writer = Writer::Key {
            provider: "aescbc".to_owned(),
            name: "key1".to_owned(),
        };
        assert_eq!(needs_of(local).await, (vec![writer], 0));
        for provider in ["kms v2", "kms-v3", "unknown", "AESGCM", ""] {
            let groups = json!([{"provider": provider, "name": "bao", "rows": 1}]);
            assert_eq!(needs_of(groups).await, (vec![], 1), "{provider:?}");
        }
    }
}
