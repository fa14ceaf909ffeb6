//! Reproducible random inputs, and changes to valid ones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a wrong call fails its test"
)]

/// SplitMix64 (Steele, Lea and Flood, 2014). Not for secrets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and less than `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next_u64() % u64::try_from(end).unwrap()).unwrap()
    }

    /// So many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next_u64().to_le_bytes()[0]).collect()
    }

    /// Mostly short, sometimes empty, sometimes long.
    pub fn plaintext(&mut self) -> Vec<u8> {
        let len = match self.below(10) {
            0 => 0,
            1..=7 => self.below(100),
            _ => self.below(5_000),
        };
        self.bytes(len)
    }

    /// One of `from`, which is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// At most `max_len` letters of `alphabet`.
    pub fn text(&mut self, alphabet: &str, max_len: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        let len = self.below(max_len + 1);
        (0..len).map(|_| *self.pick(&letters)).collect()
    }

    /// `value`, which is not empty, with one change, sometimes at the end, sometimes in the prefix, mostly anywhere.
    pub fn changed(&mut self, value: &[u8]) -> Vec<u8> {
        let mut value = value.to_vec();
        let at = self.below(value.len());
        match self.below(6) {
            0 => value.truncate(at),
            1 => drop(value.remove(at)),
            2 => value.insert(at, self.next_u64().to_le_bytes()[0]),
            3 => {
                let part = value[at..].to_vec();
                value.extend_from_slice(&part);
            }
            4 => value.extend(self.bytes(16)),
            _ => value[at] ^= 1 << self.below(8),
        }
        value
    }
}
