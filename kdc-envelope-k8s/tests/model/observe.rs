//! What the planner gets to see of a state.

use std::collections::BTreeMap;

use kdc_envelope_k8s::encryption_config::Transformer;
use kdc_envelope_k8s::rotation::{
    ApiServer, BackupNeeds, Binding, ConfigHash, Kept, Keyring, KmsKeyId, LoadedConfig, NodeFile,
    Observed, Pass, Retained, Revision, RowWriters, Timestamp, Writer,
};

use crate::scenarios::Scenario;
use crate::state::{IDENTITY, KMS, NONE, Names, PassState, Server, State, bit};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);
pub(crate) const LONG_AGO: Timestamp = Timestamp::from_secs(0);

pub(crate) fn observe(state: &State, scenario: &Scenario) -> Observed {
    let names = &scenario.names;
    let servers = state.servers().enumerate();
    Observed {
        servers: servers
            .map(|(index, server)| api_server(index, server, state, names))
            .collect(),
        earlier: names
            .layouts()
            .map(|(number, layout)| (hash(number), layout))
            .collect(),
        keyring: keyring(state, names),
        row_writers: (state.row_revision != NONE).then(|| row_writers(state, names)),
        rewritten: state.rewritten.map(|pass| report(pass, scenario)),
        verified: state.verified.map(|pass| report(pass, scenario)),
        retained: retained(state, scenario),
    }
}

/// Of [`NO_FILE`](crate::state::NO_FILE) it is the one that stands for that.
fn hash(layout: u8) -> ConfigHash {
    ConfigHash::new([layout; 32])
}

fn row_writers(state: &State, names: &Names) -> RowWriters {
    let noted = names.rules.iter().zip(state.row_writers);
    let writers = |(rule, bits): (&kdc_envelope_k8s::GroupResource, u8)| {
        let all = (IDENTITY..=KMS).filter(|number| bits & bit(*number) != 0);
        let all = all.map(|number| names.transformers[usize::from(number)].clone());
        (rule.clone(), all.collect())
    };
    RowWriters {
        revision: state.row_revision.into(),
        writers: noted.filter(|(_, bits)| *bits != 0).map(writers).collect(),
    }
}

fn api_server(index: usize, server: &Server, state: &State, names: &Names) -> ApiServer {
    let settled = if server.is_settled { LONG_AGO } else { NOW };
    let held = if state.is_kek_held { LONG_AGO } else { NOW };
    let key_id = KmsKeyId {
        id: server.kek_seen.to_string().into(),
        since: held,
    };
    let history = names.transformers.iter().enumerate();
    let history = history.filter(|(number, _)| server.history & (1 << number) != 0);
    ApiServer {
        name: index.to_string().into(),
        file: Ok(NodeFile::written_at(
            hash(server.file),
            names.layout(server.file),
            settled,
        )),
        history: history
            .filter_map(|(_, transformer)| transformer.local().cloned())
            .collect(),
        loaded: if server.is_up {
            Ok(LoadedConfig {
                hash: hash(server.loaded),
                since: None,
            })
        } else {
            Err("no answer".into())
        },
        kms: server
            .is_up
            .then(|| ("kms".into(), key_id))
            .into_iter()
            .collect(),
    }
}

fn keyring(state: &State, names: &Names) -> Keyring {
    let kept = |(number, transformer): (u8, &Transformer)| Kept {
        transformer: transformer.clone(),
        used: state.used & bit(number) != 0,
    };
    let writers = names.rules.iter().zip(state.writers);
    let writers = writers.filter(|(_, writer)| *writer != NONE);
    let writer = |(rule, writer): (&kdc_envelope_k8s::GroupResource, u8)| {
        (
            rule.clone(),
            names.transformers[usize::from(writer)].clone(),
        )
    };
    Keyring {
        kept: (0..)
            .zip(&names.transformers)
            .filter(|(number, _)| state.kept & bit(*number) != 0)
            .map(kept)
            .collect(),
        revision: (state.revision > 0).then(|| Revision {
            number: state.revision.into(),
            writers: writers.map(writer).collect(),
        }),
    }
}

/// Whether KMS writes under this revision is in the pass, by its KEK version.
fn report(pass: PassState, scenario: &Scenario) -> Pass {
    let kms = (pass.kek != NONE).then(|| ("kms".into(), pass.kek.to_string().into()));
    Pass {
        binding: Binding {
            revision: pass.revision.into(),
            kms: kms.into_iter().collect::<BTreeMap<_, _>>(),
        },
        resources: scenario.names.rules.to_vec(),
        refused: 0,
    }
}

fn retained(state: &State, scenario: &Scenario) -> BackupNeeds {
    if !scenario.has_backup {
        return BackupNeeds::NotAsked;
    }
    let needed = state.backup[0] | state.backup[1];
    if scenario.is_backup_unknown {
        let unknown = (needed != 0).then(|| "the backup".into());
        return BackupNeeds::Asked {
            needs: Vec::new(),
            unknown: unknown.into_iter().collect(),
        };
    }
    let all = (IDENTITY..=KMS).filter(|number| needed & bit(*number) != 0);
    let retained = |number: u8| Retained {
        needs: Writer::of(&scenario.names.transformers[usize::from(number)]),
        backups: vec!["backup".into()],
        count: 1,
    };
    BackupNeeds::Asked {
        needs: all.map(retained).collect(),
        unknown: Vec::new(),
    }
}
