//! `hkdf-sha512-v1` against vectors that an independent program made, and its properties.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;

use kdc_envelope::Key256;
use kdc_envelope::derive::{Derivation, InvalidDerivation};
use proptest::prelude::*;

fn bytes32(hex_text: &str) -> Key256 {
    Key256::from_slice(&hex::decode(hex_text).unwrap()).unwrap()
}

#[test]
fn vectors_of_the_independent_implementation() {
    let text = include_str!("vectors/hkdf-sha512-v1.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let mut keys = HashSet::new();
    for vector in &vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let revision = vector["revision"].as_u64().unwrap();
        let (group, dimension) = (text("replication_group_id"), text("dimension"));
        let derivation =
            Derivation::new(group, dimension, text("provider_type"), revision).unwrap();
        let (root, seed) = (bytes32(text("root")), bytes32(text("seed")));
        let key = derivation.key(&root, &seed);
        assert_eq!(hex::encode(key.expose()), text("key"), "{vector}");
        assert_eq!(
            hex::encode(derivation.check_value(&root, &seed)),
            text("check")
        );
        keys.insert(*key.expose());
    }
    assert_eq!(keys.len(), vectors.len(), "every vector has another key");
    assert!(vectors.len() >= 11);
}

#[test]
fn inputs_without_a_key_are_refused() {
    let long = "g".repeat(254);
    for (group, dimension, provider) in [
        ("", "d", "p"),
        ("g", "", "p"),
        ("g", "d", ""),
        (&long, "d", "p"),
    ] {
        let refused = Derivation::new(group, dimension, provider, 1);
        assert!(
            matches!(refused, Err(InvalidDerivation::TextLength { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        Derivation::new("g", "d", "p", 0),
        Err(InvalidDerivation::Revision)
    );
}

type Inputs = (String, String, String, u64, [u8; 32], [u8; 32]);

fn inputs() -> impl Strategy<Value = Inputs> {
    // A small alphabet, so that texts divided at other places are likely.
    let text = || "[ab]{1,4}";
    let few = || prop::sample::select(vec![[0; 32], [1; 32]]);
    (text(), text(), text(), 1..4u64, few(), few())
}

fn derived((group, dimension, provider, revision, root, seed): &Inputs) -> ([u8; 32], [u8; 32]) {
    let derivation = Derivation::new(group, dimension, provider, *revision).unwrap();
    let (root, seed) = (Key256::new(*root), Key256::new(*seed));
    (
        *derivation.key(&root, &seed).expose(),
        derivation.check_value(&root, &seed),
    )
}

proptest! {
    #[test]
    fn keys_are_equal_if_and_only_if_all_inputs_are(a in inputs(), b in inputs()) {
        let ((key_a, check_a), (key_b, check_b)) = (derived(&a), derived(&b));
        prop_assert_eq!(key_a == key_b, a == b);
        prop_assert_eq!(check_a == check_b, a == b);
        prop_assert_ne!(key_a, check_a);
    }
}
