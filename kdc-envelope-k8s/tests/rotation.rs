//! The planner, step by step: what it does in which order, and what it says when it cannot go on. That no order of events
//! breaks a promise is shown by `model`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
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
    Action, ApiServer, BackupNeeds, ConfigHash, Desired, HOLD, KmsKeyId, LoadedConfig, NodeFile,
    Observed, Pass, Phase, Plan, Retained, SETTLE, Timestamp, Writer, history::KeyHistory,
};
use kdc_envelope_k8s::{GroupResource, Layout, plan};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const LONG_AGO: Timestamp = Timestamp::from_secs(1_000);

fn gcm(name: &str) -> Transformer {
    with_secret(name, name.as_bytes()[0])
}

fn with_secret(name: &str, byte: u8) -> Transformer {
    let name = KeyName::new(name).unwrap();
    let key = LocalKey::new(
        LocalProvider::Aesgcm,
        name,
        SecretBytes::new(vec![byte; 32]),
    );
    Transformer::Local(key.unwrap())
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

fn layout<const N: usize>(rules: [(&str, &[Transformer]); N]) -> Arc<Layout> {
    let chain = |(name, chain): (&str, &[Transformer])| {
        let chain = Chain::from_all(chain.iter().cloned()).unwrap();
        (GroupResource::from_text(name), chain)
    };
    Arc::new(rules.into_iter().map(chain).collect())
}

fn desired<const N: usize>(writers: [(&str, &Transformer); N]) -> Desired {
    let writer =
        |(name, writer): (&str, &Transformer)| (GroupResource::from_text(name), writer.clone());
    Desired {
        writers: writers.into_iter().map(writer).collect(),
        keep_keys: 8,
        interrupt: false,
    }
}

/// A cluster in which everything that is asked for is done at once.
struct Cluster {
    observed: Observed,
    history: KeyHistory,
}

impl Cluster {
    fn new(servers: usize, layout: &Arc<Layout>) -> Self {
        let server = |index: usize| ApiServer {
            name: format!("cp-{index}").into(),
            file: Ok(file(layout, LONG_AGO)),
            history: Vec::new(),
            loaded: Ok(LoadedConfig {
                hash: hash(layout),
                since: None,
            }),
            kms: BTreeMap::new(),
        };
        let observed = Observed {
            servers: (0..servers).map(server).collect(),
            ..Observed::default()
        };
        Self {
            observed,
            history: KeyHistory::default(),
        }
    }

    fn plan(&self, desired: &Desired) -> Plan {
        plan(&self.observed, desired, NOW)
    }

    fn server(&mut self, name: &str) -> &mut ApiServer {
        let mut servers = self.observed.servers.iter_mut();
        servers.find(|server| &*server.name == name).unwrap()
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::StoreKey { transformer, used } => {
                self.history.keep(&transformer, used, NOW);
            }
            Action::Record {
                revision,
                row_writers,
            } => {
                self.observed.row_writers = Some(row_writers);
                self.history.record(revision, NOW).unwrap();
            }
            Action::StoreKeyOnNode { server, key } => self.server(&server).history.push(key),
            Action::Write { server, layout, .. } => {
                layout.render().unwrap();
                let server = self.server(&server);
                server.file = Ok(file(&layout, NOW));
                server.loaded = Ok(LoadedConfig {
                    hash: hash(&layout),
                    since: Some(NOW.after(Duration::from_secs(1))),
                });
            }
            Action::Rewrite { resources, binding } => {
                self.observed.rewritten = Some(Pass {
                    binding,
                    resources,
                    refused: 0,
                });
            }
            Action::Verify { resources, binding } => {
                self.observed.verified = Some(Pass {
                    binding,
                    resources,
                    refused: 0,
                });
            }
            other => panic!("{other}"),
        }
        self.observed.keyring = self.history.keyring();
    }

    /// Does what is planned until nothing is; the phases and actions on the way.
    fn run(&mut self, desired: &Desired) -> (Plan, Vec<String>) {
        let mut steps = Vec::new();
        for _ in 0..20 {
            let plan = self.plan(desired);
            if plan.actions.is_empty() {
                return (plan, steps);
            }
            for action in plan.actions {
                steps.push(format!("{}: {action}", plan.phase));
                self.apply(action);
            }
        }
        panic!("no end: {steps:#?}")
    }

    fn chain(&self, server: usize, resource: &str) -> String {
        let file = self.observed.servers[server].file.as_ref().unwrap();
        file.layout
            .chain_of(&GroupResource::from_text(resource))
            .to_string()
    }
}

