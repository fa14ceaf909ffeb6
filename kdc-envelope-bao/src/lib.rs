//! OpenBao (and Vault) from the side of somebody who keeps a key encryption key there.
//!
//! * [`TransitKek`]: a Transit key as a [`KeyEncryptionKey`](kdc_envelope::KeyEncryptionKey). Start here.
//! * [`TransitSnapshotDeks`]: the data keys of snapshots under such a key, with one right for each operation.
//! * [`Session`] and [`LoginMethod`]: logging in, renewing, following credentials that change.
//! * [`Client`]: addresses, TLS, retries, circuit breaker; [`Stats`] of all that.
//! * [`BaoError`]: what went wrong, sorted by what to do about it.
//! * [`admin`]: making the mounts, keys, policies and roles that all this needs, and rotating keys.
//! * [`inspect`]: what a token is and may do, and whether a key works; for those who explain.
//! * [`TransitCiphertext`]: the version inside a ciphertext, without asking anybody.
//!
//! ```no_run
//! use kdc_envelope::{Aad, KeyEncryptionKey as _};
//! use kdc_envelope_bao::{Client, ClientConfig, LoginMethod, Session, TransitKek, TransitKeyName, TransitOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientConfig::new(vec!["https://openbao.example.com:8200".parse()?])?)?;
//! let session = Session::new(client, LoginMethod::TokenFile("/run/secrets/token".into()), None);
//! let key = TransitKeyName::new("transit", "etcd")?;
//! let kek = TransitKek::new(session.clone(), key, TransitOptions::default());
//! kek.connect().await?;
//! tokio::spawn({ let kek = kek.clone(); async move { kek.watch().await } });
//! tokio::spawn(async move { session.maintain().await });
//!
//! let wrapped = kek.wrap(b"a data key of 32 bytes, or less", Aad::new(b"invoices")).await?;
//! let secret = kek.unwrap(&wrapped, Aad::new(b"invoices")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Written against OpenBao 2.6 and 2.7, and tested with both. Vault speaks the same protocol; where it is known to differ is in
//! the operations guide.
#![forbid(unsafe_code)]

pub mod admin;
mod ciphertext;
mod client;
mod credential;
mod deadline;
mod error;
pub mod inspect;
mod login;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "settings")]
pub mod settings;
mod transit;

pub use ciphertext::{InvalidCiphertext, TransitCiphertext};
pub use client::{
    Answer, BaoAddress, BreakerState, Client, ClientCertificateFiles, ClientConfig, InvalidAddress,
    InvalidNamespace, MAX_ANSWER_LEN, Method, Namespace, Operation, Outcome, Request, ServerHealth,
    Stats, TlsConfig,
};
pub use error::{BaoError, BaoErrorClass, CredentialError, Place};
pub use login::{LoginMethod, LoginPlace, RoleId, Session, SessionStatus};
pub use transit::{
    AAD_ANNOTATION, InvalidKeyName, PlainRow, TransitKek, TransitKey, TransitKeyName,
    TransitOptions, TransitSnapshotDeks,
};
