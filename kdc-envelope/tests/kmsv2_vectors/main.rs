//! Rows of KMS v2: recorded ones, every limit and one beyond, and bytes that are no row.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod recorded;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::{
    DekSource, DekSourceType, InvalidObject, OpenError, PREFIX, ParseError, Value,
};
use proptest::prelude::*;
use prost::Message;
use std::collections::HashMap;

const ETCD_KEY: &[u8] = b"/registry/secrets/default/demo";

/// `EncryptedObject` as upstream's `api.proto` has it, encoded here by an independent implementation of protobuf.
#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(bytes = "vec", tag = "1")]
    encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    encrypted_dek_source: Vec<u8>,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    dek_source_type: i32,
}

fn object() -> Object {
    Object {
        encrypted_data: vec![1; 60],
        key_id: "key-1".into(),
        encrypted_dek_source: b"wrapped".to_vec(),
        annotations: HashMap::new(),
        dek_source_type: 1,
    }
}

fn row(message: &[u8]) -> Vec<u8> {
    [PREFIX, b"demo:", message].concat()
}

fn check(object: &Object) -> Result<(), InvalidObject> {
    match Value::parse(&row(&object.encode_to_vec())) {
        Ok(_) => Ok(()),
        Err(ParseError::Invalid(invalid)) => Err(invalid),
        Err(error) => panic!("{error}"),
    }
}

/// The message of [`object`] with `extra` after it.
fn with(extra: &[u8]) -> Vec<u8> {
    [&object().encode_to_vec(), extra].concat()
}

fn accepts(message: &[u8]) -> bool {
    Value::parse(&row(message)).is_ok()
}

fn malformed(message: &[u8]) -> Option<&'static str> {
    match Value::parse(&row(message)) {
        Err(ParseError::Malformed { field, .. }) => Some(field),
        _ => None,
    }
}

#[test]
fn limits_are_those_of_upstream() {
    let dek_source = |len| {
        check(&Object {
            encrypted_dek_source: vec![1; len],
            ..object()
        })
    };
    assert_eq!(dek_source(0), Err(InvalidObject::DekSourceLength(0)));
    assert_eq!(dek_source(1), Ok(()));
    assert_eq!(dek_source(1024), Ok(()));
    assert_eq!(dek_source(1025), Err(InvalidObject::DekSourceLength(1025)));

    let key_id = |key_id: String| check(&Object { key_id, ..object() });
    assert_eq!(key_id(String::new()), Err(InvalidObject::KeyIdLength(0)));
    assert_eq!(key_id("k".into()), Ok(()));
    assert_eq!(key_id("k".repeat(1024)), Ok(()));
    assert_eq!(
        key_id("k".repeat(1025)),
        Err(InvalidObject::KeyIdLength(1025))
    );
    assert_eq!(
        key_id("\u{e9}".repeat(512)),
        Ok(()),
        "bytes, not characters"
    );
    assert_eq!(
        key_id("\u{e9}".repeat(513)),
        Err(InvalidObject::KeyIdLength(1026))
    );

    let data = |len| {
        check(&Object {
            encrypted_data: vec![1; len],
            ..object()
        })
    };
    assert_eq!(data(0), Err(InvalidObject::EmptyData));
    assert_eq!(data(1), Ok(()));
    assert_eq!(data(2_000_000), Ok(()));
}

#[test]
fn annotations_have_32_kib_in_all() {
    let sized = |first: usize, second: usize| {
        let annotations = HashMap::from([
            ("a.example".into(), vec![0; first]),
            ("b.example".into(), vec![0; second]),
        ]);
        check(&Object {
            annotations,
            ..object()
        })
    };
    assert_eq!(sized(0, 0), Ok(()));
    assert_eq!(sized(32_768 - 18, 0), Ok(()));
    assert_eq!(sized(16_384 - 9, 16_384 - 9), Ok(()));
    assert!(matches!(
        sized(32_768 - 17, 0),
        Err(InvalidObject::Annotation(_))
    ));
    assert!(matches!(
        sized(16_384 - 9, 16_384 - 8),
        Err(InvalidObject::Annotation(_))
    ));
}