fn hash(layout: &Layout) -> ConfigHash {
    if layout.is_plain() {
        return ConfigHash::NO_FILE;
    }
    // A stand-in that differs where the layouts do.
    let text = format!("{layout:?}");
    let mut bytes = [1_u8; 32];
    for (index, byte) in text.bytes().enumerate() {
        bytes[index % 32] = bytes[index % 32].wrapping_mul(31).wrapping_add(byte);
    }
    ConfigHash::new(bytes)
}

fn file(layout: &Arc<Layout>, written: Timestamp) -> NodeFile {
    NodeFile::written_at(hash(layout), Arc::clone(layout), written)
}

fn reasons(plan: &Plan) -> Vec<String> {
    plan.blockers.iter().map(ToString::to_string).collect()
}

#[test]
fn enabling_goes_through_every_gate() {
    let mut cluster = Cluster::new(2, &layout([]));
    let (end, steps) = cluster.run(&desired([("secrets", &gcm("a"))]));
    assert_eq!(end.phase, Phase::Done);
    assert_eq!(
        steps,
        [
            "StoringKeys: keep aesgcm key `a` in the keyring",
            "StoringKeys: keep aesgcm key `a` in the history of cp-0",
            "StoringKeys: keep aesgcm key `a` in the history of cp-1",
            "Readable: write the configuration of cp-0",
            "Readable: write the configuration of cp-1",
            "Promoting: record revision 1",
            "Promoting: write the configuration of cp-0",
            "Promoting: write the configuration of cp-1",
            "Rewriting: rewrite every row of secrets",
            "Verifying: verify every row of secrets",
            "Pruning: write the configuration of cp-0",
            "Pruning: write the configuration of cp-1",
        ]
    );
    assert_eq!(cluster.chain(1, "secrets"), "aesgcm key `a`");
}

#[test]
fn the_most_recent_keys_stay_and_older_ones_go() {
    let mut cluster = Cluster::new(
        1,
        &layout([("secrets", &[gcm("a"), Transformer::Identity])]),
    );
    let keep_three = |key: &Transformer| Desired {
        keep_keys: 3,
        ..desired([("secrets", key)])
    };
    for name in ["b", "c", "d"] {
        let (end, _) = cluster.run(&keep_three(&gcm(name)));
        assert_eq!(end.phase, Phase::Done, "{:?}", end.blockers);
    }
    assert_eq!(
        cluster.chain(0, "secrets"),
        "aesgcm key `d`, aesgcm key `c`, aesgcm key `b`"
    );
    assert_eq!(
        cluster.history.local_keys().count(),
        4,
        "the history has all"
    );
}

