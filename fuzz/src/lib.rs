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

/// An etcd file of these pages, from page 3 on, which its bucket `key` begins with.
pub fn etcd_file(pages: &[u8], page_size: usize) -> Vec<u8> {
    let count = 3 + (pages.len() / page_size) as u64;
    let mut file = Vec::new();
    for number in 0..2 {
        let words = [2, 0, u64::MAX, count, 7 + number].map(u64::to_le_bytes);
        let mut checked = [0xED0C_DAED, 2, page_size as u32, 0]
            .map(u32::to_le_bytes)
            .concat();
        checked.extend(words.concat());
        let checksum = checked.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        file.extend(number.to_le_bytes());
        file.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(checked);
        file.extend(checksum.to_le_bytes());
        file.resize(file.len().next_multiple_of(page_size), 0);
    }
    // A leaf of one element: a bucket, 16 bytes after its own start, of a name of 3 and a value of 16 bytes.
    file.extend(2u64.to_le_bytes());
    file.extend([2, 0, 1, 0, 0, 0, 0, 0]);
    file.extend([1u32, 16, 3, 16].map(u32::to_le_bytes).concat());
    file.extend(b"key");
    file.extend([3u64, 0].map(u64::to_le_bytes).concat());
    file.resize(3 * page_size, 0);
    file.extend(pages);
    file
}
