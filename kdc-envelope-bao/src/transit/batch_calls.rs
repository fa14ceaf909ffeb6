//! The three operations of Transit that carry keys, each on many at once.
//!
//! Requests are written by hand into a buffer that is wiped, and secrets are read out of the answer where they lie,
//! because a general JSON value would leave copies behind.
//!
//! Each key has a reference, which OpenBao gives back with its result. A result in another's place would be a wrong key for a row.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::{SecretBytes, random};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::batch::{BatchCall, ItemError};
use super::key::TransitKeyName;
use crate::client::{Method, Operation, Request, Response, SharedIndex, is_lag, words};
use crate::error::BaoError;
use crate::login::Session;

/// Where calls go, and what the server must know when it answers.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) session: Session,
    pub(super) key: TransitKeyName,
    pub(super) index: SharedIndex,
}

impl Target {
    async fn send(
        &self,
        operation: Operation,
        items: usize,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Response, BaoError> {
        let path = self.key.path(operation.as_str());
        let request = Request::new(operation, Method::Post, &path)
            .body(body)
            .batch()
            .after(&self.index);
        let answer = self.session.send(request).await?;
        self.session.client().stats().count_items(items);
        Ok(answer)
    }
}

/// A secret to encrypt under one version.
#[derive(Debug)]
pub(super) struct ToEncrypt {
    pub(super) plaintext: SecretBytes,
    pub(super) associated_data: Option<Box<[u8]>>,
    pub(super) version: u32,
}

/// A ciphertext that was parsed before.
#[derive(Debug)]
pub(super) struct ToDecrypt {
    pub(super) ciphertext: Box<str>,
    pub(super) associated_data: Option<Box<[u8]>>,
}

/// A ciphertext to move to another version; to the newest if none is named.
#[derive(Debug)]
pub(super) struct ToRewrap {
    pub(super) ciphertext: Box<str>,
    pub(super) version: Option<u32>,
}

/// A ciphertext and the version that the server says it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Encrypted {
    pub(crate) ciphertext: String,
    pub(crate) version: u32,
}

#[derive(Debug)]
pub(super) struct Encrypt(pub(super) Target);
#[derive(Debug)]
pub(super) struct Decrypt(pub(super) Target);
#[derive(Debug)]
pub(super) struct Rewrap(pub(super) Target);

impl BatchCall for Encrypt {
    type Item = ToEncrypt;
    type Output = Encrypted;

    async fn call(
        &self,
        items: Vec<&ToEncrypt>,
    ) -> Result<Vec<Result<Encrypted, ItemError>>, BaoError> {
        let marks = Marks::fresh()?;
        let mut body = Body::with_room(items.iter().map(|item| {
            item.plaintext.expose().len() + item.associated_data.as_ref().map_or(0, |aad| aad.len())
        }));
        for (place, item) in items.iter().enumerate() {
            body.item();
            body.text("reference", &marks.of(place));
            body.base64("plaintext", item.plaintext.expose());
            if let Some(aad) = &item.associated_data {
                body.base64("associated_data", aad);
            }
            body.number("key_version", item.version);
        }
        let answer = self
            .0
            .send(Operation::Encrypt, items.len(), body.end())
            .await?;
        encrypted(&answer, &marks)
    }
}

impl BatchCall for Rewrap {
    type Item = ToRewrap;
    type Output = Encrypted;

    async fn call(
        &self,
        items: Vec<&ToRewrap>,
    ) -> Result<Vec<Result<Encrypted, ItemError>>, BaoError> {
        let marks = Marks::fresh()?;
        let mut body = Body::with_room(items.iter().map(|item| item.ciphertext.len()));
        for (place, item) in items.iter().enumerate() {
            body.item();
            body.text("reference", &marks.of(place));
            body.text("ciphertext", &item.ciphertext);
            if let Some(version) = item.version {
                body.number("key_version", version);
            }
        }
        let answer = self
            .0
            .send(Operation::Rewrap, items.len(), body.end())
            .await?;
        encrypted(&answer, &marks)
    }
}

