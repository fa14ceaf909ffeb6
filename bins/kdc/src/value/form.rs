//! What people have in hand when they do not have a value alone.
//!
//! A value that was printed, dumped, packed or decoded on its way from etcd no longer begins with what encrypts it. It would pass for an
//! object that was never encrypted, and its ciphertext be handed out as one. So whatever is neither an encrypted value nor
//! an object as kube-apiserver stores it is refused, by name if it is known.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use kdc_envelope::providers::{PlainFormat, RESERVED_PREFIX, StoredValue, classify};
use kdc_envelope_k8s::values::object::{self, DecodeError};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::file_kind;

/// Base64 as people paste it: with or without its padding.
pub(super) const BASE64: GeneralPurpose = lenient(&alphabet::STANDARD);
/// The same with the letters of URLs.
pub(super) const BASE64_URL: GeneralPurpose = lenient(&alphabet::URL_SAFE);

const fn lenient(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    const CONFIG: GeneralPurposeConfig =
        general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, CONFIG)
}

/// What to do where no format of ours fits.
const TAKE_JSON: &str =
    "take `etcdctl get KEY -w json` with --format etcdctl-json, or --etcd-endpoints";

/// Something that is no value alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    /// What it is, as the end of "this is …".
    pub(super) what: String,
    /// What to do.
    pub(super) cure: &'static str,
}

impl Foreign {
    fn new(what: impl Into<String>, cure: &'static str) -> Option<Self> {
        let what = what.into();
        Some(Self { what, cure })
    }
}

/// Why bytes of a file cannot be taken for a value.
pub(super) fn of_file(bytes: &[u8]) -> Option<Foreign> {
    if bytes.starts_with(RESERVED_PREFIX) {
        let several = "several values, one after the other";
        let again = find(bytes.get(1..).unwrap_or_default(), b"\nk8s:enc:");
        return again.and_then(|_| Foreign::new(several, TAKE_JSON));
    }
    if RESERVED_PREFIX.starts_with(bytes) {
        return None; // cut off, which has words of its own
    }
    match classify(bytes) {
        StoredValue::Identity(PlainFormat::Json) => json(bytes),
        StoredValue::Identity(PlainFormat::Other) => file(bytes)
            .or_else(|| text(bytes))
            .or_else(|| ciphertext_inside(bytes))
            .or_else(|| {
                let what = "neither an encrypted value nor an object as kube-apiserver stores it (protobuf, JSON or CBOR)";
                Foreign::new(what, TAKE_JSON)
            }),
        _ => of_row(bytes),
    }
}

/// Why the value of a row, as etcd gave it, is not what kube-apiserver stores: only ciphertext behind something else.
pub(super) fn of_row(value: &[u8]) -> Option<Foreign> {
    let is_object = match classify(value) {
        StoredValue::Identity(PlainFormat::Protobuf) => is_protobuf(value),
        StoredValue::Identity(PlainFormat::Json) => {
            shape(value).is_some_and(|shape| shape.api_version.is_some())
        }
        StoredValue::Identity(PlainFormat::Cbor) => {
            value.get(3).is_some_and(|byte| matches!(byte, 0xa0..=0xbf))
        }
        StoredValue::Identity(_) => false,
        _ => true,
    };
    match is_object {
        true => None,
        false => ciphertext_inside(value),
    }
}

fn is_protobuf(value: &[u8]) -> bool {
    !matches!(object::decode(value), Err(DecodeError::Protobuf { .. }))
}

fn ciphertext_inside(bytes: &[u8]) -> Option<Foreign> {
    let at = find(bytes, RESERVED_PREFIX)?;
    let what = format!("no value alone: `k8s:enc:` comes only after {at} bytes of something else");
    Foreign::new(what, TAKE_JSON)
}

/// The fields that tell JSON documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    api_version: Option<IgnoredAny>,
    metadata: Option<Metadata>,
    items: Option<IgnoredAny>,
    header: Option<IgnoredAny>,
    kvs: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: Option<String>,
}

fn shape(bytes: &[u8]) -> Option<Shape> {
    serde_json::from_slice(bytes).ok()
}

