//! Configuration files that were removed, or are an earlier version again: what rows lie under is put back before anything
//! else, by what the state says, and no server gets another writer by it. That no order of events breaks this is shown by `model`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{
    Chain, KmsProvider, LocalKey, LocalProvider, Transformer,
};
use kdc_envelope_k8s::rotation::{
    Action, ApiServer, Binding, ConfigHash, Desired, Kept, LoadedConfig, NodeFile, Observed, Pass,
    Phase, Plan, Revision, RowWriters, Timestamp, lacking,
};
use kdc_envelope_k8s::{GroupResource, Layout, plan};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
/// Of something that stands in no file and is no earlier version.
const UNKNOWN: ConfigHash = ConfigHash::new([99; 32]);

fn gcm(name: &str) -> Transformer {
    let secret = SecretBytes::new(vec![name.as_bytes()[0]; 32]);
    let name = KeyName::new(name).unwrap();
    Transformer::Local(LocalKey::new(LocalProvider::Aesgcm, name, secret).unwrap())
}

fn kms(name: &str) -> Transformer {
    let name = ProviderName::new(name).unwrap();
    let timeout = Duration::from_secs(3);
    Transformer::Kms(Arc::new(KmsProvider::v2(
        &name,
        "unix:///run/kms.sock",
        timeout,
    )))
}

fn secrets() -> GroupResource {
    GroupResource::from_text("secrets")
}

fn layout(chain: &[Transformer]) -> Layout {
    let chain = Chain::from_all(chain.iter().cloned());
    chain.map(|chain| (secrets(), chain)).into_iter().collect()
}

fn desired(writer: &Transformer) -> Desired {
    Desired {
        writers: BTreeMap::from([(secrets(), writer.clone())]),
        keep_keys: 1,
        interrupt: false,
    }
}

/// A server with a file of `chain`, which it uses; without one if that is empty.
fn server(number: u8, chain: &[Transformer]) -> ApiServer {
    let hash = match chain {
        [] => ConfigHash::NO_FILE,
        _ => ConfigHash::new([number; 32]),
    };
    let keys = chain.iter().filter_map(Transformer::local);
    ApiServer {
        name: format!("cp-{number}").into(),
        file: Ok(NodeFile::written_at(
            hash,
            Arc::new(layout(chain)),
            Timestamp::from_secs(0),
        )),
        history: keys.cloned().collect(),
        loaded: Ok(LoadedConfig { hash, since: None }),
        kms: BTreeMap::new(),
    }
}

fn uses(hash: ConfigHash) -> Result<LoadedConfig, Box<str>> {
    Ok(LoadedConfig { hash, since: None })
}

/// All rows were written with the last of `kept` under revision 4, which was verified.
fn verified(servers: Vec<ApiServer>, kept: &[Transformer]) -> Observed {
    let writer = kept.last().unwrap();
    let revision = Revision {
        number: 4,
        writers: BTreeMap::from([(secrets(), writer.clone())]),
    };
    let pass = Pass {
        binding: Binding {
            revision: 4,
            kms: BTreeMap::new(),
        },
        resources: vec![secrets()],
        refused: 0,
    };
    let mut observed = Observed {
        servers,
        row_writers: Some(RowWriters::proven(&revision, &[secrets()])),
        rewritten: Some(pass.clone()),
        verified: Some(pass),
        ..Observed::default()
    };
    observed.keyring.revision = Some(revision);
    observed.keyring.kept = kept
        .iter()
        .map(|transformer| Kept {
            transformer: transformer.clone(),
            used: true,
        })
        .collect();
    for server in &mut observed.servers {
        let keys = kept.iter().filter_map(Transformer::local);
        server.history = keys.cloned().collect();
    }
    observed
}

/// The chains that the first plan writes, after a new revision if it makes one.
fn first_written(observed: &Observed, desired: &Desired) -> Vec<(String, String)> {
    let mut world = observed.clone();
    let mut next = plan(&world, desired, NOW);
    while let [
        Action::Record { .. } | Action::StoreKey { .. } | Action::StoreKeyOnNode { .. },
        ..,
    ] = next.actions.as_slice()
    {
        for action in &next.actions {
            keep(&mut world, action);
        }
        next = plan(&world, desired, NOW);
    }
    written(&next)
}

fn keep(world: &mut Observed, action: &Action) {
    match action {
        Action::Record {
            revision,
            row_writers,
        } => {
            world.keyring.revision = Some(revision.clone());
            world.row_writers = Some(row_writers.clone());
        }
        Action::StoreKey { transformer, used } => world.keyring.kept.push(Kept {
            transformer: transformer.clone(),
            used: *used,
        }),
        Action::StoreKeyOnNode { server, key } => {
            let mut servers = world.servers.iter_mut();
            let server = servers.find(|known| known.name == *server);
            server.unwrap().history.push(key.clone());
        }
        _ => {}
    }
}

fn written(plan: &Plan) -> Vec<(String, String)> {
    let chain = |action: &Action| match action {
        Action::Write { server, layout, .. } => {
            Some((server.to_string(), layout.chain_of(&secrets()).to_string()))
        }
        _ => None,
    };
    plan.actions.iter().filter_map(chain).collect()
}

fn line(server: &str, chain: &str) -> (String, String) {
    (server.to_owned(), chain.to_owned())
}

fn reasons(observed: &Observed) -> Vec<String> {
    let lacking = lacking(observed, NOW);
    lacking.iter().map(ToString::to_string).collect()
}

