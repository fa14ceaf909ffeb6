#!/usr/bin/env python3
"""Writes the corpus of good and bad inputs of every binary format, independently of the Rust code.

Follows docs/formats.md and nothing else. Usage: corpus.py DIRECTORY, or corpus.py --check DIRECTORY to compare.
Needs the `cryptography` package.
"""

import base64
import hashlib
import hmac
import pathlib
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CASES: dict[str, str] = {}


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(hashes.SHA256(), length, info).derive(prk)


def case(name: str, headers: dict[str, str], body: bytes) -> None:
    lines = [f"{key}: {value}" for key, value in headers.items()]
    digits = body.hex()
    lines += [""] + [digits[i : i + 96] for i in range(0, len(digits), 96)]
    CASES[name + ".txt"] = "\n".join(lines) + "\n"


# --- Keyrings ---------------------------------------------------------------------------------------------------

KEYRING_ID = bytes(range(0xA0, 0xB0))
KEY_1, KEY_2, KEY_3 = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
CREATED = {1: 1_700_000_000, 2: 1_700_086_400, 3: 1_700_172_800}


def key_id(key: bytes, number: int) -> str:
    info = b"kdc-envelope local key id v1\0" + KEYRING_ID
    info += number.to_bytes(4, "big") + CREATED[number].to_bytes(8, "big")
    return f"local-v{number}-{expand(key, info, 12).hex()}"


def live(number: int, key: bytes) -> str:
    return f"version {number} {CREATED[number]} {base64.b64encode(key).decode()}\n"


def retired(number: int, key: bytes) -> str:
    return f"retired {number} {CREATED[number]} {CREATED[number] + 1000} {key_id(key, number)}\n"


def keyring(*lines: str, current: int, header: str = "kdc-keyring 1", tail: str = "") -> bytes:
    body = f"{header}\nid {KEYRING_ID.hex()}\n" + "".join(lines) + f"current {current}\n" + tail
    return (body + f"sha256 {hashlib.sha256(body.encode()).hexdigest()}\n").encode()


GOOD_KEYRING = keyring(retired(1, KEY_1), live(2, KEY_2), live(3, KEY_3), current=2)


def keyrings() -> None:
    def add(name: str, expect: str, body: bytes) -> None:
        case(f"keyring/{name}", {"expect": expect}, body)

    add("one-version", "Ok", keyring(live(1, KEY_1), current=1))
    add("retired-current-and-readable", "Ok", GOOD_KEYRING)
    add("gap-in-numbers", "Ok", keyring(live(1, KEY_1), live(3, KEY_3), current=1))
    add("empty", "NotAKeyring", b"")
    add("other-file", "NotAKeyring", b"-----BEGIN PRIVATE KEY-----\n")
    add("not-utf8", "NotAKeyring", b"\xff\xfe" + GOOD_KEYRING)
    add("later-format", "UnknownFormat", keyring(live(1, KEY_1), current=1, header="kdc-keyring 2"))
    add("truncated-in-checksum", "Truncated", GOOD_KEYRING[:-10])
    add("truncated-after-current", "Truncated", GOOD_KEYRING[: GOOD_KEYRING.index(b"sha256")])
    add("trailing-line", "Truncated", GOOD_KEYRING + b"\n")
    add("carriage-returns", "UnknownFormat", GOOD_KEYRING.replace(b"\n", b"\r\n"))
    add("carriage-return-inside", "Line", keyring(live(1, KEY_1).replace("\n", "\r\n"), current=1))
    add("changed-digit", "Checksum", GOOD_KEYRING.replace(b"1700086400", b"1700086401"))
    add("duplicate-version", "Order", keyring(live(1, KEY_1), live(1, KEY_1), current=1))
    add("descending-versions", "Order", keyring(live(2, KEY_2), live(1, KEY_1), current=1))
    body = GOOD_KEYRING[: GOOD_KEYRING.index(b"current")]
    add("no-current", "Line", body + f"sha256 {hashlib.sha256(body).hexdigest()}\n".encode())
    add("current-is-retired", "NoCurrent", keyring(retired(1, KEY_1), live(2, KEY_2), current=1))
    add("current-is-missing", "NoCurrent", keyring(live(1, KEY_1), current=2))
    add("no-versions", "NoCurrent", keyring(current=1))
    add("key-of-31-bytes", "KeyLength", keyring(live(1, KEY_1[:31]), current=1))
    add("key-of-33-bytes", "KeyLength", keyring(live(1, KEY_1 + b"!"), current=1))
    add("key-not-base64", "Line", keyring("version 1 1700000000 !!!\n", current=1))
    add("leading-zero", "Line", keyring(live(1, KEY_1).replace("version 1", "version 01"), current=1))
    add("version-zero", "Line", keyring(live(1, KEY_1).replace("version 1", "version 0"), current=0))
    add("double-space", "Line", keyring(live(1, KEY_1).replace("version 1 ", "version 1  "), current=1))
    add("line-after-current", "Line", keyring(live(1, KEY_1), current=1, tail=live(2, KEY_2)))
    add("duplicate-key-id", "Line", keyring(live(1, KEY_1), retired(2, KEY_2).replace(key_id(KEY_2, 2), key_id(KEY_1, 1)), current=1))


