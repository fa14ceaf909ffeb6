//! What the criterion suites in `suites/` and the side-by-side comparison in `bin/compare/` share.

use kdc_envelope::kmsv2::{DekSource, DekSourceType, ProviderName, RowSealer, Seed};
use kdc_envelope::{KeyId, SecretBytes, WrappedKey};

/// Sizes of real objects: a token, a certificate, a large Secret, the limit of the API.
pub const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 1 << 20];

/// Where the measured rows would be stored.
pub const ETCD_KEY: &[u8] = b"/registry/secrets/default/bench";

/// Seals and opens rows of one seed, as kube-apiserver does in steady state.
///
/// # Panics
/// If the machine has no random bytes.
#[must_use]
pub fn row_keys() -> (RowSealer, DekSource) {
    let seed = Seed::random().expect("random bytes");
    let secret = SecretBytes::new(seed.expose().to_vec());
    let key_id = KeyId::new("local-v1-0123456789abcdef01234567").expect("a valid key id");
    let wrapped = WrappedKey::new(key_id, vec![7; 120]);
    let provider = ProviderName::new("bench").expect("a valid name");
    let sealer = RowSealer::new(&provider, seed, &wrapped).expect("a valid answer");
    let source = DekSource::new(DekSourceType::HkdfSha256XnonceAesGcmSeed, secret);
    (sealer, source.expect("32 bytes"))
}
