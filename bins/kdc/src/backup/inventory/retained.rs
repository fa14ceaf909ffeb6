//! Which keys of an EncryptionConfiguration the snapshots in a bucket need, for `kdc encryption`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use kdc_envelope::evidence::Conclusion;
use kdc_envelope::snapshot::metadata::RowGroup;
use kdc_envelope::survey::Provider;
use kdc_envelope_k8s::rotation::{BackupNeeds, Retained, Writer};

use super::survey::Survey;
use crate::backup::bucket::Bucket;
use crate::backup::state::{Known, State};
use crate::backup::{pass, proof};
use crate::failure::Failure;

/// Names of snapshots that stand for all that need a key.
const NAMED: usize = 3;

/// The snapshots that need one key: how many, and the newest of them.
#[derive(Default)]
struct Need {
    count: u64,
    newest: BTreeSet<(Reverse<u64>, String)>,
}

impl Need {
    fn add(&mut self, known: &Known) {
        self.count += 1;
        self.newest.insert((Reverse(known.created()), known.name()));
        if self.newest.len() > NAMED {
            self.newest.pop_last();
        }
    }
}

/// Looks at every snapshot in `bucket`, or of one cluster. Rows that are stored plain need no key and are left out, since most
/// resources are never encrypted. An empty bucket proves nothing, as it may be the wrong one.
pub(crate) fn retained(bucket: &Bucket, cluster: Option<&str>) -> Result<BackupNeeds, Failure> {
    let mut survey = Survey::default();
    let mut needs: BTreeMap<Writer, Need> = BTreeMap::new();
    pass::examine(bucket, cluster, |known| {
        survey.add(&known);
        for writer in writers(&known) {
            needs.entry(writer).or_default().add(&known);
        }
    })?;
    let evidence = survey.evidence_of_inner(&proof::place(&bucket.name(), cluster));
    let unknown = match evidence.conclude() {
        Conclusion::Unknown(gaps) => gaps.iter().map(|gap| gap.to_string().into()).collect(),
        _ => Vec::new(),
    };
    let retained = |(needs, need): (Writer, Need)| Retained {
        needs,
        backups: need
            .newest
            .into_iter()
            .map(|(_, name)| name.into())
            .collect(),
        count: need.count,
    };
    Ok(BackupNeeds::Asked {
        needs: needs.into_iter().map(retained).collect(),
        unknown,
    })
}

/// What the rows of one snapshot were written with, each once. Without data there is nothing that a key could open.
fn writers(known: &Known) -> BTreeSet<Writer> {
    let metadata = known.metadata.as_ref();
    let whole = metadata.filter(|_| known.state != State::DataMissing);
    let rows = whole.and_then(|metadata| metadata.rows());
    let groups = rows.into_iter().flat_map(|rows| &rows.groups);
    groups.filter_map(writer).collect()
}

/// `None` for plain rows, and for rows that do not tell their key, of which the survey knows.
fn writer(group: &RowGroup) -> Option<Writer> {
    let name = group.name.clone()?;
    let is = |provider: Provider| group.provider == provider.as_str();
    if is(Provider::Identity) {
        return None;
    }
    Some(match is(Provider::KmsV2) || is(Provider::KmsV1) {
        true => Writer::Kms { name },
        false => Writer::Key {
            provider: group.provider.clone(),
            name,
        },
    })
}
