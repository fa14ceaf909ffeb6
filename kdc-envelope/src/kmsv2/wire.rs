//! The protobuf encoding of `EncryptedObject`, read without copying.
//!
//! Reads what Go's `google.golang.org/protobuf` reads: fields in any order, the last of a repeated scalar,
//! unknown fields skipped (groups too), a known field of another wire type taken for unknown, strings in
//! UTF-8. Writes what it writes: ascending order, default values left out.

use super::ParseError;
use super::object::{DekSourceType, EncryptedObject, validate};
use crate::reader::{ReadError, Reader};

const DATA: u32 = 1;
const KEY_ID: u32 = 2;
const DEK_SOURCE: u32 = 3;
const ANNOTATIONS: u32 = 4;
const DEK_SOURCE_TYPE: u32 = 5;
const MAP_KEY: u32 = 1;
const MAP_VALUE: u32 = 2;

/// The largest field number that protobuf allows.
const MAX_FIELD: u64 = (1 << 29) - 1;
/// The largest one that Go's decoder allows inside a group that it skips.
const MAX_FIELD_IN_GROUP: u64 = (1 << 31) - 1;
/// As deep as Go's decoder follows groups inside each other: 10,000 inside the first.
const MAX_GROUP_DEPTH: usize = 10_001;

#[derive(Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint,
    Fixed64,
    Bytes,
    StartGroup,
    EndGroup,
    Fixed32,
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

fn malformed(field: &'static str) -> impl FnOnce(ReadError) -> ParseError {
    move |ReadError { offset }| ParseError::Malformed { field, offset }
}

fn tag(reader: &mut Reader<'_>, max_field: u64) -> Result<(u32, WireType), ParseError> {
    let offset = reader.offset();
    let bad = |field| ParseError::Malformed { field, offset };
    let tag = varint(reader, "field tag")?;
    let number = tag >> 3;
    if number == 0 || number > max_field {
        return Err(bad("field number"));
    }
    let wire_type = match tag & 7 {
        0 => WireType::Varint,
        1 => WireType::Fixed64,
        2 => WireType::Bytes,
        3 => WireType::StartGroup,
        4 => WireType::EndGroup,
        5 => WireType::Fixed32,
        _ => return Err(bad("wire type")),
    };
    let number = u32::try_from(number).map_err(|_| bad("field number"))?;
    Ok((number, wire_type))
}

fn varint(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, ParseError> {
    let offset = reader.offset();
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = reader.u8().map_err(malformed(field))?;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ParseError::Malformed { field, offset })
}

fn bytes<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], ParseError> {
    let offset = reader.offset();
    let len = usize::try_from(varint(reader, field)?)
        .map_err(|_| ParseError::Malformed { field, offset })?;
    reader.take(len).map_err(malformed(field))
}

fn string<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, ParseError> {
    let offset = reader.offset();
    core::str::from_utf8(bytes(reader, field)?).map_err(|_| ParseError::Malformed { field, offset })
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

/// Skips an unknown field; a group with all that is in it, without recursion.
fn skip(reader: &mut Reader<'_>, field: u32, wire_type: WireType) -> Result<(), ParseError> {
    const UNKNOWN: &str = "unknown field";
    let mut open_groups = Vec::new();
    let (mut field, mut wire_type) = (field, wire_type);
    loop {
        let offset = reader.offset();
        match wire_type {
            WireType::Varint => drop(varint(reader, UNKNOWN)?),
            WireType::Fixed64 => drop(reader.take(8).map_err(malformed(UNKNOWN))?),
            WireType::Fixed32 => drop(reader.take(4).map_err(malformed(UNKNOWN))?),
            WireType::Bytes => drop(bytes(reader, UNKNOWN)?),
            WireType::StartGroup if open_groups.len() < MAX_GROUP_DEPTH => open_groups.push(field),
            WireType::EndGroup if open_groups.pop() == Some(field) => {}
            WireType::StartGroup | WireType::EndGroup => {
                return Err(ParseError::Malformed {
                    field: "group",
                    offset,
                });
            }
        }
        if open_groups.is_empty() {
            return Ok(());
        }
        (field, wire_type) = tag(reader, MAX_FIELD_IN_GROUP)?;
    }
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
