//! What several targets share: fixed keys, and futures that are ready at once.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use kdc_envelope::Key256;
use kdc_envelope::local::{Keyring, LocalKek};

/// The result of a future that never waits, as those of a local KEK.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a local key never waits"),
    }
}

/// A KEK whose only version every run knows.
pub fn fixed_kek() -> LocalKek {
    LocalKek::new(Keyring::from_root_secret(Key256::new([7; 32]))).expect("random bytes")
}

/// `body` under the first line of a keyring and over the checksum that belongs to it.
pub fn with_checksum(body: &str) -> String {
    use sha2::Digest as _;
    let body = format!("kdc-keyring 1\n{body}");
    let digits: String = sha2::Sha256::digest(&body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{body}sha256 {digits}\n")
}
