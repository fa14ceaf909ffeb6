//! `mvccpb.KeyValue`, of which the key and the value are needed.
//!
//! Stricter than the rows of plugins are read: etcd's decoder refuses a known field of another wire type, and so does this.

use crate::protobuf::{MAX_FIELD, Malformed, WireType, bytes, skip, tag, varint};
use crate::reader::Reader;

const KEY: u32 = 1;
const CREATE_REVISION: u32 = 2;
const MOD_REVISION: u32 = 3;
const VERSION: u32 = 4;
const VALUE: u32 = 5;
const LEASE: u32 = 6;

/// The key and the value in a change; the value of a deleted row is empty.
pub(super) fn parse(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut key, mut value) = (&[][..], &[][..]);
    let mut reader = Reader::new(message);
    while !reader.is_empty() {
        let offset = reader.offset();
        match tag(&mut reader, MAX_FIELD)? {
            (KEY, WireType::Bytes) => key = bytes(&mut reader, "key")?,
            (VALUE, WireType::Bytes) => value = bytes(&mut reader, "value")?,
            (CREATE_REVISION | MOD_REVISION | VERSION | LEASE, WireType::Varint) => {
                varint(&mut reader, "number")?;
            }
            (KEY..=LEASE, _) => {
                return Err(Malformed {
                    field: "wire type",
                    offset,
                });
            }
            (field, wire_type) => skip(&mut reader, field, wire_type)?,
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_are_found_among_the_rest() {
        let message = b"\x0a\x02/a\x10\x05\x18\x06\x20\x01\x2a\x03xyz\x30\x07";
        assert_eq!(parse(message), Ok((&b"/a"[..], &b"xyz"[..])));
        assert_eq!(
            parse(b"\x0a\x01k"),
            Ok((&b"k"[..], &b""[..])),
            "a deleted row"
        );
        assert_eq!(parse(b""), Ok((&b""[..], &b""[..])));
        let with_unknown = b"\x38\x01\x0a\x01k";
        assert_eq!(parse(with_unknown), Ok((&b"k"[..], &b""[..])));
    }

    #[test]
    fn what_etcd_does_not_read_is_refused() {
        let refused = |message| parse(message).unwrap_err();
        assert_eq!(refused(b"\x0a\x05/a").field, "key");
        assert_eq!(
            refused(b"\x0a\x01k\x28\x01"),
            Malformed {
                field: "wire type",
                offset: 3
            }
        );
        assert_eq!(refused(b"\x12\x01k").field, "wire type");
        assert_eq!(refused(b"\x10").field, "number");
        assert_eq!(refused(b"\x0b").field, "wire type");
    }
}