impl BatchCall for Decrypt {
    type Item = ToDecrypt;
    type Output = SecretBytes;

    async fn call(
        &self,
        items: Vec<&ToDecrypt>,
    ) -> Result<Vec<Result<SecretBytes, ItemError>>, BaoError> {
        let marks = Marks::fresh()?;
        let mut body = Body::with_room(items.iter().map(|item| {
            item.ciphertext.len() + item.associated_data.as_ref().map_or(0, |aad| aad.len())
        }));
        for (place, item) in items.iter().enumerate() {
            body.item();
            body.text("reference", &marks.of(place));
            body.text("ciphertext", &item.ciphertext);
            if let Some(aad) = &item.associated_data {
                body.base64("associated_data", aad);
            }
        }
        let answer = self
            .0
            .send(Operation::Decrypt, items.len(), body.end())
            .await?;
        let opened: Opened<'_> = answer.data()?;
        let results = opened.batch_results;
        marks.check(results.iter().map(|item| item.reference.as_deref()))?;
        results
            .into_iter()
            .map(|item| match item.error {
                Some(error) => Ok(Err(item_error(&error))),
                None => decode(item.plaintext, &answer).map(Ok),
            })
            .collect()
    }
}

pub(super) fn decode(plaintext: Option<&str>, answer: &Response) -> Result<SecretBytes, BaoError> {
    let text = plaintext.ok_or_else(|| answer.unintelligible())?;
    // Room for all at once: a buffer that grows leaves its former self unwiped.
    let mut bytes = Vec::with_capacity(text.len());
    STANDARD
        .decode_vec(text, &mut bytes)
        .map_err(|_| answer.unintelligible())?;
    Ok(SecretBytes::new(bytes))
}

#[derive(Deserialize)]
struct Opened<'a> {
    #[serde(borrow)]
    batch_results: Vec<OpenedItem<'a>>,
}

#[derive(Deserialize)]
struct OpenedItem<'a> {
    #[serde(borrow, default)]
    plaintext: Option<&'a str>,
    #[serde(default)]
    error: Option<String>,
    #[serde(borrow, default)]
    reference: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Sealed {
    batch_results: Vec<SealedItem>,
}

#[derive(Deserialize)]
struct SealedItem {
    #[serde(default)]
    ciphertext: String,
    #[serde(default)]
    key_version: u32,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    reference: Option<String>,
}

fn encrypted(
    answer: &Response,
    marks: &Marks,
) -> Result<Vec<Result<Encrypted, ItemError>>, BaoError> {
    let sealed: Sealed = answer.data()?;
    let results = &sealed.batch_results;
    marks.check(results.iter().map(|item| item.reference.as_deref()))?;
    let result = |item: SealedItem| match item.error {
        Some(error) => Err(item_error(&error)),
        None => Ok(Encrypted {
            ciphertext: item.ciphertext,
            version: item.key_version,
        }),
    };
    Ok(sealed.batch_results.into_iter().map(result).collect())
}

fn item_error(text: &str) -> ItemError {
    if text.contains("message authentication failed") {
        ItemError::Authentication
    } else if is_lag(text) {
        ItemError::TooNew
    } else if text.contains("disallowed by policy (too old)") {
        ItemError::TooOld
    } else if text.contains("invalid ciphertext") {
        ItemError::Malformed
    } else {
        ItemError::Other(words(&[text.into()]))
    }
}

/// The references of one request, which no other request has.
struct Marks(u64);

impl Marks {
    fn fresh() -> Result<Self, BaoError> {
        let mut random = [0; 8];
        random::fill(&mut random)?;
        Ok(Self(u64::from_be_bytes(random)))
    }

    fn of(&self, place: usize) -> String {
        format!("{:016x}-{place}", self.0)
    }

