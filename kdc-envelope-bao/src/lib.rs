//! What the Transit secrets engine of OpenBao (and of Vault) makes of a plaintext, seen from outside.
//!
//! A plugin that keeps its key encryption key in Transit stores such ciphertexts as wrapped keys, so tools that look at
//! rows of etcd can tell which version of the Transit key wrapped them, without asking the server.
#![forbid(unsafe_code)]

mod ciphertext;

pub use ciphertext::{InvalidCiphertext, TransitCiphertext};
