//! Proof that every living version of a keyring works, also those that no longer wrap.

use super::keyring::{Keyring, Material};
use super::schedule::{self, SALT_LEN};
use super::wrapped::{Wrapped, Writer};
use crate::random;
use crate::{Aad, KekError};

const CONTEXT: Aad<'static> = Aad::new(b"kdc-envelope local self-test");

impl Keyring {
    /// Wraps and unwraps a random secret under every living version; gives their number.
    ///
    /// # Errors
    /// The first version that fails, and how.
    pub fn self_test(&self) -> Result<usize, (u32, KekError)> {
        let mut living = 0;
        for (number, version) in self.versions() {
            let Material::Live(key) = &version.material else {
                continue;
            };
            let round_trip = || {
                let secret: [u8; 32] = random::array()?;
                let salt: [u8; SALT_LEN] = random::array()?;
                let writer = Writer::new(&version.key_id, key, salt);
                let bytes = writer.seal(0, &secret, CONTEXT)?;
                let wrapped = Wrapped::parse(&bytes)?;
                let reader = schedule::wrapping_key(key, wrapped.salt());
                let opened = wrapped.open(&version.key_id, &reader, CONTEXT)?;
                if opened.expose() == secret {
                    Ok(())
                } else {
                    Err(KekError::Authentication)
                }
            };
            round_trip().map_err(|error| (number, error))?;
            living += 1;
        }
        Ok(living)
    }
}

#[cfg(test)]
mod tests {
    use crate::local::Keyring;

    #[test]
    fn every_living_version_is_tested_and_no_retired_one() {
        let mut keyring = Keyring::generate(0).unwrap();
        keyring.add(0).unwrap();
        keyring.add(0).unwrap();
        keyring.promote(2).unwrap();
        keyring.retire(1, 0).unwrap();
        assert_eq!(keyring.self_test().unwrap(), 2);
    }
}
