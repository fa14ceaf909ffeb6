use super::messages::OwnerReference;
use super::*;

fn stored(kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: "v1".into(),
            kind: kind.into(),
        }),
        raw,
        ..Unknown::default()
    };
    [PROTOBUF, &unknown.encode_to_vec()].concat()
}

fn sample_secret() -> Vec<u8> {
    let secret = Secret {
        metadata: Some(ObjectMeta {
            name: "demo".into(),
            namespace: "default".into(),
            creation_timestamp: Some(Time {
                seconds: 1_750_000_000,
                nanos: 5,
            }),
            labels: BTreeMap::from([("a".into(), "b".into())]),
            owner_references: vec![OwnerReference {
                kind: "Pod".into(),
                controller: Some(true),
                ..OwnerReference::default()
            }],
            ..ObjectMeta::default()
        }),
        data: BTreeMap::from([
            ("password".into(), b"hunter2\n".to_vec()),
            ("empty".into(), vec![]),
        ]),
        secret_type: "Opaque".into(),
        ..Secret::default()
    };
    stored("Secret", secret.encode_to_vec())
}

#[test]
fn a_secret_looks_as_kubectl_shows_it() {
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "demo",
            "namespace": "default",
            "creationTimestamp": "2025-06-15T15:06:40Z",
            "labels": {"a": "b"},
            "ownerReferences": [{"kind": "Pod", "controller": true}],
        },
        "data": {"password": "aHVudGVyMgo=", "empty": ""},
        "type": "Opaque",
    });
    assert_eq!(decode(&sample_secret()).unwrap(), expected);
}

#[test]
fn an_encoded_secret_decodes() {
    let data = BTreeMap::from([("k".to_owned(), vec![0, 0xff])]);
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "n", "namespace": "ns", "creationTimestamp": "1970-01-01T00:00:10Z"},
        "data": {"k": "AP8="},
        "type": "Opaque",
    });
    assert_eq!(
        decode(&encode_secret("ns", "n", &data, 10)).unwrap(),
        expected
    );
}

/// Field by field as `generated.proto` numbers them, written without our message types.
#[test]
fn the_field_numbers_are_those_of_upstream() {
    let field = |number: u8, bytes: &[u8]| {
        let len = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, len], bytes].concat()
    };
    let entry = |key: &[u8], value: &[u8]| [field(1, key), field(2, value)].concat();
    let meta = [
        field(1, b"n"),
        field(3, b"ns"),
        field(5, b"u"),
        field(8, &[8, 10]),
    ]
    .concat();
    let raw = [
        field(1, &meta),
        field(2, &entry(b"k", b"text")),
        field(3, &entry(b"b", &[0xff])),
        vec![4 << 3, 1],
    ]
    .concat();
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    let stored = [
        PROTOBUF,
        &field(1, &kind),
        &field(2, &raw),
        &field(3, b""),
        &field(4, b""),
    ]
    .concat();
    let expected = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "n", "namespace": "ns", "uid": "u", "creationTimestamp": "1970-01-01T00:00:10Z"},
        "data": {"k": "text"},
        "binaryData": {"b": "/w=="},
        "immutable": true,
    });
    assert_eq!(decode(&stored).unwrap(), expected);
}

#[test]
fn every_truncation_is_an_error() {
    let whole = sample_secret();
    for len in 0..whole.len() {
        if let Ok(object) = decode(&whole[..len]) {
            panic!("{len} of {} bytes decode: {object}", whole.len());
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let whole = sample_secret();
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut changed = whole.clone();
            changed[at] = byte;
            let _ = decode(&changed);
        }
    }
}

#[test]
fn other_kinds_and_formats_are_named() {
    let refused = |stored: &[u8]| decode(stored).unwrap_err().to_string();
    assert!(
        refused(&stored("Pod", vec![])).starts_with("the object is `Pod` of `v1`; only Secret")
    );
    assert_eq!(
        refused(b"\xd9\xd9\xf7\xa0"),
        "the object is neither Kubernetes protobuf nor JSON"
    );
    assert_eq!(
        refused(b"{\"a\": secret}"),
        "malformed JSON at line 1, column 7"
    );
    let zipped = Unknown {
        content_encoding: "gzip".into(),
        ..Unknown::default()
    };
    let zipped = [PROTOBUF, &zipped.encode_to_vec()].concat();
    assert_eq!(
        refused(&zipped),
        "the object has the unknown content encoding `gzip`"
    );
}

#[test]
fn json_is_taken_as_it_is() {
    let object = br#"{"kind":"Widget","spec":{"n":18446744073709551615,"f":1.5}}"#;
    let expected = json!({"kind": "Widget", "spec": {"n": u64::MAX, "f": 1.5}});
    assert_eq!(decode(object).unwrap(), expected);
    let deep = "{\"a\":".repeat(100_000);
    assert!(decode(deep.as_bytes()).is_err());
}

/// Through a YAML parser that is not the writer's, for what plain scalars could be mistaken for, and for what a terminal
/// could act on.
#[test]
fn yaml_says_what_the_object_says() {
    let hard = [
        "null",
        "~",
        "yes",
        "on",
        "0x12",
        "1e3",
        "1.0",
        ".inf",
        "2020-01-01",
        "012",
        "1_000",
        "",
        " lead",
        "trail ",
        "a: b",
        "a #b",
        "#a",
        "- a",
        "? a",
        "! a",
        "&a",
        "*a",
        "%a",
        "@a",
        "`a",
        "{}",
        "[]",
        "|",
        ">",
        "'",
        "\"",
        "a\nb\n",
        "\n",
        "a\r\nb",
        "\ta",
        "\u{1b}[31mred",
        "\u{0}\u{85}\u{2028}\u{feff}",
        "<<",
        "=",
        "---",
        "...",
        "\u{7f}",
        "\u{9b}1m",
    ];
    let map: Map<String, Value> = hard
        .iter()
        .map(|text| ((*text).to_owned(), json!(text)))
        .collect();
    let object = json!({"text": hard.as_slice(), "keys": map, "nested": {"a": [{"b": [1, 2.5, true, null]}, []], "big": u64::MAX}});
    let yaml = to_yaml(&object).unwrap();
    assert!(
        !yaml.chars().any(|c| c.is_control() && c != '\n'),
        "{yaml:?}"
    );
    let back: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(back, object);
}
