//! The protobuf wire format, read without copying and as Go's `google.golang.org/protobuf` reads it: unknown fields are
//! skipped, groups too, and strings are UTF-8.

use crate::reader::{ReadError, Reader};

/// The largest field number that protobuf allows.
pub(crate) const MAX_FIELD: u64 = (1 << 29) - 1;
/// The largest one that Go's decoder allows inside a group that it skips.
const MAX_FIELD_IN_GROUP: u64 = (1 << 31) - 1;
/// As deep as Go's decoder follows groups inside each other: 10,000 inside the first.
const MAX_GROUP_DEPTH: usize = 10_001;

/// How a field is encoded: the low three bits of its tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// The message does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// The field in question, or what was expected.
    pub(crate) field: &'static str,
    /// Where, in bytes as the [`Reader`] counts them.
    pub(crate) offset: usize,
}

fn malformed(field: &'static str) -> impl FnOnce(ReadError) -> Malformed {
    move |ReadError { offset }| Malformed { field, offset }
}

pub(crate) fn tag(reader: &mut Reader<'_>, max_field: u64) -> Result<(u32, WireType), Malformed> {
    let offset = reader.offset();
    let bad = |field| Malformed { field, offset };
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

pub(crate) fn varint(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, Malformed> {
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
    Err(Malformed { field, offset })
}

pub(crate) fn bytes<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<&'a [u8], Malformed> {
    let offset = reader.offset();
    let len = usize::try_from(varint(reader, field)?).map_err(|_| Malformed { field, offset })?;
    reader.take(len).map_err(malformed(field))
}

pub(crate) fn string<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<&'a str, Malformed> {
    let offset = reader.offset();
    core::str::from_utf8(bytes(reader, field)?).map_err(|_| Malformed { field, offset })
}

/// Skips an unknown field; a group with all that is in it, without recursion.
pub(crate) fn skip(
    reader: &mut Reader<'_>,
    field: u32,
    wire_type: WireType,
) -> Result<(), Malformed> {
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
                return Err(Malformed {
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