#[test]
fn moving_between_plugins_and_resources_and_back_to_plain() {
    let old = layout([("secrets", &[kms("old"), Transformer::Identity])]);
    let mut cluster = Cluster::new(2, &old);
    let id = |id: &str, since| KmsKeyId {
        id: id.into(),
        since,
    };
    for server in &mut cluster.observed.servers {
        server.kms.insert("new".into(), id("1", LONG_AGO));
    }
    let both = desired([("secrets", &kms("new")), ("configmaps", &kms("new"))]);
    let (end, _) = cluster.run(&both);
    assert_eq!((end.phase, reasons(&end)), (Phase::Done, vec![]));
    assert_eq!(cluster.chain(0, "secrets"), "kms v2 `new`");
    assert_eq!(cluster.chain(1, "configmaps"), "kms v2 `new`");

    // The KEK gets a new version: nothing but the rows changes, once all servers have had it for a while.
    cluster.observed.servers[0]
        .kms
        .insert("new".into(), id("2", LONG_AGO));
    let waits = cluster.plan(&both);
    assert_eq!(
        reasons(&waits),
        ["the API servers do not have one key id of the KMS provider `new` yet"]
    );
    cluster.observed.servers[1]
        .kms
        .insert("new".into(), id("2", NOW));
    let waits = cluster.plan(&both);
    assert_eq!(
        reasons(&waits),
        ["the key id of the KMS provider `new` is too new"]
    );
    assert!(waits.blockers[0].passes_by_itself());
    let later = NOW.after(HOLD);
    assert_eq!(
        plan(&cluster.observed, &both, later).phase,
        Phase::Rewriting
    );
    cluster.observed.servers[1]
        .kms
        .insert("new".into(), id("2", LONG_AGO));
    let (end, steps) = cluster.run(&both);
    assert_eq!(end.phase, Phase::Done);
    assert_eq!(
        steps,
        [
            "Rewriting: rewrite every row of configmaps, secrets",
            "Verifying: verify every row of configmaps, secrets",
        ]
    );

    // Plain again; the name that means nothing leaves the file, the last one cannot.
    let off = desired([
        ("secrets", &Transformer::Identity),
        ("configmaps", &Transformer::Identity),
    ]);
    let (end, _) = cluster.run(&off);
    assert_eq!(end.phase, Phase::Done, "{:?}", reasons(&end));
    assert_eq!(cluster.chain(0, "secrets"), "identity");
    assert_eq!(cluster.chain(0, "configmaps"), "identity");
}

#[test]
fn an_abort_before_promotion_drops_the_key_and_after_it_makes_a_revision() {
    let start = layout([("secrets", &[gcm("a")])]);
    let abort = Desired {
        interrupt: true,
        keep_keys: 1,
        ..desired([("secrets", &gcm("a"))])
    };
    let forward = desired([("secrets", &gcm("b"))]);

    let mut cluster = Cluster::new(2, &start);
    while cluster.plan(&forward).phase < Phase::Promoting {
        for action in cluster.plan(&forward).actions {
            cluster.apply(action);
        }
    }
    assert_eq!(
        cluster.chain(0, "secrets"),
        "aesgcm key `a`, aesgcm key `b`"
    );
    for action in cluster.plan(&abort).actions {
        cluster.apply(action);
    }
    assert_eq!(cluster.chain(0, "secrets"), "aesgcm key `a`");

    let mut cluster = Cluster::new(2, &start);
    while cluster.plan(&forward).phase < Phase::Rewriting {
        for action in cluster.plan(&forward).actions {
            cluster.apply(action);
        }
    }
    let queued = cluster.plan(&desired([("secrets", &gcm("a"))]));
    assert_eq!(queued.phase, Phase::Rewriting);
    assert_eq!(
        reasons(&queued),
        ["the change to revision 1 is finished first"]
    );
    let (end, steps) = cluster.run(&abort);
    assert_eq!(end.phase, Phase::Done);
    assert_eq!(
        steps,
        [
            "Promoting: record revision 2",
            "Promoting: write the configuration of cp-0",
            "Promoting: write the configuration of cp-1",
            "Rewriting: rewrite every row of secrets",
            "Verifying: verify every row of secrets",
            "Pruning: write the configuration of cp-0",
            "Pruning: write the configuration of cp-1",
        ]
    );
    assert_eq!(cluster.chain(1, "secrets"), "aesgcm key `a`");
}

