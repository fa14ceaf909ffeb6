//! The protobuf message in a KMS v2 row: made-up ones, on which our reader and Go's must agree to the field.

use std::collections::BTreeMap;

use kdc_envelope::kek::check_domain;
use kdc_envelope::kmsv2::{DekSourceType, PREFIX, Value};
use kdc_testbed::{Oracle, Random};

use crate::oracle;

type Fields = (Vec<u8>, String, Vec<u8>, BTreeMap<String, Vec<u8>>, i32);

fn ours(message: &[u8]) -> Option<Fields> {
    let row = [PREFIX, b"p:", message].concat();
    let object = Value::parse(&row).ok()?.object;
    let annotations = object.annotations.iter();
    Some((
        object.encrypted_data.to_vec(),
        object.key_id.to_owned(),
        object.encrypted_dek_source.to_vec(),
        annotations
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect(),
        i32::from(object.dek_source_type == DekSourceType::HkdfSha256XnonceAesGcmSeed),
    ))
}

fn theirs(oracle: &mut Oracle, message: &[u8]) -> Option<Fields> {
    let object = oracle.validate_kms_v2(message).unwrap().ok()?;
    Some((
        object.encrypted_data,
        object.key_id,
        object.encrypted_dek_source,
        object.annotations,
        object.dek_source_type,
    ))
}

/// A varint, sometimes in more bytes than it needs, sometimes beyond 64 bits.
fn varint(random: &mut Random, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = value;
    while rest > 0x7f {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
    match random.below(40) {
        0 => pad(&mut out, 1),
        1 => pad(&mut out, 10),
        2 => pad(&mut out, 11),
        3 => out.iter_mut().for_each(|byte| *byte |= 0x80),
        _ => {}
    }
    out
}

/// Lengthens a varint to `len` bytes or by one, without changing its value.
fn pad(varint: &mut Vec<u8>, len: usize) {
    let len = len.max(varint.len() + 1);
    if let Some(last) = varint.last_mut() {
        *last |= 0x80;
    }
    varint.resize(len - 1, 0x80);
    varint.push(0);
}

fn bytes(random: &mut Random, content: &[u8]) -> Vec<u8> {
    let len = match random.below(30) {
        0 => content.len() + 1,
        1 => usize::MAX,
        _ => content.len(),
    };
    let mut out = varint(random, len as u64);
    out.extend_from_slice(content);
    out
}

fn content(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => Vec::new(),
        1 => vec![0xff, 0xc3, 0x28],
        2 => "\u{e9}\u{1f512}".into(),
        3 => vec![b'k'; 1023 + random.below(4)],
        _ => {
            let len = random.below(12);
            random.text("abc.", len).into_bytes()
        }
    }
}

fn map_entry(random: &mut Random) -> Vec<u8> {
    let key = match random.below(4) {
        0 => content(random),
        _ => (*random.pick(&["a.example", "b.example", "c.d", "a.example."])).into(),
    };
    let mut fields = vec![[vec![0x0a], bytes(random, &key)].concat(), {
        let value = content(random);
        [vec![0x12], bytes(random, &value)].concat()
    }];
    match random.below(10) {
        0 => fields.reverse(),
        1 => drop(fields.pop()),
        2 => drop(fields.remove(0)),
        3 => fields.push(field(random, 1)),
        4 => fields.push(vec![0x08, 1]),
        _ => {}
    }
    fields.concat()
}

/// One field of any number and wire type; groups to the given depth.
fn field(random: &mut Random, depth: usize) -> Vec<u8> {
    let number = match random.below(12) {
        0..=8 => 1 + random.below(6) as u64,
        9 => (1 << 29) - 1,
        10 => 1 << 29,
        _ => 0,
    };
    let wire_type = if random.below(3) == 0 {
        random.next_u64() % 8
    } else if number == 5 {
        0
    } else {
        2
    };
    let tag = varint(random, number << 3 | wire_type);
    let body = match wire_type {
        0 => {
            let value = *random.pick(&[0, 1, 2, 55, 1 << 31, 1 << 32, (1 << 32) + 1, u64::MAX]);
            varint(random, value)
        }
        1 => random.bytes(8),
        2 if number == 4 => {
            let entry = map_entry(random);
            bytes(random, &entry)
        }
        2 => {
            let content = content(random);
            bytes(random, &content)
        }
        3 => {
            let mut body: Vec<u8> = (0..random.below(3))
                .filter(|_| depth > 0)
                .flat_map(|_| field(random, depth - 1))
                .collect();
            let end = if random.below(10) == 0 {
                number + 1
            } else {
                number
            };
            body.extend(varint(random, end << 3 | 4));
            body
        }
        5 => random.bytes(4),
        _ => Vec::new(),
    };
    [tag, body].concat()
}

