//! The text of a history.

use core::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{HistoryEntry, KeyHistory};
use crate::encryption_config::{KmsApi, Transformer};

/// The first line, which ends with the version.
pub(super) const HEAD: &str = "kdc-key-history 1\n";
/// What stands before the checksum in the last line.
pub(super) const CHECKSUM: &str = "sha256 ";

impl KeyHistory {
    /// The one text form.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Room for everything, so that no reallocation leaves keys behind.
        let writers = self
            .revisions
            .iter()
            .map(|recorded| recorded.revision.writers.len() + 1);
        let lines = 2 + self.entries.len() + writers.sum::<usize>();
        let names: usize = self.entries.iter().map(name_len).sum();
        let resources = self
            .revisions
            .iter()
            .flat_map(|recorded| recorded.revision.writers.keys());
        let resources: usize = resources
            .map(|name| 3 * (name.resource().len() + name.group().len()))
            .sum();
        let mut text = Zeroizing::new(String::with_capacity(160 * lines + names + resources));
        text.push_str(HEAD);
        for (index, entry) in self.entries.iter().enumerate() {
            push_entry(&mut text, index + 1, entry);
        }
        for recorded in &self.revisions {
            let number = recorded.revision.number;
            push(
                &mut text,
                format_args!("revision {number} {}\n", recorded.recorded.as_secs()),
            );
            for (resource, writer) in &recorded.revision.writers {
                text.push_str("writer ");
                push_escaped(&mut text, &resource.to_string());
                let number = self.number(writer).unwrap_or_default();
                push(&mut text, format_args!(" {number}\n"));
            }
        }
        let digest = checksum(&text);
        text.push_str(CHECKSUM);
        text.push_str(&digest);
        text.push('\n');
        text
    }
}

/// The most bytes that names and endpoint of an entry take.
fn name_len(entry: &HistoryEntry) -> usize {
    match &entry.transformer {
        Transformer::Local(key) => 3 * key.name().as_str().len(),
        Transformer::Kms(kms) => 3 * (kms.name.len() + kms.endpoint.len()),
        Transformer::Identity => 0,
    }
}

fn push_entry(text: &mut String, number: usize, entry: &HistoryEntry) {
    let used = if entry.used { "used" } else { "unused" };
    let added = entry.added.as_secs();
    match &entry.transformer {
        Transformer::Identity => return,
        Transformer::Local(key) => {
            push(
                text,
                format_args!("key {number} {used} {added} {} ", key.provider()),
            );
            push_escaped(text, key.name().as_str());
            text.push(' ');
            text.push_str(&Zeroizing::new(BASE64.encode(key.secret().expose())));
        }
        Transformer::Kms(kms) => {
            push(
                text,
                format_args!("kms {number} {used} {added} {} ", kms.api.as_str()),
            );
            push_escaped(text, &kms.name);
            text.push(' ');
            push_escaped(text, &kms.endpoint);
            push(text, format_args!(" {}", kms.timeout.as_nanos()));
            if let KmsApi::V1 { cache_size } = kms.api {
                push(text, format_args!(" {cache_size}"));
            }
        }
    }
    text.push('\n');
}

fn push(text: &mut String, arguments: core::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
}

/// Bytes that could be taken for a separator, or not be seen, as `%` and two hex digits.
fn push_escaped(text: &mut String, name: &str) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._:/@*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            push(text, format_args!("%{byte:02X}"));
        }
    }
}

pub(super) fn checksum(text: &str) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        push(&mut digits, format_args!("{byte:02x}"));
    }
    digits
}