/// The cases of upstream's `TestValidateAnnotations` and the rules behind them.
#[test]
fn annotation_keys_are_fully_qualified_domain_names() {
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(long.len(), 253);
    let accepted = |key: &str| {
        let annotations = HashMap::from([(key.to_owned(), vec![])]);
        check(&Object {
            annotations,
            ..object()
        })
        .is_ok()
    };
    for key in [
        "a.b",
        "10.0.0.1",
        "dev.k8s.io",
        "dev.k8s.io.",
        "foo.bar.example.com.",
        "a-b.c--d.e",
        "0.1",
        &long,
        &format!("{long}."),
        &format!("{label}.a"),
    ] {
        assert!(accepted(key), "{key}");
    }
    for key in [
        "",
        ".",
        "com",
        "com.",
        "Dev.k8s.io",
        "*.x.com",
        "a_b.io",
        "http://a.b",
        "a..b",
        ".a.b",
        "a.b..",
        "-a.b",
        "a-.b",
        "a.b-",
        "a b.c",
        "a.b/c",
        "a.b:c",
        "a.\u{e9}",
        "a.b\n",
        &format!("{long}a"),
        &format!("{label}a.b"),
    ] {
        assert!(!accepted(key), "{key:?}");
    }
}

#[test]
fn unknown_dek_source_types_are_refused_and_high_bits_are_dropped() {
    let of_type = |dek_source_type| {
        check(&Object {
            dek_source_type,
            ..object()
        })
    };
    assert_eq!(of_type(0), Ok(()));
    assert_eq!(of_type(1), Ok(()));
    for other in [2, 55, -1, i32::MAX, i32::MIN] {
        assert_eq!(of_type(other), Err(InvalidObject::DekSourceType(other)));
    }
    // 2^32 and 2^32 + 1 are 0 and 1 in the 32 bits of an enum.
    let row_0 = row(&with(&[0x28, 0x80, 0x80, 0x80, 0x80, 0x10]));
    assert_eq!(
        Value::parse(&row_0).unwrap().object.dek_source_type,
        DekSourceType::AesGcmKey
    );
    let row_1 = row(&with(&[0x28, 0x81, 0x80, 0x80, 0x80, 0x10]));
    assert_eq!(
        Value::parse(&row_1).unwrap().object.dek_source_type,
        DekSourceType::HkdfSha256XnonceAesGcmSeed
    );
}

