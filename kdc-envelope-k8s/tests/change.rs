//! Changes: what they ask for, that they outlive a crash, and how they would go.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{Chain, LocalKey, LocalProvider, Transformer};
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::dry_run::dry_run;
use kdc_envelope_k8s::rotation::key_source::RandomKeys;
use kdc_envelope_k8s::rotation::request::{
    ChangeError, ChangeRequest, Situation, next_key_number, prepare,
};
use kdc_envelope_k8s::rotation::{
    ApiServer, Blocker, Change, ConfigHash, LoadedConfig, NodeFile, Observed, Phase, Revision,
    Timestamp, Writer,
};
use kdc_envelope_k8s::{GroupResource, Layout};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn key(name: &str) -> Transformer {
    let secret = SecretBytes::new(vec![7; 32]);
    let name = KeyName::new(name).unwrap();
    Transformer::Local(LocalKey::new(LocalProvider::Aesgcm, name, secret).unwrap())
}

fn name(text: &str) -> GroupResource {
    GroupResource::from_text(text)
}

fn layout(rules: &[(&str, &[Transformer])]) -> Layout {
    let chain = |(resource, chain): &(&str, &[Transformer])| {
        (
            name(resource),
            Chain::from_all(chain.iter().cloned()).unwrap(),
        )
    };
    rules.iter().map(chain).collect()
}

fn observed(layout: &Layout, servers: usize) -> Observed {
    let hash = ConfigHash::new([1; 32]);
    let server = |index: usize| ApiServer {
        name: format!("cp-{index}").into(),
        file: Ok(NodeFile::written_at(
            hash,
            Arc::new(layout.clone()),
            Timestamp::from_secs(1),
        )),
        history: Vec::new(),
        loaded: Ok(LoadedConfig { hash, since: None }),
        kms: BTreeMap::new(),
    };
    Observed {
        servers: (0..servers).map(server).collect(),
        ..Observed::default()
    }
}

#[test]
fn a_change_comes_back_from_its_text_and_holds_no_key() {
    let files = layout(&[("secrets", &[key("key1"), Transformer::Identity])]);
    let writers = BTreeMap::from([
        (name("secrets"), key("key2")),
        (name("pods"), Transformer::Identity),
    ]);
    let change = Change::new(ChangeKind::Rotate, &writers, &[&files], None, NOW);
    let text = serde_json::to_string(&change).unwrap();
    assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change);
    assert!(!text.contains("BwcH"), "{text}");
    assert_eq!(
        change.before.get(&name("secrets")),
        Some(&Writer::of(&key("key1")))
    );
    assert_eq!(change.before.get(&name("pods")), Some(&Writer::Identity));
}

#[test]
fn a_change_finds_its_writers_by_name() {
    let files = layout(&[("secrets", &[key("key1")])]);
    let writers = BTreeMap::from([(name("secrets"), key("key2"))]);
    let change = Change::new(ChangeKind::Rotate, &writers, &[&files], None, NOW);
    let (old, new) = (key("key1"), key("key2"));
    let desired = change.desired(&[&old, &new]).unwrap();
    assert_eq!(desired.writers, writers);
    assert!(!desired.interrupt);
    let error = change.desired(&[&old]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "aesgcm key `key2` is neither in the keyring nor in a configuration file"
    );
}

#[test]
fn an_abort_asks_for_what_was_before_and_is_undone_by_another() {
    let files = layout(&[("secrets", &[key("key1")])]);
    let writers = BTreeMap::from([(name("secrets"), key("key2"))]);
    let change = Change::new(ChangeKind::Rotate, &writers, &[&files], None, NOW);
    let abort = change.aborted(NOW);
    assert_eq!(abort.kind, ChangeKind::Abort);
    assert_eq!(abort.writers, change.before);
    assert!(abort.desired(&[&key("key1")]).unwrap().interrupt);
    assert_eq!(abort.aborted(NOW).writers, change.writers);
}

#[test]
fn an_abort_goes_back_to_the_newest_writer_although_a_file_has_lost_it() {
    let writers = BTreeMap::from([(name("secrets"), key("key2"))]);
    let revision = Revision {
        number: 3,
        writers: BTreeMap::from([(name("*.*"), key("key1"))]),
    };
    let before = |files: &Layout| {
        let files = [files];
        let change = Change::new(ChangeKind::Enable, &writers, &files, Some(&revision), NOW);
        change.before.get(&name("secrets")).unwrap().clone()
    };
    assert_eq!(before(&Layout::default()), Writer::of(&key("key1")));
    // Another program may have put another writer first.
    let both = layout(&[("secrets", &[key("key0"), key("key1")])]);
    assert_eq!(before(&both), Writer::of(&key("key0")));
}

#[test]
fn a_new_key_gets_a_number_above_all_others() {
    let others = [
        key("key1"),
        key("key7"),
        key("old"),
        key("key"),
        key("key3-0f0f0f0f"),
        key("keyx"),
        Transformer::Identity,
    ];
    assert_eq!(next_key_number(&others.iter().collect::<Vec<_>>()), 8);
    assert_eq!(next_key_number(&[]), 1);
}

fn situation<'s>(files: &'s [&'s Layout], last: Option<&'s Change>) -> Situation<'s> {
    Situation {
        last,
        files: files.to_vec(),
        known: files.iter().flat_map(|file| file.transformers()).collect(),
        revision: None,
        lacking: Vec::new(),
        now: NOW,
    }
}

fn rotate() -> ChangeRequest {
    ChangeRequest::Rotate {
        resources: Vec::new(),
    }
}

