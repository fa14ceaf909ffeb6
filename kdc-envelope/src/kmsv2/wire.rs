//! The protobuf encoding of `EncryptedObject`, read without copying.
//!
//! Reads what Go's `google.golang.org/protobuf` reads: fields in any order, the last of a repeated scalar,
//! unknown fields skipped (groups too), a known field of another wire type taken for unknown, strings in
//! UTF-8. Writes what it writes: ascending order, default values left out.

use super::ParseError;
use super::object::{DekSourceType, EncryptedObject, validate};
use crate::protobuf::{MAX_FIELD, Malformed, WireType, bytes, skip, string, tag, varint};
use crate::reader::Reader;

const DATA: u32 = 1;
const KEY_ID: u32 = 2;
const DEK_SOURCE: u32 = 3;
const ANNOTATIONS: u32 = 4;
const DEK_SOURCE_TYPE: u32 = 5;
const MAP_KEY: u32 = 1;
const MAP_VALUE: u32 = 2;

impl From<Malformed> for ParseError {
    fn from(Malformed { field, offset }: Malformed) -> Self {
        Self::Malformed { field, offset }
    }
}

/// Parses and validates a message which begins at `base` of the row.
pub(super) fn parse(message: &[u8], base: usize) -> Result<EncryptedObject<'_>, ParseError> {
    let mut object = EncryptedObject {
        encrypted_data: &[],
        key_id: "",
        encrypted_dek_source: &[],
        annotations: Vec::new(),
        dek_source_type: DekSourceType::AesGcmKey,
    };
    let mut source_type = 0;
    let mut reader = Reader::at(message, base);
    while !reader.is_empty() {
        match tag(&mut reader, MAX_FIELD)? {
            (DATA, WireType::Bytes) => object.encrypted_data = bytes(&mut reader, "encryptedData")?,
            (KEY_ID, WireType::Bytes) => object.key_id = string(&mut reader, "keyID")?,
            (DEK_SOURCE, WireType::Bytes) => {
                object.encrypted_dek_source = bytes(&mut reader, "encryptedDEKSource")?;
            }
            (ANNOTATIONS, WireType::Bytes) => {
                object.annotations.push(map_entry(&mut reader)?);
            }
            (DEK_SOURCE_TYPE, WireType::Varint) => {
                source_type = enum_number(varint(&mut reader, "encryptedDEKSourceType")?);
            }
            (field, wire_type) => skip(&mut reader, field, wire_type)?,
        }
    }
    keep_last_of_each_key(&mut object.annotations);
    object.dek_source_type = DekSourceType::from_number(source_type)?;
    validate(&object)?;
    Ok(object)
}

/// Orders the annotations by key. Of repeated keys the last one counts, as in upstream's map.
fn keep_last_of_each_key(annotations: &mut Vec<(&str, &[u8])>) {
    annotations.reverse();
    annotations.sort_by_key(|(key, _)| *key);
    annotations.dedup_by_key(|(key, _)| *key);
}

/// Protobuf enums are 32 bits wide; higher bits of the varint are dropped.
#[expect(clippy::cast_possible_truncation, reason = "as protobuf defines it")]
const fn enum_number(varint: u64) -> i32 {
    varint as i32
}

fn map_entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, &'a [u8]), ParseError> {
    let entry = bytes(reader, "annotations")?;
    let mut reader = Reader::at(entry, reader.offset() - entry.len());
    let (mut key, mut value) = ("", &[][..]);
    while !reader.is_empty() {
        match tag(&mut reader, MAX_FIELD)? {
            (MAP_KEY, WireType::Bytes) => key = string(&mut reader, "annotation key")?,
            (MAP_VALUE, WireType::Bytes) => value = bytes(&mut reader, "annotation value")?,
            (field, wire_type) => skip(&mut reader, field, wire_type)?,
        }
    }
    Ok((key, value))
}

/// What a message has before and after `encryptedData`, which alone differs from row to row.
#[derive(Debug)]
pub(super) struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Frame {
    /// `head` is the row's text prefix. The fields must be valid.
    pub(super) fn new<'a>(
        mut head: Vec<u8>,
        key_id: &str,
        encrypted_dek_source: &[u8],
        annotations: impl Iterator<Item = (&'a str, &'a [u8])>,
        dek_source_type: DekSourceType,
    ) -> Self {
        let mut tail = Vec::new();
        put_bytes(&mut tail, KEY_ID, key_id.as_bytes());
        put_bytes(&mut tail, DEK_SOURCE, encrypted_dek_source);
        for (key, value) in annotations {
            let mut entry = Vec::new();
            put_bytes(&mut entry, MAP_KEY, key.as_bytes());
            put_bytes(&mut entry, MAP_VALUE, value);
            put_bytes(&mut tail, ANNOTATIONS, &entry);
        }
        if dek_source_type.number() != 0 {
            put_varint(&mut tail, u64::from(DEK_SOURCE_TYPE << 3));
            put_varint(&mut tail, u64::from(dek_source_type.number()));
        }
        put_varint(&mut head, u64::from(DATA << 3 | 2));
        Self { head, tail }
    }

    /// Starts a row for `data_len` bytes of `encryptedData`, which the caller appends next.
    pub(super) fn begin(&self, data_len: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.head.len() + 10 + data_len + self.tail.len());
        row.extend_from_slice(&self.head);
        put_varint(&mut row, data_len as u64);
        row
    }

    /// Completes a row after `encryptedData`.
    pub(super) fn finish(&self, mut row: Vec<u8>) -> Vec<u8> {
        row.extend_from_slice(&self.tail);
        row
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(low_seven_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_seven_bits(value));
}

const fn low_seven_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