    /// Refuses results of another request, or in another order. Old servers give no references back.
    fn check<'a>(&self, references: impl Iterator<Item = Option<&'a str>>) -> Result<(), BaoError> {
        let is_right = |(place, reference): (usize, Option<&str>)| {
            reference.is_none_or(|text| text.is_empty() || text == self.of(place))
        };
        if references.enumerate().all(is_right) {
            return Ok(());
        }
        Err(BaoError::WrongAnswer {
            message: "it answered for other keys than it was asked for, or in another order"
                .to_owned(),
        })
    }
}

/// A request with one object for each key, in a buffer that never grows.
struct Body(Zeroizing<Vec<u8>>);

impl Body {
    const OPEN: &'static [u8] = b"{\"batch_input\":[";
    const CLOSE: &'static [u8] = b"}]}";
    /// Bounds the names and punctuation of one item, its reference, and the digits of its version.
    const ITEM_ROOM: usize = 128;

    /// Room for items of these sizes, in bytes before they are encoded.
    fn with_room(sizes: impl Iterator<Item = usize>) -> Self {
        let items: usize = sizes.map(|size| size * 4 / 3 + Self::ITEM_ROOM).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(items + Self::ITEM_ROOM));
        bytes.extend_from_slice(Self::OPEN);
        Self(bytes)
    }

    fn item(&mut self) {
        let opening: &[u8] = match self.0.last() {
            Some(b'[') => b"{",
            _ => b"},{",
        };
        self.0.extend_from_slice(opening);
    }

    fn name(&mut self, name: &str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// `text` needs no escapes.
    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
    }

    fn base64(&mut self, name: &str, bytes: &[u8]) {
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 4 / 3 + 4));
        STANDARD.encode_string(bytes, &mut text);
        self.text(name, &text);
    }

    fn number(&mut self, name: &str, number: u32) {
        self.name(name);
        self.0.extend_from_slice(number.to_string().as_bytes());
    }

    fn end(mut self) -> Zeroizing<Vec<u8>> {
        self.0.extend_from_slice(Self::CLOSE);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_json_that_transit_takes_and_never_grows_its_buffer() {
        let mut body = Body::with_room([256, 1].into_iter());
        let room = body.0.capacity();
        let marks = Marks(u64::MAX);
        body.item();
        body.text("reference", &marks.of(99));
        body.base64("plaintext", &[0xff; 128]);
        body.base64("associated_data", &[0xff; 128]);
        body.number("key_version", u32::MAX);
        body.item();
        body.text("ciphertext", "v");
        let bytes = body.end();
        assert_eq!(bytes.capacity(), room);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let items = json["batch_input"].as_array().unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0]["key_version"], u32::MAX);
        assert_eq!(items[0]["plaintext"], STANDARD.encode([0xff; 128]));
        assert_eq!(items[1]["ciphertext"], "v");
    }

    #[test]
    fn results_of_others_or_in_another_order_are_refused() {
        let marks = Marks(7);
        let (first, second) = (marks.of(0), marks.of(1));
        let check = |references: [Option<&str>; 2]| marks.check(references.into_iter());
        check([Some(&first), Some(&second)]).unwrap();
        check([None, Some("")]).unwrap();
        for wrong in [
            [Some(&*second), Some(&*first)],
            [Some(&*first), Some(&*first)],
            [Some(&*first), Some(&*Marks(8).of(1))],
        ] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn errors_of_items_are_told_apart() {
        for (text, expected) in [
            (
                "cipher: message authentication failed",
                ItemError::Authentication,
            ),
            (
                "chacha20poly1305: message authentication failed",
                ItemError::Authentication,
            ),
            ("invalid ciphertext: version is too new", ItemError::TooNew),
            (
                "requested version for encryption is higher than the latest key version",
                ItemError::TooNew,
            ),
            (
                "ciphertext or signature version is disallowed by policy (too old)",
                ItemError::TooOld,
            ),
            ("invalid ciphertext: no prefix", ItemError::Malformed),
            ("invalid ciphertext length", ItemError::Malformed),
            (
                "something\n else",
                ItemError::Other("something else".to_owned()),
            ),
        ] {
            assert_eq!(item_error(text), expected, "{text}");
        }
    }
}