fn json(bytes: &[u8]) -> Option<Foreign> {
    let Some(shape) = shape(bytes) else {
        return match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => ciphertext_inside(bytes),
            Err(_) => Foreign::new("damaged JSON, or several documents of it", TAKE_JSON),
        };
    };
    if shape.kvs.is_some() || (shape.header.is_some() && shape.api_version.is_none()) {
        let cure = "add --format etcdctl-json";
        return Foreign::new("what `etcdctl get -w json` prints", cure);
    }
    // Neither stands in etcd: there an object has no resourceVersion, and a list is no object.
    let is_answer = shape
        .metadata
        .is_some_and(|metadata| metadata.resource_version.is_some());
    if is_answer || (shape.items.is_some() && shape.api_version.is_some()) {
        return of_api_server();
    }
    match shape.api_version {
        Some(_) => None,
        None => ciphertext_inside(bytes),
    }
}

fn of_api_server() -> Option<Foreign> {
    let what = "an object as the API server gives it, decrypted; that says nothing about etcd";
    Foreign::new(what, TAKE_JSON)
}

/// Whole files instead of a value.
fn file(bytes: &[u8]) -> Option<Foreign> {
    let kind = file_kind::of(bytes)?;
    Foreign::new(kind.what, kind.cure)
}

/// Forms that begin as text; of some the rest is binary.
fn text(bytes: &[u8]) -> Option<Foreign> {
    let first = first_line(bytes);
    if first.starts_with(b"\"ClusterID\"") || first.starts_with(b"\"Key\" : ") {
        let cure = "add --format etcdctl-fields";
        return Foreign::new("what `etcdctl get -w fields` prints", cure);
    }
    if first.starts_with(b"+--") {
        return Foreign::new("a table", TAKE_JSON);
    }
    if first.starts_with(b"\"") {
        let what = "text in quotes, which loses bytes that are not text";
        return Foreign::new(what, TAKE_JSON);
    }
    if is_dump(first) {
        return Foreign::new("a hex dump", "add --format hexdump");
    }
    if first.starts_with(b"/") || first.starts_with(b"\\x2f") {
        return printed(bytes);
    }
    let has_line = |start: &[u8]| {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        lines.any(|line| line.starts_with(start))
    };
    if has_line(b"apiVersion:") && has_line(b"kind:") {
        let what = "YAML, in which kube-apiserver stores nothing; what kubectl and auger print is decrypted or was never encrypted";
        return Foreign::new(what, TAKE_JSON);
    }
    encoded(bytes)
}

/// What `etcdctl get` prints without more: key, line feed, value, line feed; or keys alone.
fn printed(bytes: &[u8]) -> Option<Foreign> {
    let rest = bytes.get(first_line(bytes).len()..).unwrap_or_default();
    if rest.trim_ascii().is_empty() {
        return Foreign::new("a key of etcd, and no value", TAKE_JSON);
    }
    let what =
        "what `etcdctl get KEY` prints: the key, a line feed and the value, not a bare value";
    Foreign::new(
        what,
        "add --format etcdctl, or take `-w json` with --format etcdctl-json",
    )
}

fn encoded(bytes: &[u8]) -> Option<Foreign> {
    let is_known = |bytes: &[u8]| {
        let is_object = !matches!(classify(bytes), StoredValue::Identity(PlainFormat::Other));
        is_object || bytes.starts_with(b"/")
    };
    let packed: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if packed.is_empty() {
        return Foreign::new("white space", TAKE_JSON);
    }
    if super::input::from_hex(bytes).is_ok_and(|bytes| is_known(&bytes)) {
        return Foreign::new("hexadecimal digits", "add --format hex");
    }
    let decoded = BASE64
        .decode(&packed)
        .or_else(|_| BASE64_URL.decode(&packed));
    if decoded.is_ok_and(|bytes| is_known(&bytes)) {
        return Foreign::new("base64", "add --format base64");
    }
    None
}

