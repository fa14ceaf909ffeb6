//! Planning a rotation on one core: a hundred API servers and eight keys, in each phase.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kdc_envelope::SecretBytes;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{Chain, LocalKey, LocalProvider, Transformer};
use kdc_envelope_k8s::rotation::{
    ApiServer, Binding, ConfigHash, Desired, Kept, Keyring, LoadedConfig, NodeFile, Observed, Pass,
    Phase, Revision, Timestamp,
};
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, Layout, plan};

const SERVERS: u8 = 100;
const KEYS: u8 = 8;
const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn key(number: u8) -> Transformer {
    let name = KeyName::new(format!("key-{number}")).expect("a name");
    let secret = SecretBytes::new(vec![number; 32]);
    Transformer::Local(LocalKey::new(LocalProvider::Aesgcm, name, secret).expect("a key"))
}

/// Each node's file as it would be read: with keys of its own in memory.
fn layout(writer: u8, readers: impl Iterator<Item = u8> + Clone) -> Layout {
    let rule = |name: &str| {
        let chain = Chain::new(key(writer), readers.clone().map(key));
        (GroupResource::from_text(name), chain)
    };
    let layout: Layout = ["secrets", "configmaps"].into_iter().map(rule).collect();
    let text = layout.render().expect("it can be written");
    Layout::of(&EncryptionConfiguration::parse(text.as_bytes()).expect("it is valid"))
}

/// `writer` stands first; half of the servers still have loaded what went before if `is_loading`.
fn observed(writer: u8, readers: std::ops::Range<u8>, is_loading: bool) -> Observed {
    let server = |index: u8| ApiServer {
        name: format!("control-plane-{index}").into(),
        file: Ok(NodeFile::written_at(
            ConfigHash::new([writer + 1; 32]),
            Arc::new(layout(writer, readers.clone())),
            Timestamp::from_secs(0),
        )),
        history: (0..=KEYS)
            .filter_map(|number| key(number).local().cloned())
            .collect(),
        loaded: Ok(LoadedConfig {
            hash: ConfigHash::new(
                [if is_loading && index.is_multiple_of(2) {
                    200
                } else {
                    writer + 1
                }; 32],
            ),
            since: None,
        }),
        kms: BTreeMap::new(),
    };
    let kept = |number| Kept {
        transformer: key(number),
        used: number < KEYS,
    };
    Observed {
        servers: (0..SERVERS).map(server).collect(),
        earlier: vec![(ConfigHash::new([200; 32]), Arc::new(layout(0, 0..KEYS)))],
        keyring: Keyring {
            kept: (0..=KEYS).map(kept).collect(),
            revision: None,
        },
        ..Observed::default()
    }
}

fn desired() -> Desired {
    let names = ["secrets", "configmaps"].map(GroupResource::from_text);
    Desired {
        writers: names.into_iter().map(|name| (name, key(KEYS))).collect(),
        keep_keys: 8,
        interrupt: false,
    }
}

fn at_revision(mut observed: Observed) -> Observed {
    observed.keyring.revision = Some(Revision {
        number: 9,
        writers: desired().writers,
    });
    observed
}

fn verified(mut observed: Observed) -> Observed {
    let pass = Pass {
        binding: Binding {
            revision: 9,
            kms: BTreeMap::new(),
        },
        resources: desired().writers.into_keys().collect(),
        refused: 0,
    };
    observed.rewritten = Some(pass.clone());
    observed.verified = Some(pass);
    observed
}

fn planner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan, 100 API servers, 8 keys");
    let cases = [
        (Phase::Readable, observed(KEYS - 1, 0..KEYS, false)),
        (Phase::Promoting, observed(KEYS - 1, 0..KEYS + 1, true)),
        (
            Phase::Rewriting,
            at_revision(observed(KEYS, 0..KEYS, false)),
        ),
        (
            Phase::Pruning,
            verified(at_revision(observed(KEYS, 0..KEYS, false))),
        ),
        (
            Phase::Done,
            verified(at_revision(observed(KEYS, 1..KEYS, false))),
        ),
    ];
    for (phase, observed) in cases {
        let desired = desired();
        assert_eq!(plan(&observed, &desired, NOW).phase, phase);
        group.bench_with_input(
            BenchmarkId::from_parameter(phase),
            &observed,
            |bencher, observed| {
                bencher.iter(|| plan(black_box(observed), &desired, NOW));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, planner);
criterion_main!(benches);
