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
