//! [`TransitSnapshotDeks`]: data keys of snapshots under a Transit key.
//!
//! The job that takes snapshots may make data keys and nothing else, the one that moves them to a new version may not see one, and
//! the one that restores may open them. So each operation here is one path of Transit, and nothing is read about the key: the version is in
//! each ciphertext. Nothing is bound to associated data, which Transit's rewrap ignores; the header of a snapshot binds instead.

use kdc_envelope::snapshot::metadata::WrappedDek;
use kdc_envelope::{KekError, Key256};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::batch::{BatchCall as _, ItemError, MAX_ITEMS};
use super::batch_calls::{Decrypt, Encrypted, Rewrap, Target, ToDecrypt, ToRewrap, decode};
use super::key::TransitKeyName;
use crate::TransitCiphertext;
use crate::client::{Method, Operation, Request, SharedIndex};
use crate::error::BaoError;
use crate::login::Session;

/// Makes, opens and moves the DEKs of snapshots.
#[derive(Debug, Clone)]
pub struct TransitSnapshotDeks(Target);

#[derive(Deserialize)]
struct DataKey<'a> {
    #[serde(borrow)]
    plaintext: &'a str,
    #[serde(borrow)]
    ciphertext: &'a str,
}

impl TransitSnapshotDeks {
    /// The most DEKs that one request [rewraps](Self::rewrap).
    pub const MAX_REWRAP: usize = MAX_ITEMS;

    /// DEKs under the newest version of `key`, used through `session`. Sends nothing.
    #[must_use]
    pub fn new(session: Session, key: TransitKeyName) -> Self {
        Self(Target {
            session,
            key,
            index: SharedIndex::default(),
        })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &TransitKeyName {
        &self.0.key
    }

    /// A new DEK, made and wrapped by OpenBao. Needs `update` on `<mount>/datakey/plaintext/<key>`.
    ///
    /// # Errors
    /// [`KekError`] by what OpenBao answers.
    pub async fn generate(&self) -> Result<(Key256, WrappedDek), KekError> {
        let path = self.0.key.path("datakey/plaintext");
        let body = Zeroizing::new(br#"{"bits":256}"#.to_vec());
        let request = Request::new(Operation::Encrypt, Method::Post, &path).body(body);
        let answer = self.0.session.send(request).await?;
        let made: DataKey<'_> = answer.data()?;
        let secret = decode(Some(made.plaintext), &answer)?;
        let dek = Key256::from_slice(secret.expose()).ok_or_else(|| answer.unintelligible())?;
        let wrapped = self.wrapped(made.ciphertext)?;
        Ok((dek, wrapped))
    }

    /// Opens a DEK. Needs `update` on `<mount>/decrypt/<key>`.
    ///
    /// # Errors
    /// [`KekError`]; [`KekError::Denied`] also for a version below `min_decryption_version`.
    pub async fn unwrap(&self, ciphertext: &str) -> Result<Key256, KekError> {
        check(ciphertext)?;
        let item = ToDecrypt {
            ciphertext: ciphertext.into(),
            associated_data: None,
        };
        let mut answers = Decrypt(self.0.clone()).call(vec![&item]).await?;
        let secret = match answers.pop() {
            Some(Ok(secret)) => secret,
            Some(Err(error)) => return Err(self.explained(error)),
            None => return Err(no_answer()),
        };
        Key256::from_slice(secret.expose()).ok_or(KekError::Malformed {
            field: "wrapped DEK, which holds no 32 bytes",
            offset: 0,
        })
    }

    /// Moves up to [`MAX_REWRAP`](Self::MAX_REWRAP) DEKs to the newest version, one result for each in order. OpenBao does it without
    /// revealing them, and makes another ciphertext of those too that were there already. Needs `update` on
    /// `<mount>/rewrap/<key>`.
    ///
    /// # Errors
    /// [`KekError`] of the request as a whole.
    pub async fn rewrap(
        &self,
        ciphertexts: &[&str],
    ) -> Result<Vec<Result<WrappedDek, KekError>>, KekError> {
        if ciphertexts.len() > Self::MAX_REWRAP {
            return Err(KekError::Misuse("more than 100 keys in one request"));
        }
        let items: Vec<ToRewrap> = ciphertexts
            .iter()
            .map(|ciphertext| {
                check(ciphertext)?;
                Ok(ToRewrap {
                    ciphertext: (*ciphertext).into(),
                    version: None,
                })
            })
            .collect::<Result<_, KekError>>()?;
        let answers = Rewrap(self.0.clone()).call(items.iter().collect()).await?;
        if answers.len() != items.len() {
            return Err(no_answer());
        }
        let moved = |answer: Result<Encrypted, ItemError>| {
            let encrypted = answer.map_err(|error| self.explained(error))?;
            self.wrapped(&encrypted.ciphertext)
        };
        Ok(answers.into_iter().map(moved).collect())
    }

    fn wrapped(&self, ciphertext: &str) -> Result<WrappedDek, KekError> {
        let (mount, name) = (self.0.key.mount(), self.0.key.name());
        WrappedDek::transit(Some(mount), name, ciphertext).map_err(|_| {
            KekError::from(BaoError::WrongAnswer {
                message: "it made a ciphertext that is none of Transit".to_owned(),
            })
        })
    }

    fn explained(&self, error: ItemError) -> KekError {
        match error {
            ItemError::Authentication => KekError::Authentication,
            ItemError::Malformed => KekError::Malformed {
                field: "ciphertext",
                offset: 0,
            },
            ItemError::TooOld => super::calls::too_old(&self.0.key),
            ItemError::TooNew => BaoError::Lagging {
                message: "the version of the key is unknown to OpenBao".to_owned(),
            }
            .into(),
            ItemError::Other(message) => BaoError::KeyFailed { message }.into(),
        }
    }
}

/// Nothing but a ciphertext goes into a request.
fn check(ciphertext: &str) -> Result<(), KekError> {
    TransitCiphertext::parse(ciphertext.as_bytes())
        .map(|_| ())
        .map_err(|_| KekError::Malformed {
            field: "ciphertext, which is not `vault:vN:` and base64",
            offset: 0,
        })
}

fn no_answer() -> KekError {
    BaoError::WrongAnswer {
        message: "it did not answer for every key".to_owned(),
    }
    .into()
}