#[test]
fn a_removed_file_comes_back_with_its_writer_first() {
    let mut gone = server(1, &[]);
    // It goes on with what it has loaded, and no file tells that any more.
    gone.loaded = uses(UNKNOWN);
    let mut observed = verified(vec![gone], &[gcm("a"), gcm("b")]);
    assert_eq!(
        reasons(&observed),
        [
            "the configuration file of cp-1 is missing, and with it aesgcm key `b`, under which rows of secrets may lie"
        ]
    );
    // Whatever is requested: the key of the rows first.
    for requested in [gcm("b"), gcm("c"), kms("kdc"), Transformer::Identity] {
        let requested = Desired {
            interrupt: true,
            ..desired(&requested)
        };
        let first = first_written(&observed, &requested);
        assert_eq!(first, [line("cp-1", "aesgcm key `b`, identity")]);
    }
    // What it uses is known: so is the rest of it.
    let used = ConfigHash::new([7; 32]);
    observed.earlier = vec![(used, Arc::new(layout(&[gcm("b"), gcm("a")])))];
    observed.servers[0].loaded = uses(used);
    let first = first_written(&observed, &desired(&gcm("b")));
    assert_eq!(first, [line("cp-1", "aesgcm key `b`, aesgcm key `a`")]);
}

#[test]
fn an_earlier_file_gets_back_what_it_lacks_and_goes_on_writing_as_it_does() {
    let back = server(1, &[gcm("a"), Transformer::Identity]);
    let ours = server(2, &[gcm("b")]);
    let observed = verified(vec![back, ours], &[gcm("a"), gcm("b")]);
    assert_eq!(
        reasons(&observed),
        [
            "the configuration file of cp-1 lacks aesgcm key `b`, under which rows of secrets may lie"
        ]
    );
    // What the first one may have written meanwhile is read by all, and no pass made before counts any more.
    let next = plan(&observed, &desired(&gcm("b")), NOW);
    assert_eq!(next.phase, Phase::StoringKeys);
    let [Action::Record { revision, .. }] = next.actions.as_slice() else {
        unreachable!("{:?}", next.actions);
    };
    assert_eq!(revision.number, 5);
    assert_eq!(
        first_written(&observed, &desired(&gcm("b"))),
        [
            line("cp-1", "aesgcm key `a`, identity, aesgcm key `b`"),
            line("cp-2", "aesgcm key `b`, aesgcm key `a`, identity"),
        ]
    );
}

#[test]
fn a_kms_provider_comes_back_too() {
    let mut gone = server(1, &[]);
    gone.loaded = uses(UNKNOWN);
    let observed = verified(vec![gone], &[gcm("a"), kms("kdc")]);
    let first = first_written(&observed, &desired(&gcm("c")));
    assert_eq!(first, [line("cp-1", "kms v2 `kdc`, identity")]);
    let back = server(1, &[gcm("a")]);
    let observed = verified(vec![back], &[gcm("a"), kms("kdc")]);
    let first = first_written(&observed, &desired(&Transformer::Identity));
    assert_eq!(first, [line("cp-1", "aesgcm key `a`, kms v2 `kdc`")]);
}

/// Earlier releases noted nothing of the rows.
#[test]
fn without_a_note_every_used_key_comes_back_unless_a_pass_made_it_needless() {
    let lost = || {
        let mut observed = verified(
            vec![server(1, &[gcm("x")])],
            &[gcm("x"), gcm("a"), gcm("b")],
        );
        observed.row_writers = None;
        observed
    };
    let proven = lost();
    let first = first_written(&proven, &desired(&gcm("b")));
    assert_eq!(first, [line("cp-1", "aesgcm key `x`, aesgcm key `b`")]);
    let mut unproven = lost();
    unproven.verified.as_mut().unwrap().refused = 1;
    let first = first_written(&unproven, &desired(&gcm("b")));
    assert_eq!(
        first,
        [line(
            "cp-1",
            "aesgcm key `x`, aesgcm key `b`, aesgcm key `a`, identity"
        )]
    );
    // As long as the newest writer is there, the files are as they should be.
    unproven.servers = vec![server(1, &[gcm("b"), gcm("x")])];
    unproven.servers[0].history = [gcm("x"), gcm("a"), gcm("b")]
        .iter()
        .filter_map(Transformer::local)
        .cloned()
        .collect();
    assert_eq!(reasons(&unproven), [""; 0]);
}

#[test]
fn nothing_is_written_while_it_is_unknown_what_a_server_uses() {
    let mut unlisted_server = server(1, &[]);
    unlisted_server.loaded = uses(UNKNOWN);
    let observed = Observed {
        servers: vec![unlisted_server],
        ..Observed::default()
    };
    // Only keys are kept; the rows may lie under something that stands nowhere.
    let mut world = observed;
    let mut next = plan(&world, &desired(&gcm("a")), NOW);
    for _ in 0..3 {
        for action in &next.actions {
            keep(&mut world, action);
        }
        next = plan(&world, &desired(&gcm("a")), NOW);
    }
    assert!(next.actions.is_empty(), "{:?}", next.actions);
    let reasons: Vec<String> = next.blockers.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "cp-1 uses a configuration that is neither in a file nor an earlier one; wait for its reload, or restart it"
        ]
    );
}

#[test]
fn a_pass_that_failed_later_takes_no_proof_back() {
    let ours = server(1, &[gcm("b")]);
    let mut observed = verified(vec![ours], &[gcm("a"), gcm("b")]);
    observed.verified.as_mut().unwrap().refused = 2;
    assert_eq!(reasons(&observed), [""; 0]);
    let next = plan(&observed, &desired(&gcm("b")), NOW);
    assert_eq!(next.phase, Phase::Verifying);
}
