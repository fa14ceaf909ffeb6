use std::collections::HashSet;

use super::*;
use crate::KekErrorKind;
use crate::local::schedule::SALT_LEN;

const AAD: Aad<'static> = Aad::new(b"test");

fn kek() -> LocalKek {
    LocalKek::new(Keyring::generate(1).unwrap()).unwrap()
}

fn salt_of(wrapped: &WrappedKey) -> Vec<u8> {
    let start = 2 + wrapped.key_id.as_str().len();
    wrapped.ciphertext[start..start + SALT_LEN].to_vec()
}

#[tokio::test]
async fn a_key_that_reached_its_limit_is_replaced_by_a_fresh_one() {
    let kek = LocalKek::with_limit(Keyring::generate(1).unwrap(), 3).unwrap();
    let mut salts = Vec::new();
    for _ in 0..9 {
        let wrapped = kek.wrap(b"seed", AAD).await.unwrap();
        assert_eq!(kek.unwrap(&wrapped, AAD).await.unwrap().expose(), b"seed");
        salts.push(salt_of(&wrapped));
    }
    assert_eq!(salts.iter().collect::<HashSet<_>>().len(), 3);
    assert!(
        salts
            .chunks(3)
            .all(|three| three.iter().all(|salt| *salt == three[0]))
    );
}

#[tokio::test]
async fn a_wrapped_key_names_its_key_and_refuses_another() {
    let kek = kek();
    let wrapped = kek.wrap(b"seed", AAD).await.unwrap();
    let mut keyring = Keyring::parse(&kek.snapshot().keyring.to_text()).unwrap();
    keyring.add(2).unwrap();
    let second = keyring.versions[&2].key_id().clone();
    kek.replace(keyring).unwrap();
    let foreign = WrappedKey::new(second, wrapped.ciphertext);
    let error = kek.unwrap(&foreign, AAD).await.unwrap_err();
    assert_eq!(error.kind(), KekErrorKind::Malformed);
}

#[tokio::test]
async fn no_truncation_panics_or_opens() {
    let kek = kek();
    let wrapped = kek.wrap(b"seed", AAD).await.unwrap();
    for len in 0..wrapped.ciphertext.len() {
        let cut = WrappedKey::new(wrapped.key_id.clone(), wrapped.ciphertext[..len].to_vec());
        assert!(kek.unwrap(&cut, AAD).await.is_err(), "{len}");
    }
}

#[tokio::test]
async fn retired_versions_say_so() {
    let mut keyring = Keyring::generate(1).unwrap();
    let old = LocalKek::new(Keyring::parse(&keyring.to_text()).unwrap()).unwrap();
    let wrapped = old.wrap(b"seed", AAD).await.unwrap();
    keyring.add(2).unwrap();
    keyring.promote(2).unwrap();
    keyring.retire(1, 3).unwrap();
    let kek = LocalKek::new(keyring).unwrap();
    let error = kek.unwrap(&wrapped, AAD).await.unwrap_err();
    assert_eq!(error.kind(), KekErrorKind::UnknownKey);
    assert!(error.to_string().contains("was retired"), "{error}");
}

#[test]
fn only_a_successor_of_the_same_keyring_takes_its_place() {
    let mut keyring = Keyring::generate(1).unwrap();
    let first = keyring.to_text();
    keyring.add(2).unwrap();
    keyring.promote(2).unwrap();
    let kek = LocalKek::new(keyring).unwrap();
    let replace = |text: &str| kek.replace(Keyring::parse(text).unwrap());
    assert_eq!(
        replace(&first),
        Err(ReplaceError::Backwards { from: 2, to: 1 })
    );
    assert_eq!(
        replace(&Keyring::generate(1).unwrap().to_text()),
        Err(ReplaceError::AnotherKeyring)
    );
    let mut forged = Keyring::parse(&first).unwrap();
    forged.add(9).unwrap();
    forged.promote(2).unwrap();
    assert_eq!(kek.replace(forged), Err(ReplaceError::ChangedVersion(2)));
    assert_eq!(kek.status().unwrap().version, 2);
}

#[test]
fn a_keyring_without_a_version_of_the_present_one_does_not_take_its_place() {
    let mut keyring = Keyring::generate(1).unwrap();
    let before = keyring.to_text();
    keyring.add(2).unwrap();
    keyring.add(3).unwrap();
    let copy = |keyring: &Keyring| Keyring::parse(&keyring.to_text()).unwrap();
    let kek = LocalKek::new(copy(&keyring)).unwrap();
    let replace = |text: &str| kek.replace(Keyring::parse(text).unwrap());
    assert_eq!(replace(&before), Err(ReplaceError::Lost(2)));
    keyring.retire(2, 4).unwrap();
    assert_eq!(
        kek.replace(copy(&keyring)),
        Ok(()),
        "a retired one is not lost"
    );
    // A retired one leaves a line for ever.
    assert_eq!(replace(&before), Err(ReplaceError::Lost(2)));
}