#[test]
fn unknown_fields_and_known_ones_of_another_type_are_skipped() {
    for (what, extra) in [
        ("varint", &[0x30, 0x96, 0x01][..]),
        ("fixed64", &[0x31, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("bytes", &[0x32, 2, 9, 9]),
        ("fixed32", &[0x35, 1, 2, 3, 4]),
        ("empty group", &[0x33, 0x34]),
        ("group with fields", &[0x33, 0x08, 1, 0x12, 1, 9, 0x34]),
        (
            "field 2^31-1 in a group",
            &[0x33, 0xf8, 0xff, 0xff, 0xff, 0x3f, 1, 0x34],
        ),
        ("groups in a group", &[0x33, 0x3b, 0x3c, 0x3b, 0x3c, 0x34]),
        ("field 2^29-1", &[0xf8, 0xff, 0xff, 0xff, 0x0f, 1]),
        ("encryptedData as varint", &[0x08, 1]),
        ("keyID as fixed32", &[0x15, 1, 2, 3, 4]),
        ("annotations as group", &[0x23, 0x24]),
        ("type as bytes", &[0x2a, 1, 55]),
        ("overlong tag", &[0xb0, 0x80, 0x00, 1]),
        ("overlong length", &[0x32, 0x81, 0x80, 0x00, 9]),
        (
            "varint of ten bytes",
            &[
                0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ),
    ] {
        let row = row(&with(extra));
        let parsed = Value::parse(&row).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(parsed.object.key_id, "key-1", "{what}");
        assert_eq!(parsed.object.encrypted_data, [1; 60], "{what}");
    }
}

#[test]
fn what_is_no_protobuf_is_refused() {
    for (extra, field) in [
        (&[0x00][..], "field number"),
        (&[0x02, 0], "field number"),
        (&[0x80, 0x80, 0x80, 0x80, 0x10, 1], "field number"),
        (&[0x36], "wire type"),
        (&[0x37], "wire type"),
        (&[0x80], "field tag"),
        (&[0x30], "unknown field"),
        (
            &[
                0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ],
            "unknown field",
        ),
        (
            &[
                0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            "unknown field",
        ),
        (&[0x32, 2, 9], "unknown field"),
        (&[0x31, 1, 2, 3, 4, 5, 6, 7], "unknown field"),
        (&[0x35, 1, 2, 3], "unknown field"),
        (&[0x34], "group"),
        (&[0x33, 0x3c], "group"),
        (&[0x33], "field tag"),
        (
            &[0x33, 0x80, 0x80, 0x80, 0x80, 0x40, 1, 0x34],
            "field number",
        ),
        (&[0x0a, 2, 9], "encryptedData"),
        (
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            "encryptedData",
        ),
        (&[0x12, 1, 0xff], "keyID"),
        (&[0x12, 2, 0xc3, 0x28], "keyID"),
        (&[0x12, 3, 0xed, 0xa0, 0x80], "keyID"),
        (&[0x22, 3, 0x0a, 1, 0xff], "annotation key"),
        (&[0x22, 2, 0x0a, 1], "annotation key"),
        (&[0x22, 2, 0x12, 1], "annotation value"),
        (&[0x22, 5, 0x0a, 1], "annotations"),
    ] {
        assert_eq!(malformed(&with(extra)), Some(field), "{extra:02x?}");
    }
}

#[test]
fn errors_name_the_place_in_the_row() {
    let whole = row(&with(&[0x12, 1, 0xff]));
    let error = Value::parse(&whole).unwrap_err();
    assert!(
        matches!(error, ParseError::Malformed { field: "keyID", offset } if offset == whole.len() - 2),
        "{error:?}"
    );
}

#[test]
fn groups_may_nest_as_deep_as_in_go() {
    let nested = |depth: usize| {
        let start: Vec<u8> = std::iter::repeat_n(0x33, depth).collect();
        let end: Vec<u8> = std::iter::repeat_n(0x34, depth).collect();
        accepts(&with(&[start, end].concat()))
    };
    assert!(nested(10_001));
    assert!(!nested(10_002));
    assert!(!nested(1_000_000), "and no stack overflows");
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    let row = row(&with(b"\x12\x05key-2\x0a\x01z\x28\x00\x1a\x01w"));
    let object = Value::parse(&row).unwrap().object;
    assert_eq!((object.key_id, object.encrypted_data), ("key-2", &b"z"[..]));
    assert_eq!(object.encrypted_dek_source, b"w");
    assert_eq!(object.dek_source_type, DekSourceType::AesGcmKey);
}

#[test]
fn annotations_come_in_any_order_and_the_last_of_a_key_counts() {
    let field = |tag: u8, content: &[u8]| {
        let len = u8::try_from(content.len()).unwrap();
        [&[tag, len], content].concat()
    };
    let entry = |key: &str, value: &str| {
        let fields = [field(0x0a, key.as_bytes()), field(0x12, value.as_bytes())];
        field(0x22, &fields.concat())
    };
    let (a, b) = (entry("a.example", "1"), entry("b.example", "2"));
    for order in [[&a[..], &b].concat(), [&b[..], &a].concat()] {
        let row = row(&with(&order));
        let object = Value::parse(&row).unwrap().object;
        assert_eq!(
            object.annotations,
            [("a.example", &b"1"[..]), ("b.example", b"2")]
        );
    }
    let repeated = row(&with(&[&a[..], &b, &entry("a.example", "3")].concat()));
    let object = Value::parse(&repeated).unwrap().object;
    assert_eq!(
        object.annotations,
        [("a.example", &b"3"[..]), ("b.example", b"2")]
    );

    // Value before key, a field unknown to map entries, and an entry without a value.
    let odd = b"\x22\x10\x12\x011\x18\x07\x0a\x09a.example";
    let row_odd = row(&with(odd));
    assert_eq!(
        Value::parse(&row_odd).unwrap().object.annotations,
        [("a.example", &b"1"[..])]
    );
    let without_value = row(&with(b"\x22\x0b\x0a\x09a.example"));
    assert_eq!(
        Value::parse(&without_value).unwrap().object.annotations,
        [("a.example", &b""[..])]
    );
    // An entry without a key has the empty one, which is no domain.
    assert!(!accepts(&with(b"\x22\x00")));
}

#[test]
fn the_frame_needs_a_provider_name() {
    let message = object().encode_to_vec();
    let framed = |frame: &[u8]| [frame, &message].concat();
    assert!(Value::parse(&framed(b"k8s:enc:kms:v2:a:")).is_ok());
    for frame in [
        &b""[..],
        b"k8s:enc:kms:v1:a:",
        b"K8s:enc:kms:v2:a:",
        b" k8s:enc:kms:v2:a:",
    ] {
        assert_eq!(Value::parse(&framed(frame)), Err(ParseError::ForeignPrefix));
    }
    assert_eq!(
        Value::parse(&framed(b"k8s:enc:kms:v2::")),
        Err(ParseError::ProviderName)
    );
    assert_eq!(
        Value::parse(b"k8s:enc:kms:v2:a"),
        Err(ParseError::ProviderName)
    );
    assert_eq!(
        Value::parse(b"k8s:enc:kms:v2:a:"),
        Err(ParseError::Invalid(InvalidObject::EmptyData)),
        "the empty message has nothing"
    );
}

#[test]
fn data_shorter_than_its_fixed_parts_does_not_open() {
    for (dek_source_type, min) in [(1, 60), (0, 28)] {
        for len in 1..min {
            let message = Object {
                encrypted_data: vec![1; len],
                dek_source_type,
                ..object()
            }
            .encode_to_vec();
            let row = row(&message);
            let value = Value::parse(&row).unwrap();
            let source =
                DekSource::new(value.object.dek_source_type, SecretBytes::new(vec![1; 32]))
                    .unwrap();
            let refused = source.open(&value.object, ETCD_KEY).unwrap_err();
            assert_eq!(refused, OpenError::Truncated(len));
        }
    }
}

#[test]
fn the_dek_source_has_the_lengths_that_its_type_allows() {
    for len in 0..=64 {
        let of_type = |dek_source_type| {
            DekSource::new(dek_source_type, SecretBytes::new(vec![1; len])).is_ok()
        };
        assert_eq!(
            of_type(DekSourceType::AesGcmKey),
            [16, 24, 32].contains(&len),
            "{len}"
        );
        assert_eq!(
            of_type(DekSourceType::HkdfSha256XnonceAesGcmSeed),
            len >= 32,
            "{len}"
        );
    }
}

proptest! {
    #[test]
    fn reads_what_another_implementation_writes(
        encrypted_data in prop::collection::vec(any::<u8>(), 1..300),
        key_id in "\\PC{1,40}",
        encrypted_dek_source in prop::collection::vec(any::<u8>(), 1..300),
        annotations in prop::collection::hash_map("[a-z0-9]{1,9}\\.[a-z0-9]{1,9}", prop::collection::vec(any::<u8>(), 0..40), 0..5),
        dek_source_type in 0..=1,
    ) {
        let object = Object { encrypted_data, key_id, encrypted_dek_source, annotations, dek_source_type };
        let row = row(&object.encode_to_vec());
        let parsed = Value::parse(&row).unwrap().object;
        prop_assert_eq!(parsed.encrypted_data, object.encrypted_data);
        prop_assert_eq!(parsed.key_id, object.key_id);
        prop_assert_eq!(parsed.encrypted_dek_source, object.encrypted_dek_source);
        let annotations: HashMap<_, _> = parsed.annotations.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
        prop_assert_eq!(annotations, object.annotations);
        prop_assert_eq!(parsed.dek_source_type == DekSourceType::HkdfSha256XnonceAesGcmSeed, dek_source_type == 1);
    }

    #[test]
    fn no_message_makes_it_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Value::parse(&row(&message));
        let _ = Value::parse(&row(&with(&message)));
    }
}
