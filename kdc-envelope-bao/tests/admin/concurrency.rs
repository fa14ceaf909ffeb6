//! Several who change one key at once, which OpenBao does not bear: on servers with a raft log, where every overlap goes wrong, and in a
//! cluster, whose standbys answer reads.

use kdc_envelope_bao::BaoErrorClass;
use kdc_envelope_bao::admin::{AdminError, Change, KeyConfig, Trial};
use kdc_testbed::BaoCluster;
use kdc_testbed::bao::{Bao, BaoVersion, Caller};
use serde_json::{Value, json};

use crate::fixture::{Set, administrator, key, transit};

/// Others who rotate `k` at the same time.
const OTHERS: usize = 3;
/// Far more than it ever takes until rotations overlap.
const ROUNDS: usize = 60;

/// Servers with a raft log and the key `k`.
async fn each_on_disk() -> Vec<Set> {
    let mut all = Vec::new();
    for version in BaoVersion::selected().unwrap() {
        let options = Bao::options().version(version).persistent();
        let set = Set::with_transit(options).await;
        set.admin
            .keys()
            .ensure(&key("k"), &KeyConfig::safe())
            .await
            .unwrap();
        all.push(set);
    }
    all
}

/// A rotation by an administrator who takes no care: status and newest version.
async fn careless(caller: Caller) -> (u16, Option<u64>) {
    let path = "transit/keys/k/rotate";
    let (status, body) = caller.request("POST", path, Some(json!({}))).await.unwrap();
    (status, body["data"]["latest_version"].as_u64())
}

/// What was wrapped with a version that a rotation reported as good, and what the others left behind.
#[derive(Default)]
struct Seen {
    good: Vec<String>,
    overlaps: usize,
    errors: Vec<AdminError>,
}

async fn round(set: &Set, seen: &mut Seen) {
    let others: Vec<_> = (0..OTHERS)
        .map(|_| tokio::spawn(careless(set.bao.root().clone())))
        .collect();
    let rotated = set.admin.keys().rotate(&key("k"), Trial::RoundTrip).await;
    let mut failed = 0;
    for other in others {
        failed += usize::from(other.await.unwrap().0 == 500);
    }
    seen.overlaps += failed;
    match rotated {
        Ok(key) => seen.good.push(set.encrypt("k", key.latest_version).await),
        Err(error) => seen.errors.push(error),
    }
}

#[tokio::test]
async fn a_version_reported_as_good_outlives_the_server_whatever_others_do() {
    for mut set in Box::pin(each_on_disk()).await {
        let mut seen = Seen::default();
        for _ in 0..ROUNDS {
            round(&set, &mut seen).await;
            if seen.overlaps > 0 && !seen.errors.is_empty() {
                break;
            }
        }
        // Once without others, so that there is always one to look at.
        let last = set.rotate().await;
        seen.good.push(set.encrypt("k", last.latest_version).await);
        assert!(
            seen.overlaps > 0 && !seen.errors.is_empty(),
            "nothing overlapped"
        );
        for error in &seen.errors {
            let is_told = matches!(
                error,
                AdminError::PhantomSuspected { .. } | AdminError::ConcurrentRotation { .. }
            );
            assert!(is_told, "{error:?}");
            assert_eq!(error.class(), BaoErrorClass::Rejected);
        }
        set.bao.restart().await.unwrap();
        for ciphertext in &seen.good {
            assert!(set.opens("k", ciphertext).await, "{ciphertext}");
        }
    }
}

/// Makes OpenBao use a version that it did not store, and gives that version.
async fn phantom(set: &Set) -> u32 {
    for _ in 0..ROUNDS {
        let rotations = (0..=OTHERS).map(|_| tokio::spawn(careless(set.bao.root().clone())));
        let mut stored = 0;
        for rotation in rotations.collect::<Vec<_>>() {
            stored = stored.max(rotation.await.unwrap().1.unwrap_or_default());
        }
        let shown = set.admin.keys().read(&key("k")).await.unwrap().unwrap();
        if u64::from(shown.latest_version) > stored {
            return shown.latest_version;
        }
    }
    panic!("no rotation failed");
}