/// Each way in which a proof can be missing stops the change before the new key writes, and says so.
#[test]
fn what_is_missing_is_said() {
    let start = layout([("secrets", &[gcm("a")])]);
    let forward = desired([("secrets", &gcm("b"))]);
    let readable = || {
        let mut cluster = Cluster::new(3, &start);
        while cluster.plan(&forward).phase < Phase::Promoting {
            for action in cluster.plan(&forward).actions {
                cluster.apply(action);
            }
        }
        assert!(!cluster.plan(&forward).actions.is_empty());
        cluster
    };
    let stopped = |change: &dyn Fn(&mut ApiServer)| -> Vec<String> {
        let mut cluster = readable();
        change(&mut cluster.observed.servers[1]);
        let plan = cluster.plan(&forward);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        reasons(&plan)
    };
    let loaded = |layout: &Layout| {
        let hash = hash(layout);
        Ok(LoadedConfig { hash, since: None })
    };
    assert_eq!(
        stopped(&|server| server.loaded = Err("connection refused".into())),
        [
            "cp-1 does not say which configuration it has loaded: connection refused; bring it back, or remove it from the cluster"
        ]
    );
    assert_eq!(
        stopped(&|server| server.file = Err("line 3, column 1: not UTF-8".into())),
        ["the configuration file of cp-1 is left alone: line 3, column 1: not UTF-8"]
    );
    assert_eq!(
        stopped(&|server| server.loaded = loaded(&layout([("pods", &[gcm("x")])]))),
        [
            "cp-1 uses a configuration that is neither in a file nor an earlier one; wait for its reload, or restart it"
        ]
    );
    assert_eq!(
        stopped(&|server| server.loaded = loaded(&Layout::default())),
        ["cp-1 may still be loading an earlier file"]
    );
    let settled = file(&layout([("secrets", &[gcm("a"), gcm("b")])]), LONG_AGO);
    assert_eq!(
        stopped(&|server| {
            server.file = Ok(settled.clone());
            server.loaded = loaded(&Layout::default());
        }),
        ["cp-1 does not read aesgcm key `b` yet"]
    );

    // Loaded before the file was written: what stood there in between may still come.
    let mut cluster = readable();
    cluster.observed.servers[1].loaded.as_mut().unwrap().since = None;
    let waits = plan(&cluster.observed, &forward, NOW);
    assert_eq!(
        reasons(&waits),
        ["cp-1 may still be loading an earlier file"]
    );
    assert!(waits.blockers[0].passes_by_itself());
    assert!(
        !plan(&cluster.observed, &forward, NOW.after(SETTLE))
            .actions
            .is_empty()
    );

    assert_eq!(
        reasons(&plan(&Observed::default(), &forward, NOW)),
        ["no API server is known"]
    );
}

#[test]
fn rows_that_were_refused_stop_the_change() {
    let mut cluster = Cluster::new(1, &layout([("secrets", &[gcm("a")])]));
    let forward = desired([("secrets", &gcm("b"))]);
    while cluster.plan(&forward).phase < Phase::Rewriting {
        for action in cluster.plan(&forward).actions {
            cluster.apply(action);
        }
    }
    for action in cluster.plan(&forward).actions {
        cluster.apply(action);
    }
    cluster.observed.rewritten.as_mut().unwrap().refused = 2;
    let again = cluster.plan(&forward);
    assert_eq!(again.phase, Phase::Rewriting);
    assert_eq!(
        reasons(&again),
        ["2 rows could not be rewritten; see the report of the pass"]
    );
}

#[test]
fn a_backup_keeps_its_key_in_the_configuration() {
    let mut cluster = Cluster::new(1, &layout([("secrets", &[gcm("a")])]));
    cluster.observed.retained = asked(&[("a", "monday")], &[]);
    let forward = Desired {
        keep_keys: 1,
        ..desired([("secrets", &gcm("b"))])
    };
    let (end, _) = cluster.run(&forward);
    assert_eq!(end.phase, Phase::Done);
    assert_eq!(
        reasons(&end),
        ["aesgcm key `a` stays, because the backup monday needs it"]
    );
    cluster.observed.retained = asked(&[], &[]);
    let (end, steps) = cluster.run(&forward);
    assert_eq!((end.phase, reasons(&end)), (Phase::Done, vec![]));
    assert_eq!(steps, ["Pruning: write the configuration of cp-0"]);
    assert_eq!(cluster.chain(0, "secrets"), "aesgcm key `b`");
}

/// What backups said that need these keys, and why some could not say it.
fn asked(needs: &[(&str, &str)], unknown: &[&str]) -> BackupNeeds {
    let retained = |(key, backup): &(&str, &str)| Retained {
        needs: Writer::of(&gcm(key)),
        backups: vec![(*backup).into()],
        count: 1,
    };
    BackupNeeds::Asked {
        needs: needs.iter().map(retained).collect(),
        unknown: unknown.iter().map(|why| (*why).into()).collect(),
    }
}

