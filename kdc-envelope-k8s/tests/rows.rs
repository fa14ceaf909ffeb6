//! Rows held against who should have written them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use kdc_envelope::evidence::{Conclusion, GapKind};
use kdc_envelope::key_usage::KeyUsage;
use kdc_envelope_k8s::rotation::{ApiServer, KmsKeyId, NodeFile, Timestamp};
use kdc_envelope_k8s::rows::{ExpectedRows, key_id_hash};
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, Layout};

const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: p, endpoint: unix:///run/p.sock}
      - identity: {}
";

fn layout() -> Layout {
    Layout::of(&EncryptionConfiguration::parse(CONFIG.as_bytes()).unwrap())
}

/// An API server whose plugin has this key id.
fn server(key_id: &str) -> ApiServer {
    let id = KmsKeyId {
        id: key_id_hash(key_id),
        since: Timestamp::from_secs(0),
    };
    ApiServer {
        name: key_id.into(),
        file: Err::<NodeFile, _>("not looked at".into()),
        history: Vec::new(),
        loaded: Err("not looked at".into()),
        kms: [("p".into(), id)].into(),
    }
}

/// The writer of Secrets, and of ConfigMaps, which the configuration does not name.
fn expected(servers: &[ApiServer]) -> [ExpectedRows; 2] {
    let names = ["secrets", "configmaps"].map(|name| GroupResource::new(name, ""));
    let expected = ExpectedRows::of(&layout(), servers, names);
    expected.try_into().unwrap()
}

fn row(key_id: &str) -> Vec<u8> {
    let len = char::from(u8::try_from(key_id.len()).unwrap());
    let message = format!("\n<{}\x12{len}{key_id}\x1a\x01w", "x".repeat(60));
    [b"k8s:enc:kms:v2:p:", message.as_bytes()].concat()
}

fn usage(values: &[Vec<u8>]) -> KeyUsage {
    let mut usage = KeyUsage::new("/registry/secrets/");
    for (number, value) in values.iter().enumerate() {
        usage.count(format!("/registry/secrets/a/{number}").as_bytes(), value);
    }
    usage
}

#[test]
fn rows_of_the_newest_key_alone_are_proof() {
    let [secrets, config_maps] = expected(&[server("new"), server("new")]);
    assert_eq!(secrets.key_id_hash.as_deref(), Some(&*key_id_hash("new")));
    let (rows, evidence) = secrets.judge(&usage(&[row("new"), row("new")]));
    assert_eq!(evidence.conclude(), Conclusion::Proven { seen: 2 });
    assert_eq!((rows.current, rows.first_not_current), (2, None));
    // A plain row is as it should be where nothing encrypts.
    let (_, evidence) = config_maps.judge(&usage(&[b"{}".to_vec()]));
    assert!(evidence.is_proof());
}

#[test]
fn an_older_key_and_a_plain_row_refute() {
    let [secrets, config_maps] = expected(&[server("new")]);
    for stale in [row("old"), b"{}".to_vec()] {
        let (rows, evidence) = secrets.judge(&usage(&[row("new"), stale]));
        let refuted = Conclusion::Refuted {
            contradicting: 1,
            seen: 2,
        };
        assert_eq!(evidence.conclude(), refuted);
        let first = rows.first_not_current.as_deref();
        assert_eq!(first, Some("/registry/secrets/a/1"));
    }
    let (_, evidence) = config_maps.judge(&usage(&[row("new")]));
    assert_eq!(evidence.contradicting(), 1);
}

#[test]
fn nothing_is_concluded_from_no_row_a_damaged_one_or_servers_that_do_not_agree() {
    let [secrets, _] = expected(&[server("new")]);
    let (_, evidence) = secrets.judge(&usage(&[]));
    assert_eq!(evidence.conclude(), Conclusion::Unknown(&[]));
    let damaged = b"k8s:enc:kms:v2:p:\xff".to_vec();
    let (_, evidence) = secrets.judge(&usage(&[row("new"), damaged]));
    let kinds = |evidence: &kdc_envelope::evidence::Evidence| {
        let kinds = evidence.gaps().iter().map(|gap| gap.kind);
        (evidence.contradicting(), kinds.collect::<Vec<_>>())
    };
    assert_eq!(kinds(&evidence), (0, vec![GapKind::Unreadable]));
    for servers in [vec![], vec![server("new"), server("old")]] {
        let [secrets, _] = expected(&servers);
        assert_eq!(secrets.key_id_hash, None);
        let (_, evidence) = secrets.judge(&usage(&[row("new"), row("old")]));
        assert_eq!(kinds(&evidence), (0, vec![GapKind::Unreadable]));
        // A plain row is stale whatever the newest key is.
        let (_, evidence) = secrets.judge(&usage(&[row("new"), b"{}".to_vec()]));
        assert_eq!(kinds(&evidence), (1, vec![GapKind::Unreadable]));
    }
}
