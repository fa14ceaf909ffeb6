//! A key encryption key in the Transit engine of OpenBao (or Vault), and what surrounds it.
//!
//! A [`TransitKek`] wraps and unwraps through OpenBao; the key never leaves it. It reaches OpenBao through a [`Session`], which logs in by a
//! [`LoginMethod`] and renews its token, and that through a [`Client`], which knows addresses, TLS, retries and a circuit breaker.
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
//! # What is where
//!
//! * [`TransitKek`]: a Transit key as a [`KeyEncryptionKey`](kdc_envelope::KeyEncryptionKey). Start here.
//! * [`TransitSnapshotDeks`]: the data keys of snapshots under such a key, with one right for each operation.
//! * [`Session`] and [`LoginMethod`]: logging in, renewing, following credentials that change.
//! * [`Client`]: addresses, TLS, retries, circuit breaker; [`Stats`] of all that.
//! * [`BaoError`]: what went wrong, sorted by what to do about it.
//! * [`admin`]: making the mounts, keys, policies and roles that all this needs, and rotating keys.
//! * [`inspect`]: what a token is and may do, and whether a key works; for tools that explain.
//! * [`TransitCiphertext`]: the version inside a ciphertext, without a request.
//!
//! # Features
//!
//! * `settings`: flags, environment variables and names in a file for all of the above, with clap and serde: the module `settings`.
//! * `metrics`: requests, logins and versions for `prometheus-client`: the module `metrics`.
//!
//! # Time
//!
//! A call ends by the [deadline](kdc_envelope::deadline) of its caller, however many retries are nested, and otherwise within
//! [`ClientConfig::call_timeout`] for each request.
//!
//! While OpenBao cannot be reached, the status of a key stays good for [`TransitOptions::status_grace`] and says that it is
//! [degraded](kdc_envelope::KekStatus::degraded); wrapping and unwrapping fail at once. The hold of new versions must be longer than that.
//!
//! Written against OpenBao 2.6 and 2.7, and tested with both. Vault speaks the same protocol; where it is known to differ is in
//! the operations guide.
#![forbid(unsafe_code)]

pub mod admin;
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

pub use kdc_envelope::kek::{InvalidCiphertext, TransitCiphertext};

pub use client::{
    BaoAddress, BreakerState, Client, ClientCertificateFiles, ClientConfig, InvalidAddress,
    InvalidNamespace, MAX_RESPONSE_LEN, Method, Namespace, Operation, Outcome, Request, Response,
    ServerHealth, Stats, TlsConfig,
};
pub use error::{BaoError, BaoErrorClass, CredentialError, Place};
pub use login::{LoginMethod, LoginPlace, RoleId, Session, SessionStatus};
pub use transit::{
    AAD_ANNOTATION, InvalidKeyName, PlainRow, TransitKek, TransitKey, TransitKeyName,
    TransitOptions, TransitSnapshotDeks,
};