# --- Wrapped keys -----------------------------------------------------------------------------------------------

SALT, NONCE = bytes(range(0x10, 0x20)), bytes(range(0x20, 0x2C))


def wrap(key: bytes, identity: str, secret: bytes, aad: bytes) -> bytes:
    header = bytes([1, len(identity)]) + identity.encode()
    wrapping = expand(key, b"kdc-envelope local wrap v1\0" + SALT, 32)
    return header + SALT + NONCE + AESGCM(wrapping).encrypt(NONCE, secret, header + aad)


def wrapped_keys() -> None:
    ids = {1: key_id(KEY_1, 1), 2: key_id(KEY_2, 2), 3: key_id(KEY_3, 3)}
    secret, aad = bytes(range(0x40, 0x60)), b"corpus"
    good = wrap(KEY_2, ids[2], secret, aad)

    def add(name: str, expect: str, body: bytes, identity: str = ids[2], bound: bytes = aad, plain: bytes = secret) -> None:
        headers = {"expect": expect, "key-id": identity, "aad": bound.hex()}
        if expect == "Ok":
            headers["plaintext"] = plain.hex()
        case(f"wrapped-key/{name}", headers, body)

    add("current-version", "Ok", good)
    add("readable-version", "Ok", wrap(KEY_3, ids[3], secret, aad), ids[3])
    add("one-byte", "Ok", wrap(KEY_2, ids[2], b"x", aad), plain=b"x")
    add("256-bytes", "Ok", wrap(KEY_2, ids[2], bytes(256), b""), bound=b"", plain=bytes(256))
    add("retired-version", "RetiredKey", wrap(KEY_1, ids[1], secret, aad), ids[1])
    add("unknown-key-id", "UnknownKey", good, "local-v9-000000000000000000000000")
    add("key-id-of-another-version", "Malformed", good, ids[3])
    add("other-aad", "Authentication", good, bound=b"other")
    add("flipped-tag", "Authentication", good[:-1] + bytes([good[-1] ^ 1]))
    at = 2 + len(ids[2])
    add("flipped-salt", "Authentication", good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    add("format-2", "Malformed", b"\x02" + good[1:])
    add("empty", "Malformed", b"")
    add("only-header", "Malformed", good[:at])
    add("no-ciphertext", "Malformed", good[: at + 28 + 16])
    add("257-bytes", "Malformed", wrap(KEY_2, ids[2], bytes(257), aad))
    add("trailing-byte", "Authentication", good + b"\0")


# --- Envelopes --------------------------------------------------------------------------------------------------


def sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def envelopes() -> None:
    dek, identity = bytes(range(0x60, 0x80)), key_id(KEY_2, 2)
    preamble = b"kdce\x01\x01"
    wrapped = wrap(KEY_2, identity, dek, b"kdc-envelope dek v1\0corpus")
    data, context = b"forty-two", b"invoice/7"

    def build(pre=preamble, ident=identity.encode(), dek_bytes=wrapped, annotations=b"\0\0", key=dek, plain=data) -> bytes:
        sealed = AESGCM(key).encrypt(NONCE, plain, pre + context)
        return pre + sized(ident) + sized(dek_bytes) + annotations + NONCE + sealed

    def add(name: str, expect: str, body: bytes, bound: bytes = context, plain: bytes = data) -> None:
        headers = {"expect": expect, "scope": "corpus", "context": bound.hex()}
        if expect == "Ok":
            headers["plaintext"] = plain.hex()
        case(f"envelope/{name}", headers, body)

    add("good", "Ok", build())
    add("empty-data", "Ok", build(plain=b""), plain=b"")
    add("other-context", "Authentication", build(), bound=b"invoice/8")
    add("other-scope", "Kek", build(dek_bytes=wrap(KEY_2, identity, dek, b"kdc-envelope dek v1\0other")))
    add("unknown-key-id", "Kek", build(ident=b"local-v9-000000000000000000000000"))
    add("dek-of-31-bytes", "Kek", build(dek_bytes=wrap(KEY_2, identity, dek[:31], b"kdc-envelope dek v1\0corpus")))
    add("empty", "Parse(NotAnEnvelope", b"")
    add("other-magic", "Parse(NotAnEnvelope", b"age-encryption.org/v1\n")
    add("version-2", "Parse(UnknownVersion(2", build(pre=b"kdce\x02\x01"))
    add("suite-2", "Parse(UnknownSuite(2", build(pre=b"kdce\x01\x02"))
    add("empty-key-id", "Parse(Malformed", build(ident=b""))
    add("key-id-not-utf8", "Parse(Malformed", build(ident=b"\xff"))
    add("key-id-of-1025-bytes", "Parse(Malformed", build(ident=b"k" * 1025))
    add("empty-wrapped-dek", "Parse(Malformed", build(dek_bytes=b""))
    add("wrapped-dek-of-1025-bytes", "Parse(Malformed", build(dek_bytes=bytes(1025)))
    bad_domain = b"\0\1" + sized(b"nodot") + sized(b"")
    add("annotation-not-a-domain", "Parse(Annotation", build(annotations=bad_domain))
    twice = b"\0\2" + (sized(b"a.example.com") + sized(b"1")) * 2
    add("annotation-twice", "Parse(Malformed", build(annotations=twice))
    add("annotation-missing", "Parse(Malformed", build(annotations=b"\xff\xff"))
    add("annotation-of-another-backend", "Kek", build(annotations=b"\0\1" + sized(b"a.example.com") + sized(b"1")))
    good = build()
    add("no-tag", "Parse(Malformed", good[: -16 - len(data) - 1])
    add("flipped-tag", "Authentication", good[:-1] + bytes([good[-1] ^ 1]))
    add("trailing-byte", "Authentication", good + b"\0")


# --- KMS v2 rows ------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def kmsv2_rows() -> None:
    seed, info = bytes(range(32)), bytes(range(32, 64))
    etcd_key, data = b"/registry/secrets/default/demo", b"hello kms v2"
    prefix = b"k8s:enc:kms:v2:demo:"
    one = info + NONCE + AESGCM(expand(seed, info, 32)).encrypt(NONCE, data, etcd_key)
    counter = bytes.fromhex("deadbeef") + (1_000_000_001).to_bytes(8, "little")
    zero = counter + AESGCM(seed).encrypt(counter, data, etcd_key)
    entry = field(4, field(1, b"a.example.com") + field(2, b"1"))
    type_1 = b"\x28\x01"

    def message(sealed=one, ident=b"key-1", source=b"wrapped-dek-source", annotations=entry, kind=type_1) -> bytes:
        return field(1, sealed) + field(2, ident) + field(3, source) + annotations + kind

    def add(name: str, expect: str, body: bytes, at: bytes = etcd_key, pre: bytes = prefix) -> None:
        headers = {"expect": expect, "etcd-key": at.decode(), "dek-source": seed.hex()}
        if expect == "Ok":
            headers["plaintext"] = data.hex()
        case(f"kmsv2-row/{name}", headers, pre + body)

    add("type-1", "Ok", message())
    add("type-0", "Ok", message(sealed=zero, kind=b"", annotations=b""))
    add("type-0-spelled-out", "Ok", message(sealed=zero, kind=b"\x28\x00"))
    add("fields-in-reverse", "Ok", type_1 + entry + field(3, b"w") + field(2, b"k") + field(1, one))
    add("last-of-a-repeated-field", "Ok", field(1, b"x") + field(2, b"y") + message())
    add("unknown-fields-of-each-wire-type", "Ok", message() + varint(6 << 3) + b"\x01" + varint(7 << 3 | 1) + bytes(8) + field(8, b"z") + varint(9 << 3 | 5) + bytes(4))
    add("unknown-group", "Ok", message() + varint(9 << 3 | 3) + field(1, b"in") + varint(9 << 3 | 4))
    add("known-field-of-another-wire-type", "Ok", message() + varint(2 << 3) + b"\x07")
    add("type-beyond-32-bits", "Ok", message(kind=b"\x28" + varint(2**32 + 1)))
    add("annotation-twice", "Ok", message(annotations=entry + entry))
    add("annotation-without-value", "Ok", message(annotations=field(4, field(1, b"a.example.com"))))
    add("limits-reached", "Ok", message(ident=b"k" * 1024, source=b"s" * 1024))
    add("other-etcd-key", "Authentication", message(), at=b"/registry/secrets/default/other")
    add("flipped-bit", "Authentication", message(sealed=one[:50] + bytes([one[50] ^ 1]) + one[51:]))
    add("data-of-59-bytes", "Truncated", message(sealed=one[:59]))
    add("type-0-read-as-type-1", "Truncated", message(sealed=zero))
    add("empty", "ForeignPrefix", b"", pre=b"")
    add("kms-v1", "ForeignPrefix", b"\0\x01w", pre=b"k8s:enc:kms:v1:demo:")
    add("no-provider-end", "ProviderName", b"", pre=b"k8s:enc:kms:v2:demo")
    add("empty-provider", "ProviderName", message(), pre=b"k8s:enc:kms:v2::")
    add("nothing-after-prefix", "Invalid(EmptyData", b"")
    add("type-55", "Invalid(DekSourceType(55", message(kind=b"\x28\x37"))
    add("no-data", "Invalid(EmptyData", message(sealed=b""))
    add("no-key-id", "Invalid(KeyIdLength(0", message(ident=b""))
    add("key-id-of-1025-bytes", "Invalid(KeyIdLength(1025", message(ident=b"k" * 1025))
    add("no-dek-source", "Invalid(DekSourceLength(0", message(source=b""))
    add("dek-source-of-1025-bytes", "Invalid(DekSourceLength(1025", message(source=b"s" * 1025))
    add("annotation-not-a-domain", "Invalid(Annotation(Domain", message(annotations=field(4, field(1, b"nodot"))))
    large = field(4, field(1, b"a.example.com") + field(2, bytes(32768)))
    add("annotations-too-large", "Invalid(Annotation(TooLarge", message(annotations=large))
    add("key-id-not-utf8", 'Malformed { field: "keyID"', message(ident=b"\xff"))
    add("annotation-key-not-utf8", 'Malformed { field: "annotation key"', message(annotations=field(4, field(1, b"\xff"))))
    add("length-beyond-end", 'Malformed { field: "encryptedData"', b"\x0a\x7f" + one)
    add("length-of-2-to-63", 'Malformed { field: "encryptedData"', b"\x0a" + varint(2**63) + one)
    add("varint-of-11-bytes", 'Malformed { field: "field tag"', b"\x80" * 10 + b"\x01")
    add("field-number-0", 'Malformed { field: "field number"', b"\x02\x00" + message())
    add("wire-type-7", 'Malformed { field: "wire type"', b"\x0f" + message())
    add("group-not-closed", 'Malformed { field: "field tag"', message() + varint(9 << 3 | 3))
    add("group-closed-by-another", 'Malformed { field: "group"', message() + varint(9 << 3 | 3) + varint(8 << 3 | 4))
    add("group-end-alone", 'Malformed { field: "group"', message() + varint(9 << 3 | 4))


# --- Sealed snapshots -------------------------------------------------------------------------------------------

SNAPSHOT_DEK, SNAPSHOT_SALT = bytes(range(0x20, 0x40)), bytes(range(0x60, 0x80))
CHUNK = 4096


def snapshot_header(**changes) -> bytes:
    """All of the header but the commitment."""
    names = {"cluster": b"prod", "snapshot": b"prod-1", "source": b"etcd-0", **changes}
    rest = bytes([changes.get("codec", 0), changes.get("log2", 12)]) + changes.get("salt", SNAPSHOT_SALT)
    rest += b"".join(len(n).to_bytes(2, "big") + n for n in (names["cluster"], names["snapshot"], names["source"]))
    length = changes.get("length", 8 + len(rest) + 32)
    start = changes.get("magic", b"kdcs") + bytes([changes.get("version", 2), changes.get("suite", 1)])
    return start + length.to_bytes(2, "big") + rest


def snapshot_key(label: str, header: bytes, dek: bytes = SNAPSHOT_DEK, salt: bytes = SNAPSHOT_SALT) -> bytes:
    prk = hmac.new(salt, dek, hashlib.sha256).digest()
    info = f"kdc-envelope snapshot v2 {label}\0".encode() + hashlib.sha256(header).digest()
    return expand(prk, info, 32)


def snapshot_chunks(header: bytes, content: bytes, lasts: set[int] | None = None, total: int | None = None) -> list[bytes]:
    key = AESGCM(snapshot_key("payload", header))
    pieces = [content[i : i + CHUNK] for i in range(0, len(content), CHUNK)] or [b""]
    lasts = {len(pieces) - 1} if lasts is None else lasts
    total = len(content) if total is None else total
    sealed = []
    for index, piece in enumerate(pieces):
        last = index in lasts
        aad = (total.to_bytes(8, "big") * 2) if last else b""
        sealed.append(key.encrypt(index.to_bytes(11, "big") + bytes([last]), piece, aad))
    return sealed


def snapshot(content: bytes, header: bytes | None = None, **chunks) -> bytes:
    header = header or snapshot_header()
    return header + snapshot_key("commitment", header) + b"".join(snapshot_chunks(header, content, **chunks))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def snapshots() -> None:
    content = bytes(i * 7 % 251 for i in range(CHUNK + 40))
    header = snapshot_header()
    body = len(header) + 32

    def add(name: str, expect: str, data: bytes, plain: bytes | None = None, **headers: str) -> None:
        fields = {"expect": expect, "dek": SNAPSHOT_DEK.hex(), "cluster": "prod", "format": "2", **headers}
        if plain is not None:
            fields["plaintext-sha256"] = hashlib.sha256(plain).hexdigest()
        case(f"snapshot/{name}", fields, data)

    good = snapshot(content)
    add("two-chunks", "Ok", good, content)
    add("one-byte", "Ok", snapshot(b"x"), b"x")
    add("a-chunk-exactly", "Ok", snapshot(content[:CHUNK]), content[:CHUNK])
    add("empty-source-name", "Ok", snapshot(b"x", snapshot_header(source=b"")), b"x")
    headers = {
        "magic": ('Malformed { field: "magic', {"magic": b"kdcS"}),
        "version": ("UnknownVersion(3)", {"version": 3}),
        "suite": ('Unsupported { what: "suite", number: 2', {"suite": 2}),
        "length-short": ("Malformed", {"length": len(header) + 31}),
        "length-long": ("Malformed", {"length": len(header) + 33}),
        "length-huge": ('Malformed { field: "header length"', {"length": 0xFFFF}),
        "length-zero": ('Malformed { field: "header length"', {"length": 0}),
        "codec": ('Unsupported { what: "codec", number: 7', {"codec": 7}),
        "chunk-too-small": ('Malformed { field: "chunk size"', {"log2": 11}),
        "chunk-too-large": ('Malformed { field: "chunk size"', {"log2": 21}),
        "cluster-empty": ('Malformed { field: "the cluster name"', {"cluster": b""}),
        "cluster-with-slash": ('Malformed { field: "the cluster name"', {"cluster": b"a/b"}),
        "cluster-not-utf8": ('Malformed { field: "cluster"', {"cluster": b"\xff"}),
        "snapshot-long": ('Malformed { field: "the snapshot id"', {"snapshot": b"a" * 254}),
        "source-with-line-feed": ('Malformed { field: "the source"', {"source": b"a\nb"}),
    }
    for name, (expect, changes) in headers.items():
        add(f"header-{name}", expect, snapshot(b"x", snapshot_header(**changes)))
    for name, position in {"codec": 8, "chunk-size": 9, "salt": 10, "cluster": 44, "source": body - 33, "commitment": body - 1}.items():
        add(f"flipped-{name}", "Commitment", flipped(snapshot(b"x"), position))
    add("other-dek", "Commitment", snapshot(b"x"), dek=bytes(32).hex())
    add("other-cluster", 'OtherIdentity { field: "the cluster"', snapshot(b"x", snapshot_header(cluster=b"staging")))
    for name, length in {"in-prefix": 5, "in-header": 60, "in-commitment": body - 1}.items():
        add(f"cut-{name}", "Malformed", good[:length])
    for name, length in {"after-header": body, "in-tag": body + 10, "in-chunk": body + 100, "at-chunk": body + CHUNK + 16, "last-byte": len(good) - 1}.items():
        add(f"cut-{name}", "Authentication", good[:length])
    one, two = snapshot_chunks(header, content)
    start = good[:body]
    add("chunks-swapped", "Authentication", start + two + one)
    add("chunk-doubled", "Authentication", start + one + one + two)
    add("last-chunk-doubled", "Authentication", start + one + two + two)
    add("trailing-byte", "Authentication", good + b"\0")
    add("flipped-payload", "Authentication", flipped(good, body + 7))
    add("flipped-tag", "Authentication", flipped(good, len(good) - 1))
    other = snapshot_chunks(snapshot_header(snapshot=b"prod-2"), content)
    add("spliced", "Authentication", start + one + other[1])
    add("no-last-chunk", "Authentication", snapshot(content, lasts=set()))
    add("two-last-chunks", "Authentication", snapshot(content, lasts={0, 1}))
    add("other-total", "Authentication", snapshot(content, total=len(content) + 1))
    add("empty-last-chunk", "Authentication", start + b"".join(snapshot_chunks(header, content[:CHUNK], lasts=set())) + snapshot_chunks(header, b"", total=CHUNK)[0])
    add("empty", "Malformed", b"")
    nonce = bytes(range(12))
    first = nonce + AESGCM(SNAPSHOT_DEK).encrypt(nonce, content, b"")
    add("version-1", "Ok", first, content, format="1")
    add("version-1-flipped", "Authentication", flipped(first, 500), format="1")
    add("version-1-cut", "Authentication", first[:-1], format="1")
    add("version-1-longer", "Authentication", first + b"\0", format="1")
    add("version-1-other-dek", "Authentication", first, format="1", dek=bytes(32).hex())
    add("version-1-too-short", "Malformed", first[:27], format="1")
    add("version-1-opened-as-2", 'Malformed { field: "magic', first)


def main() -> int:
    check = sys.argv[1:2] == ["--check"]
    folder = pathlib.Path(sys.argv[2 if check else 1])
    keyrings(), wrapped_keys(), envelopes(), kmsv2_rows(), snapshots()
    if check:
        found = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.txt")}
        wrong = sorted(n for n in found.keys() | CASES.keys() if found.get(n) != CASES.get(n))
        print(f"{len(CASES) - len(wrong)} cases agree, {len(wrong)} differ {wrong}")
        return 1 if wrong else 0
    for name, text in CASES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{len(CASES)} cases written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