/// Whether a line is one of `hexdump -C` or of `xxd`: an offset of eight digits, and what follows it.
fn is_dump(line: &[u8]) -> bool {
    let Some((offset, rest)) = line.split_at_checked(8) else {
        return false;
    };
    let is_offset = offset.iter().all(u8::is_ascii_hexdigit);
    is_offset && (rest.starts_with(b": ") || rest.starts_with(b"  "))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> String {
        let found = of_file(bytes);
        found.map_or_else(String::new, |found| {
            format!("{}; {}", found.what, found.cure)
        })
    }

    const VALUE: &[u8] = b"k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef";

    #[test]
    fn values_alone_are_taken() {
        for value in [
            VALUE,
            b"k8s:enc:new:v1:x",
            b"k8s\0object",
            b"{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"note\":\"k8s:enc:\"}}",
            b"{}",
            b"\xd9\xd9\xf7\xa0",
            b"k8s:en",
        ] {
            assert_eq!(told(value), "", "{}", value.escape_ascii());
        }
    }

    /// Each with words that are told.
    fn forms() -> Vec<(Vec<u8>, &'static str)> {
        let with = |before: &[u8], after: &[u8]| [before, VALUE, after].concat();
        let hex = hex::encode(VALUE);
        let base64 = BASE64.encode(VALUE);
        let wrapped = format!("{}\n{}\n", &base64[..20], &base64[20..]);
        let dump = crate::hexdump::hexdump(VALUE).join("\n").into_bytes();
        vec![
            (with(b"/registry/secrets/a/b\n", b"\n"), "--format etcdctl,"),
            (
                b"/registry/secrets/a/b\nk8s\0obj\n".to_vec(),
                "--format etcdctl,",
            ),
            (b"/registry/secrets/a/b".to_vec(), "no value"),
            (
                b"{\"header\":{\"revision\":5},\"kvs\":[{\"key\":\"L2E=\"}],\"count\":1}".to_vec(),
                "--format etcdctl-json",
            ),
            (
                b"{\"header\":{\"revision\":5}}".to_vec(),
                "--format etcdctl-json",
            ),
            (
                b"\"ClusterID\" : 1\n\"Key\" : \"/a\"\n".to_vec(),
                "--format etcdctl-fields",
            ),
            (with(b"\"", b"\""), "in quotes"),
            (hex.clone().into_bytes(), "--format hex"),
            (format!("0x{hex}\n").into_bytes(), "--format hex"),
            (base64.clone().into_bytes(), "--format base64"),
            (wrapped.into_bytes(), "--format base64"),
            (
                base64.trim_end_matches('=').as_bytes().to_vec(),
                "--format base64",
            ),
            (dump, "--format hexdump"),
            (b"00000000: 6b38 733a  k8s:\n".to_vec(), "--format hexdump"),
            (with(b"\n", b""), "after 1 bytes"),
            (with(b"\x0a\x05abc", b""), "after 5 bytes"),
            (with(b"", &with(b"\n", b"\n")), "several values"),
            (b"\x1f\x8b\x08\0".to_vec(), "gzip"),
            (b"kdcs\x02".to_vec(), "kdc backup open"),
            (b"+-----+\n| KEY |".to_vec(), "a table"),
            (b"apiVersion: v1\nkind: Secret\n".to_vec(), "YAML"),
            (
                b"WARNING: x\nkind: Secret\napiVersion: v1\n".to_vec(),
                "YAML",
            ),
            (
                b"{\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"7\"}}".to_vec(),
                "as the API server gives it",
            ),
            (
                b"{\"apiVersion\":\"v1\",\"items\":[]}".to_vec(),
                "as the API server gives it",
            ),
            (b"{\"a\":".to_vec(), "damaged JSON"),
            (with(b"{\"a\":\"", b"\"}"), "after 6 bytes"),
            (b"bare text".to_vec(), "neither an encrypted value"),
            (b" \n".to_vec(), "white space"),
        ]
    }

    #[test]
    fn every_form_in_which_a_value_comes_is_told() {
        for (bytes, words) in forms() {
            let told = told(&bytes);
            assert!(told.contains(words), "{}: {told:?}", bytes.escape_ascii());
        }
        let mut database = vec![0; 4096];
        database[16..20].copy_from_slice(&[0xed, 0xda, 0x0c, 0xed]);
        assert!(told(&database).contains("kdc backup scan"));
    }

    #[test]
    fn a_row_of_etcd_may_hold_anything_but_ciphertext_behind_something_else() {
        assert_eq!(of_row(b"12345"), None);
        assert_eq!(of_row(b""), None);
        assert_eq!(of_row(VALUE), None);
        assert!(of_row(&[b"/registry/a\n", VALUE].concat()).is_some());
        assert!(of_row(&[b"k8s\0\xff", VALUE].concat()).is_some());
        assert!(of_row(&[b"{", VALUE].concat()).is_some());
    }
}
