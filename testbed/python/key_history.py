#!/usr/bin/env python3
"""Writes the corpus of good and bad key histories, independently of the Rust code.

Follows docs/formats.md and nothing else. Usage: key_history.py DIRECTORY, or key_history.py --check DIRECTORY to compare.
Each file has a header `expect: ` (`Ok`, or the beginning of the error's `Debug`), an empty line, and the text as it is.
"""

import base64
import hashlib
import pathlib
import sys

HEAD = "kdc-key-history 1\n"
SECRET = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(32, 64))).decode()
KEY_1 = f"key 1 used 1700000000 aescbc key%20one {SECRET}\n"
KEY_2 = f"key 2 unused 1700000100 aesgcm key2 {OTHER}\n"
KMS_3 = "kms 3 used 1700000200 v2 vault unix:///run/kms.sock 3000000000\n"
KMS_4 = "kms 4 used 0 v1 old%3Fone unix:///@old 500000000 -1\n"
REVISIONS = (
    "revision 1 1700000000\nwriter secrets 1\n"
    "revision 3 1700000300\nwriter configmaps 0\nwriter secrets 3\nwriter *.apps 1\n"
)
GOOD = HEAD + KEY_1 + KEY_2 + KMS_3 + KMS_4 + REVISIONS

CASES: dict[str, str] = {}


def sealed(body: str) -> str:
    return body + f"sha256 {hashlib.sha256(body.encode()).hexdigest()}\n"


def case(name: str, expect: str, text: str) -> None:
    CASES[name + ".txt"] = f"expect: {expect}\n\n{text}"


def line(number: int, problem: str) -> str:
    return f"Line {{ line: {number}, problem: {problem} }}"


