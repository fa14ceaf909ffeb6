#!/usr/bin/env python3
"""Recomputes the test vectors of hkdf-sha512-v1 from docs/formats.md, independently of the Rust code.

Only Python's standard library is used. Without arguments the vectors are printed as JSON; with a file, every
vector in it is recomputed and compared.
"""

import hashlib
import hmac
import json
import sys

ALGORITHM = b"hkdf-sha512-v1"


def extract(salt: bytes, key: bytes) -> bytes:
    return hmac.new(salt, key, hashlib.sha512).digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha512).digest()
        output += block
        counter += 1
    return output[:length]


def field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def derive(vector: dict, algorithm: bytes) -> str:
    info = b"".join(
        field(part)
        for part in (
            algorithm,
            vector["replication_group_id"].encode(),
            vector["dimension"].encode(),
            vector["provider_type"].encode(),
            vector["revision"].to_bytes(8, "big"),
            bytes.fromhex(vector["seed"]),
        )
    )
    prk = extract(hashlib.sha512(ALGORITHM).digest(), bytes.fromhex(vector["root"]))
    return expand(prk, info, 32).hex()


def outputs(vector: dict) -> dict:
    return {
        "key": derive(vector, ALGORITHM),
        "check": derive(vector, ALGORITHM + b"/check"),
    }


def inputs() -> list:
    root, seed = bytes(range(32)).hex(), bytes(range(32, 64)).hex()
    base = {
        "root": root,
        "seed": seed,
        "replication_group_id": "dr-pair-1",
        "dimension": "default",
        "provider_type": "aesgcm",
        "revision": 1,
    }
    changes = [
        {},
        {"root": "ff" * 32},
        {"seed": "00" * 32},
        {"replication_group_id": "dr-pair-2"},
        {"dimension": "lineage-b"},
        {"provider_type": "secretbox"},
        {"revision": 2},
        {"revision": 2**64 - 1},
        # The same text, divided otherwise: the lengths must keep these apart.
        {"replication_group_id": "dr-pair-1default", "dimension": "a"},
        {"replication_group_id": "dr-pair-1", "dimension": "defaulta"},
        {"replication_group_id": "zürich", "dimension": "ü" * 100},
    ]
    return [{**base, **change} for change in changes]


def main() -> int:
    if len(sys.argv) == 1:
        print(json.dumps([{**v, **outputs(v)} for v in inputs()], indent=2, ensure_ascii=False))
        return 0
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    wrong = [i for i, v in enumerate(vectors) if any(v[k] != x for k, x in outputs(v).items())]
    print(f"{len(vectors) - len(wrong)} vectors agree, {len(wrong)} differ")
    return 1 if wrong or not vectors else 0


if __name__ == "__main__":
    sys.exit(main())
