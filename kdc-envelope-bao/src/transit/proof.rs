//! The proof that a version of the key wraps and unwraps.
//!
//! It is kept: should OpenBao show the key with other creation times, what was wrapped for the proof tells whether it is another key.

use core::fmt;

use kdc_envelope::{Aad, KekError, Key256};

use super::calls::Calls;
use super::key::TransitKeyName;
use super::versions::Announced;
use crate::error::BaoError;

/// What the proof is bound to.
const PROOF_AAD: Aad<'static> = Aad::new(b"kdc-envelope transit proof");

/// A random secret that a version wrapped and unwrapped.
pub(super) struct Proof {
    announced: Announced,
    ciphertext: String,
    secret: Key256,
}

impl Proof {
    /// Wraps a random secret under the version, unwraps it and compares.
    ///
    /// # Errors
    /// [`BaoError::Canary`] if the version does not hold what it promises; otherwise the trouble with OpenBao.
    pub(super) async fn make(
        calls: &Calls,
        key: &TransitKeyName,
        announced: Announced,
    ) -> Result<Self, BaoError> {
        let version = announced.version;
        let secret = Key256::random()?;
        let broken = || BaoError::Canary {
            key: key.shown(),
            version,
        };
        let unproven = |problem: KekError| trouble_behind(problem).unwrap_or_else(broken);
        let wrapped = calls
            .encrypt(version, secret.expose(), PROOF_AAD)
            .await
            .map_err(unproven)?;
        let opened = calls
            .decrypt(&wrapped.ciphertext, Some(PROOF_AAD))
            .await
            .map_err(unproven)?;
        if opened.expose() != secret.expose() {
            return Err(broken());
        }
        Ok(Self {
            announced,
            ciphertext: wrapped.ciphertext,
            secret,
        })
    }

    /// The version that was proven, and the key id that it had.
    pub(super) const fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Whether the key is still the one that wrapped this.
    ///
    /// # Errors
    /// The trouble with OpenBao, which tells neither.
    pub(super) async fn still_opens(&self, calls: &Calls) -> Result<bool, BaoError> {
        let opened = calls.reopen(&self.ciphertext, PROOF_AAD).await?;
        Ok(opened.is_some_and(|opened| opened.expose() == self.secret.expose()))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.announced.key_id)
    }
}

/// What OpenBao said, if the call failed for that.
fn trouble_behind(problem: KekError) -> Option<BaoError> {
    match problem {
        KekError::Unavailable { source }
        | KekError::DeadlineExceeded { source }
        | KekError::Denied { source } => source.downcast().ok().map(|trouble| *trouble),
        _ => None,
    }
}