def cases() -> None:
    case("empty-history", "Ok", sealed(HEAD))
    case("good", "Ok", sealed(GOOD))
    case("empty", "NotAHistory", "")
    case("keyring", "NotAHistory", "kdc-keyring 1\n")
    case("version-2", "UnknownVersion", sealed(HEAD.replace("1", "2") + KEY_1))
    case("head-with-space", "UnknownVersion", sealed("kdc-key-history 1 \n"))
    case("no-checksum", "Checksum", GOOD)
    case("head-alone", "Checksum", HEAD)
    case("other-checksum", "Checksum", sealed(GOOD).replace("key2", "key3"))
    case("checksum-in-capitals", "Checksum", GOOD + f"sha256 {hashlib.sha256(GOOD.encode()).hexdigest().upper()}\n")
    case("cut-off", "Checksum", sealed(GOOD)[:-1])
    case("trailing-line", "Checksum", sealed(GOOD) + "\n")
    case("line-lost", "Checksum", sealed(GOOD).replace(KEY_2, ""))
    case("unknown-line", line(2, "Unknown"), sealed(HEAD + "note hello\n"))
    case("empty-line", line(3, "Unknown"), sealed(HEAD + KEY_1 + "\n"))
    case("two-spaces", line(2, "Words"), sealed(HEAD + KEY_1.replace(" used", "  used")))
    case("space-at-end", line(2, "Words"), sealed(HEAD + KEY_1.replace("\n", " \n")))
    case("no-secret", line(2, "Words"), sealed(HEAD + "key 1 used 1 aescbc a\n"))
    case("unknown-provider", line(2, "Words"), sealed(HEAD + KEY_1.replace("aescbc", "aes")))
    case("identity", line(2, "Words"), sealed(HEAD + KEY_1.replace("aescbc", "identity")))
    case("neither-used-nor-unused", line(2, "Words"), sealed(HEAD + KEY_1.replace("used", "new")))
    case("empty-name", line(2, "Words"), sealed(HEAD + KEY_1.replace("key%20one", "")))
    case("name-not-utf8", line(2, "Words"), sealed(HEAD + KEY_1.replace("%20", "%FF")))
    case("escape-cut-off", line(2, "Words"), sealed(HEAD + KEY_1.replace("key%20one", "key%2")))
    case("escape-not-hex", line(2, "Words"), sealed(HEAD + KEY_1.replace("%20", "%2x")))
    case("escape-with-sign", "NotCanonical", sealed(HEAD + KEY_1.replace("%20", "%+2")))
    case("escape-in-lower-case", "NotCanonical", sealed(HEAD + KEY_1.replace("%20", "%c3%bc")))
    case("escape-not-needed", "NotCanonical", sealed(HEAD + KEY_1.replace("%20", "%41")))
    case("secret-not-base64", line(2, "Key"), sealed(HEAD + KEY_1.replace(SECRET, SECRET[:-1])))
    case("secret-of-31-bytes", line(2, "Key"), sealed(HEAD + KEY_1.replace(SECRET, base64.b64encode(bytes(31)).decode())))
    case("secretbox-of-16-bytes", line(2, "Key"), sealed(HEAD + KEY_1.replace("aescbc", "secretbox").replace(SECRET, base64.b64encode(bytes(16)).decode())))
    case("first-number-2", line(2, "Order"), sealed(HEAD + KEY_2))
    case("number-repeated", line(3, "Order"), sealed(HEAD + KEY_1 + KEY_2.replace("key 2", "key 1")))
    case("number-with-zero", "NotCanonical", sealed(HEAD + KEY_1.replace("key 1", "key 01")))
    case("time-with-sign", "NotCanonical", sealed(HEAD + KEY_1.replace("1700000000", "+1700000000")))
    case("time-negative", line(2, "Words"), sealed(HEAD + KEY_1.replace("1700000000", "-1")))
    case("time-too-large", line(2, "Words"), sealed(HEAD + KEY_1.replace("1700000000", "18446744073709551616")))
    case("key-twice", line(3, "Twice"), sealed(HEAD + KEY_1 + KEY_1.replace("key 1", "key 2")))
    case("kms-v2-with-colon", line(2, "Words"), sealed(HEAD + KMS_3.replace("kms 3", "kms 1").replace("vault", "a:b")))
    case("kms-v2-with-cache-size", line(2, "Words"), sealed(HEAD + KMS_3.replace("kms 3", "kms 1").replace("\n", " 1\n")))
    case("kms-v1-without-cache-size", line(2, "Words"), sealed(HEAD + KMS_4.replace("kms 4", "kms 1").replace(" -1\n", "\n")))
    case("kms-v3", line(2, "Words"), sealed(HEAD + KMS_3.replace("kms 3", "kms 1").replace("v2", "v3")))
    case("key-after-revision", line(4, "Order"), sealed(HEAD + KEY_1 + "revision 1 1\n" + KEY_2))
    case("writer-without-revision", line(3, "Order"), sealed(HEAD + KEY_1 + "writer secrets 1\n"))
    case("writer-unknown", line(4, "Order"), sealed(HEAD + KEY_1 + "revision 1 1\nwriter secrets 2\n"))
    case("writer-unused", line(5, "Order"), sealed(HEAD + KEY_1 + KEY_2 + "revision 1 1\nwriter secrets 2\n"))
    case("writer-twice", line(5, "Twice"), sealed(HEAD + KEY_1 + "revision 1 1\nwriter secrets 1\nwriter secrets 0\n"))
    case("writers-not-in-order", "NotCanonical", sealed(HEAD + KEY_1 + "revision 1 1\nwriter secrets 1\nwriter configmaps 1\n"))
    case("revision-goes-back", line(4, "Order"), sealed(HEAD + KEY_1 + "revision 2 1\nrevision 2 1\n"))
    case("revision-without-time", line(2, "Words"), sealed(HEAD + "revision 2\n"))
    case("line-ends-of-windows", line(2, "Key"), sealed(HEAD + KEY_1.replace("\n", "=\r\n")))


def main() -> int:
    check = sys.argv[1:2] == ["--check"]
    folder = pathlib.Path(sys.argv[2 if check else 1])
    cases()
    if check:
        read = lambda path: path.read_bytes().decode()
        found = {p.name: read(p) for p in folder.glob("*.txt")}
        wrong = sorted(n for n in found.keys() | CASES.keys() if found.get(n) != CASES.get(n))
        print(f"{len(CASES) - len(wrong)} cases agree, {len(wrong)} differ {wrong}")
        return 1 if wrong else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in CASES.items():
        (folder / name).write_bytes(text.encode())
    print(f"{len(CASES)} cases written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