#[test]
fn a_backup_that_does_not_tell_its_keys_keeps_them_all() {
    let start = layout([("secrets", &[gcm("a"), gcm("c"), Transformer::Identity])]);
    let mut cluster = Cluster::new(1, &start);
    cluster.observed.retained = asked(&[], &["2 were not looked at, among them `x`"]);
    let forward = Desired {
        keep_keys: 1,
        ..desired([("secrets", &gcm("b"))])
    };
    let (end, _) = cluster.run(&forward);
    assert_eq!(end.phase, Phase::Done);
    assert_eq!(
        reasons(&end),
        [
            "no key leaves the configuration, because it is not known which ones backups need: 2 were not looked at, among them `x`"
        ]
    );
    let kept = "aesgcm key `b`, aesgcm key `a`, aesgcm key `c`, identity";
    assert_eq!(cluster.chain(0, "secrets"), kept);
    // Without a backup to ask, nothing stays.
    cluster.observed.retained = BackupNeeds::NotAsked;
    let (end, _) = cluster.run(&forward);
    assert_eq!((end.phase, reasons(&end)), (Phase::Done, vec![]));
    assert_eq!(cluster.chain(0, "secrets"), "aesgcm key `b`");
}

#[test]
fn several_backups_are_counted_and_some_are_named() {
    let mut cluster = Cluster::new(1, &layout([("secrets", &[gcm("a")])]));
    cluster.observed.retained = BackupNeeds::Asked {
        needs: vec![Retained {
            needs: Writer::of(&gcm("a")),
            backups: vec!["c/monday".into(), "c/friday".into()],
            count: 5,
        }],
        unknown: Vec::new(),
    };
    let (end, _) = cluster.run(&desired([("secrets", &gcm("b"))]));
    assert_eq!(
        reasons(&end),
        ["aesgcm key `a` stays, because 5 backups need it, among them c/monday, c/friday"]
    );
}

#[test]
fn a_file_of_another_writer_is_adopted_with_everything_in_it() {
    let foreign = layout([
        (
            "secrets",
            &[gcm("x"), kms("theirs"), gcm("y"), Transformer::Identity],
        ),
        ("pods", &[gcm("y")]),
        ("*.*", &[Transformer::Identity]),
    ]);
    let mut cluster = Cluster::new(1, &foreign);
    let forward = desired([("secrets", &gcm("b"))]);
    while cluster.plan(&forward).phase < Phase::Promoting {
        for action in cluster.plan(&forward).actions {
            cluster.apply(action);
        }
    }
    assert_eq!(
        cluster.chain(0, "secrets"),
        "aesgcm key `x`, aesgcm key `b`, kms v2 `theirs`, aesgcm key `y`, identity"
    );
    assert_eq!(cluster.chain(0, "pods"), "aesgcm key `y`");
    let used: Vec<_> = cluster
        .history
        .entries()
        .iter()
        .map(|entry| entry.used)
        .collect();
    assert_eq!(
        used,
        [true, true, true, false],
        "theirs may be in rows, ours not yet"
    );
}

#[test]
fn a_name_never_means_two_keys() {
    let cluster = Cluster::new(1, &layout([("secrets", &[gcm("a")])]));
    let plan = cluster.plan(&desired([("secrets", &with_secret("a", 99))]));
    assert!(plan.actions.is_empty());
    assert_eq!(
        reasons(&plan),
        ["another aesgcm key `a` is in use; give the new one a name of its own"]
    );
}

#[test]
fn a_configuration_that_cannot_be_written_is_not_begun() {
    let mut cluster = Cluster::new(
        1,
        &layout([("secrets", &[kms("k"), Transformer::Identity])]),
    );
    let everything = desired([("*.*", &kms("k"))]);
    let (end, _) = cluster.run(&everything);
    assert_eq!(end.phase, Phase::Readable);
    let reasons = reasons(&end);
    assert!(
        reasons[0].starts_with("the next configuration cannot be written: kube-apiserver takes the KMS v2 provider `k` only once"),
        "{reasons:?}"
    );
}