/// What the error text tells to do.
#[tokio::test]
async fn another_rotation_alone_stores_a_phantom_version_too() {
    for mut set in Box::pin(each_on_disk()).await {
        let lost = phantom(&set).await;
        let wrapped = set.encrypt("k", lost).await;
        set.bao.restart().await.unwrap();
        assert!(!set.opens("k", &wrapped).await, "version {lost} was stored");

        let saved = phantom(&set).await;
        let wrapped = set.encrypt("k", saved).await;
        let rotated = set.rotate().await;
        assert_eq!(rotated.latest_version, saved + 1);
        set.bao.restart().await.unwrap();
        assert!(
            set.opens("k", &wrapped).await,
            "version {saved} was not stored"
        );
    }
}

#[tokio::test]
async fn changes_of_one_process_do_not_meet() {
    for set in Box::pin(each_on_disk()).await {
        let (admin, k) = (&set.admin, key("k"));
        let on = |allowed| {
            let mut config = KeyConfig::default();
            config.deletion_allowed = Some(allowed);
            config
        };
        let (yes, no) = (on(true), on(false));
        let keys = admin.keys();
        let (a, b, c, d, e) = tokio::join!(
            keys.rotate(&k, Trial::RoundTrip),
            keys.ensure_config(&k, &yes),
            keys.rotate(&k, Trial::RoundTrip),
            keys.ensure_config(&k, &no),
            keys.rotate(&k, Trial::RoundTrip),
        );
        let versions = [a, c, e].map(|rotated| rotated.unwrap().latest_version);
        assert_eq!(versions, [2, 3, 4]);
        b.unwrap();
        d.unwrap();
        let shown = keys.read(&k).await.unwrap();
        keys.reload(&transit()).await.unwrap();
        assert_eq!(keys.read(&k).await.unwrap(), shown);
    }
}

/// OpenBao shows a change that it did not store; after reloading it shows the truth.
#[tokio::test]
async fn a_change_that_was_not_stored_is_gone_after_reloading() {
    for set in Box::pin(each_on_disk()).await {
        let period = json!({"auto_rotate_period": "2h"});
        let deletion = json!({"deletion_allowed": true});
        let path = "transit/keys/k/config";
        for _ in 0..ROUNDS {
            let (a, b) = tokio::join!(
                set.raw("POST", path, deletion.clone()),
                set.raw("POST", path, period.clone()),
            );
            if (a.0, b.0) == (200, 500) {
                break;
            }
            let reset = json!({"auto_rotate_period": 0, "deletion_allowed": false});
            set.done("POST", path, reset).await;
        }
        let keys = set.admin.keys();
        let shown = keys.read(&key("k")).await.unwrap().unwrap();
        assert_eq!(shown.auto_rotate_period, 7_200);
        keys.reload(&transit()).await.unwrap();
        let stored = keys.read(&key("k")).await.unwrap().unwrap();
        assert_eq!(stored.auto_rotate_period, 0);
    }
}

#[tokio::test]
async fn standbys_that_lag_behind_confuse_neither_creation_nor_rotation() {
    for version in BaoVersion::selected().unwrap() {
        let cluster = BaoCluster::start(Bao::options().version(version))
            .await
            .unwrap();
        let leader = cluster.leader().await.unwrap();
        let root = cluster.nodes()[leader].root();
        let mut addresses = cluster.addresses();
        // Asked last, and so never while the standbys answer.
        addresses.rotate_left(leader + 1);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let folder = tempfile::tempdir().unwrap();
        let admin = administrator(&addresses, root.token(), &folder);
        let mounted = admin.mounts().ensure_transit(&transit()).await.unwrap();
        assert_eq!(mounted, Change::Created);
        for number in 0..3 {
            let k = key(&format!("k{number}"));
            let (_, made) = admin.keys().ensure(&k, &KeyConfig::safe()).await.unwrap();
            assert_eq!(made.latest_version, 1);
            for version in 2..5 {
                let rotated = admin.keys().rotate(&k, Trial::RoundTrip).await.unwrap();
                assert_eq!(rotated.latest_version, version);
            }
        }
        let shown: Value = root.call("GET", "transit/keys/k0", None).await.unwrap();
        assert_eq!(shown["data"]["latest_version"], 4);
    }
}