#[test]
fn a_rotation_is_about_what_local_keys_write_and_takes_a_new_key_of_each_provider() {
    let files = layout(&[
        ("secrets", &[key("key1")]),
        ("pods", &[Transformer::Identity, key("key1")]),
    ]);
    let files = [&files];
    let prepared = prepare(&rotate(), &situation(&files, None), &RandomKeys).unwrap();
    let names: Vec<_> = prepared.change.writers.keys().cloned().collect();
    assert_eq!(names, [name("secrets")]);
    assert_eq!(prepared.new.len(), 1);
    assert!(Writer::of(&key("key2")).names(&prepared.new[0]));
    let plain = layout(&[("pods", &[Transformer::Identity])]);
    let refused = prepare(&rotate(), &situation(&[&plain], None), &RandomKeys);
    assert!(
        matches!(refused, Err(ChangeError::NoLocalKeys)),
        "{refused:?}"
    );
}

#[test]
fn a_request_is_compared_with_the_change_that_is_under_way() {
    let files = layout(&[("secrets", &[key("key1")])]);
    let files = [&files];
    let begun = prepare(&rotate(), &situation(&files, None), &RandomKeys).unwrap();
    let meanwhile = situation(&files, Some(&begun.change));
    // The same again makes no second key.
    let again = prepare(&rotate(), &meanwhile, &RandomKeys).unwrap();
    assert!(again.is_under_way && again.new.is_empty());
    assert_eq!(again.change, begun.change);
    let other = ChangeRequest::Disable {
        resources: Vec::new(),
    };
    let refused = prepare(&other, &meanwhile, &RandomKeys).unwrap_err();
    assert_eq!(refused.to_string(), "a change is under way (rotate)");
    let abort = prepare(&ChangeRequest::Abort, &meanwhile, &RandomKeys).unwrap();
    assert_eq!(abort.change.writers, begun.change.before);
    // Once it is finished, there is nothing to turn around, and something else may begin.
    let done = Change {
        done: Some(1),
        ..begun.change
    };
    let finished = situation(&files, Some(&done));
    let refused = prepare(&ChangeRequest::Abort, &finished, &RandomKeys);
    assert!(
        matches!(refused, Err(ChangeError::Finished { .. })),
        "{refused:?}"
    );
    assert!(prepare(&other, &finished, &RandomKeys).is_ok());
}

#[test]
fn nothing_new_begins_while_a_file_lacks_a_key() {
    let files = layout(&[("secrets", &[key("key1")])]);
    let files = [&files];
    let lacking = vec![Blocker::NoServers];
    let situation = Situation {
        lacking,
        ..situation(&files, None)
    };
    let refused = prepare(&rotate(), &situation, &RandomKeys);
    assert!(
        matches!(refused, Err(ChangeError::Lacking(_))),
        "{refused:?}"
    );
}

#[test]
fn a_stored_change_has_the_fields_that_earlier_releases_read_and_wrote() {
    let stored = r#"{"change":"rotate","asked":7,"writers":{"secrets":{"key":{"provider":"aesgcm","name":"key2"}}},"before":{"secrets":"identity"},"keepKeys":8,"keepIdentity":false,"done":9}"#;
    let change: Change = serde_json::from_str(stored).unwrap();
    assert_eq!((change.kind, change.requested), (ChangeKind::Rotate, 7));
    assert_eq!(serde_json::to_string(&change).unwrap(), stored);
    let other = stored.replace("\"keepKeys\":8", "\"keepKeys\":2");
    assert!(serde_json::from_str::<Change>(&other).is_err());
}

#[test]
fn a_dry_run_goes_through_all_phases_and_changes_nothing() {
    let files = layout(&[("secrets", &[Transformer::Identity])]);
    let world = observed(&files, 3);
    let writers = BTreeMap::from([(name("secrets"), key("key1"))]);
    let change = Change::new(ChangeKind::Enable, &writers, &[&files], None, NOW);
    let new = key("key1");
    let dry_run = dry_run(&world, &change.desired(&[&new]).unwrap(), NOW);
    assert!(dry_run.is_complete, "{:?}", dry_run.blockers);
    let mut phases: Vec<Phase> = dry_run.steps.iter().map(|step| step.phase).collect();
    phases.dedup();
    let all = [
        Phase::StoringKeys,
        Phase::Readable,
        Phase::Promoting,
        Phase::Rewriting,
        Phase::Verifying,
        Phase::Pruning,
    ];
    assert_eq!(phases, all);
    assert_eq!(dry_run.reloads(), 3);
    assert!(dry_run.rewrites());
    let words: Vec<String> = dry_run
        .steps
        .iter()
        .flat_map(|step| &step.differences)
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        words,
        [
            "secrets: aesgcm key `key1` added at place 2",
            "secrets: written by aesgcm key `key1` instead of identity",
            "secrets: aesgcm key `key1` moved from place 2 to 1",
            "secrets: identity moved from place 1 to 2",
            "secrets: identity removed",
        ]
    );
}

#[test]
fn a_dry_run_says_where_it_would_stop() {
    let files = layout(&[("secrets", &[Transformer::Identity])]);
    let mut world = observed(&files, 2);
    world.servers.last_mut().unwrap().loaded = Err("it does not answer".into());
    let writers = BTreeMap::from([(name("secrets"), key("key1"))]);
    let change = Change::new(ChangeKind::Enable, &writers, &[&files], None, NOW);
    let new = key("key1");
    let dry_run = dry_run(&world, &change.desired(&[&new]).unwrap(), NOW);
    assert!(!dry_run.is_complete);
    assert!(
        matches!(dry_run.blockers.as_slice(), [Blocker::Unaskable { .. }]),
        "{:?}",
        dry_run.blockers
    );
    assert_eq!(dry_run.reloads(), 0);
}