fn valid() -> Vec<Vec<u8>> {
    vec![
        b"\x0a\x03abc".to_vec(),
        b"\x12\x05key-1".to_vec(),
        b"\x1a\x07wrapped".to_vec(),
        b"\x22\x10\x0a\x09a.example\x12\x03one".to_vec(),
        b"\x22\x10\x0a\x09b.example\x12\x03two".to_vec(),
        b"\x28\x01".to_vec(),
    ]
}

#[test]
fn made_up_messages_are_read_alike() {
    let mut oracle = oracle();
    let mut random = Random::new(20);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut fields = valid();
        for _ in 0..random.below(4) {
            let at = random.below(fields.len() + 1);
            fields.insert(at, field(&mut random, 3));
        }
        if random.below(4) == 0 {
            let at = random.below(fields.len());
            fields.remove(at);
        }
        let (left, right) = (random.below(fields.len()), random.below(fields.len()));
        fields.swap(left, right);
        let message = fields.concat();
        let outcome = ours(&message);
        assert_eq!(
            outcome,
            theirs(&mut oracle, &message),
            "{}",
            hex::encode(&message)
        );
        *if outcome.is_some() {
            &mut accepted
        } else {
            &mut refused
        } += 1;
    }
    assert!(accepted > 4_000 && refused > 4_000, "{accepted} {refused}");
}

#[test]
fn changed_messages_are_read_alike() {
    let mut oracle = oracle();
    let mut random = Random::new(21);
    for _ in 0..10_000 {
        let mut message = valid().concat();
        for _ in 0..=random.below(3) {
            if !message.is_empty() {
                message = random.changed(&message);
            }
        }
        assert_eq!(
            ours(&message),
            theirs(&mut oracle, &message),
            "{}",
            hex::encode(&message)
        );
    }
}

#[test]
fn groups_nest_as_deep() {
    let mut oracle = oracle();
    for depth in [1, 9_999, 10_000, 10_001, 10_002, 20_000] {
        let groups = [vec![0x33; depth], vec![0x34; depth]].concat();
        let message = [valid().concat(), groups].concat();
        let (ours, theirs) = (ours(&message), theirs(&mut oracle, &message));
        assert_eq!(ours.is_some(), theirs.is_some(), "{depth}");
        // The same below a map entry.
        let groups = [vec![0x33; depth], vec![0x34; depth]].concat();
        let inner = [&b"\x0a\x09c.example"[..], &groups].concat();
        let entry = [
            vec![0x22],
            varint(&mut Random::new(1_000), inner.len() as u64),
            inner,
        ]
        .concat();
        let message = [valid().concat(), entry].concat();
        let (ours, theirs) = (self::ours(&message), self::theirs(&mut oracle, &message));
        assert_eq!(ours.is_some(), theirs.is_some(), "map entry, {depth}");
    }
}

#[test]
fn domain_names_are_judged_alike() {
    let mut oracle = oracle();
    let mut random = Random::new(22);
    let mut valid = 0;
    for round in 0..10_000 {
        let alphabet = if round % 4 == 0 {
            "aA0.-_ \u{e9}\n"
        } else {
            "ab0..-"
        };
        let mut text = random.text(alphabet, 12);
        if round % 10 == 0 {
            let label = "a".repeat(61 + random.below(4));
            let count = 1 + random.below(5);
            text = format!("{}{text}", format!("{label}.").repeat(count));
        }
        let expected = oracle.is_fqdn(&text).unwrap();
        assert_eq!(check_domain(&text), expected, "{text:?}");
        valid += usize::from(expected);
    }
    assert!(valid > 500, "{valid}");
}
