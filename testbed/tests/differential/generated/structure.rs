//! Structure: documents, fields and notations, by rule and at random.

use kdc_testbed::Random;

use super::{BLOCK, JSON, Judged};

/// What may stand before a document.
const BEFORE: [&str; 44] = [
    "",
    "---\n",
    "--- \n",
    "---\n---\n",
    "# c\n",
    "# c\n---\n",
    "---\n# c\n---\n",
    "...\n",
    "...\n---\n",
    "\n\n",
    " \n",
    "\t\n",
    "\u{feff}",
    "\u{feff}---\n",
    "%YAML 1.1\n---\n",
    "%YAML 1.2\n---\n",
    "%YAML 1.3\n---\n",
    "%YAML 2.0\n---\n",
    "%TAG ! tag:a,2000:\n---\n",
    "%FOO\n---\n",
    "%YAML 1.1\n",
    "--- # c\n",
    "---x\n",
    "--- !!map\n",
    "--- &a\n",
    "null\n---\n",
    "a\n---\n",
    "{}\n---\n",
    "\0",
    "\u{1}",
    "\u{2028}",
    "\u{85}",
    "\u{a0}",
    "<<: {}\n",
    "<<: {kind: EncryptionConfiguration}\n",
    "<<: [{}]\n",
    "<<: a\n",
    "'<<': {}\n",
    "!!merge <<: {}\n",
    "x: 1\n",
    "\r\n",
    "\r",
    "\u{b}",
    "\u{c}",
];

/// What may stand behind one.
const BEHIND: [&str; 42] = [
    "",
    "---\n",
    "---",
    "--- ",
    "---\n---\n",
    "...\n",
    "...\n---\n",
    "...\n...\n",
    "---\n# c\n",
    "---\nnull\n",
    "---\n~\n",
    "---\na\n",
    "---\nkind: [\n",
    "# c",
    "\n\n\n",
    "   ",
    "\t",
    "\t\n",
    "  \t# c\n",
    "...\n# c\n",
    "... x\n",
    "...x\n",
    "\0",
    "\u{1}",
    "\u{feff}",
    "---\n...\n---\n",
    "x: 1\n",
    "kind: a\n",
    "}",
    "]",
    "%YAML 1.1\n",
    "...\n%YAML 1.1\n---\n",
    "--- ''\n",
    "--- {}\n",
    "--- []\n",
    "\u{85}",
    "\u{2028}",
    "\u{7f}",
    "- a\n",
    " - a\n",
    "x\n",
    "  x\n",
];

#[test]
fn documents_markers_and_directives_are_judged_alike() {
    let mut judged = Judged::new();

    for base in [BLOCK, JSON] {
        for before in BEFORE {
            judged.judge(format!("{before}{base}"));
        }
        for behind in BEHIND {
            judged.judge(format!("{base}{behind}"));
            judged.judge(format!("---\n{base}{behind}"));
        }
        judged.judge(base.replace('\n', "\r\n"));
        judged.judge(base.replace('\n', "\r"));
        judged.judge(base.replace("  ", "\t"));
        judged.judge(base.replace(": ", ":\t"));
        judged.judge(base.replace(": ", ":"));
        judged.judge(base.replace('\n', " \n"));
        judged.judge(base.replace('\n', "\t\n"));
        judged.judge(base.replace('\n', " # c\n"));
        judged.judge(base.replace('\n', "# c\n"));
        judged.judge(base.replace('\n', "\n\n# c\n"));
        judged.judge(base.replace('"', "'"));
        judged.judge(base.trim_end());
        let wide: Vec<u8> = base.encode_utf16().flat_map(u16::to_le_bytes).collect();
        judged.judge([&[0xff, 0xfe], wide.as_slice()].concat());
        for byte in [0x80, 0xc0, 0xff] {
            judged.judge([&[b'#', byte, b'\n'], base.as_bytes()].concat());
        }
    }
    judged.are_alike(50, 50);
}

/// Lines that are put before each line.
const LINES: [&str; 26] = [
    "unknown: 1",
    "Kind: a",
    "null: a",
    "yes: a",
    "1: a",
    "? [a]",
    "? a",
    "[a]: b",
    "{a: b}: c",
    "<<: {}",
    "<<: {name: x}",
    "<<: [{}, {}]",
    "<<: []",
    "<<: ~",
    "<<:",
    "!!str kind: a",
    "'kind': a",
    "\"kind\": a",
    "kind : a",
    "- a",
    "-",
    "a",
    "# c",
    "\t",
    "cacheSize: 1",
    "providers: []",
];

/// Changes of one place.
const CHANGES: [(&str, &str); 37] = [
    ("- kms:\n", "- &k\n        kms:\n"),
    ("- kms:\n", "- kms: &k\n"),
    ("kms: {name: old,", "kms: {<<: *k, name: old,"),
    ("- identity: {}", "- identity: &i {}\n      - identity: *i"),
    ("- identity: {}", "- identity: &i {}\n      - *i"),
    ("- identity: {}", "- &i\n        identity: *i"),
    ("- identity: {}", "- &i {identity: {}}\n      - *i"),
    ("- identity: {}", "- {<<: {identity: {}}}"),
    ("- identity: {}", "- {<<: [{identity: {}}]}"),
    ("- identity: {}", "- {<<: [{identity: {}}, {identity: {}}]}"),
    ("- identity: {}", "- {<<: {identity: {}}, identity: {}}"),
    ("- identity: {}", "- !!map {identity: !!map {}}"),
    ("- identity: {}", "- !foo {identity: !bar {}}"),
    ("- identity: {}", "- !!seq {identity: {}}"),
    ("- identity: {}", "- {identity}"),
    ("- identity: {}", "- {identity: }"),
    ("- identity: {}", "- {\"identity\":{}}"),
    ("- identity: {}", "- {identity:{}}"),
    ("- identity: {}", "- {identity: {},}"),
    ("- identity: {}", "- {identity: {},,}"),
    ("- identity: {}", "- {, identity: {}}"),
    ("- identity: {}", "- [identity: {}]"),
    ("- identity: {}", "- ? identity\n        : {}"),
    ("- identity: {}", "- ? identity"),
    ("- identity: {}", "- {? identity : {}}"),
    ("- identity: {}", "- identity: {}\n        aesgcm:"),
    ("- identity: {}", "- identity: {}\n      -"),
    ("- identity: {}", "- identity: {}\n      - {}"),
    ("- identity: {}", "- identity: {}\n      - null"),
    ("['*.apps', events]", "['*.apps', events"),
    ("['*.apps', events]", "['*.apps' events]"),
    ("['*.apps', events]", "[ '*.apps'\n, events ]"),
    ("['*.apps', events]", "[\n'*.apps', events]"),
    ("['*.apps', events]", "[*.apps, events]"),
    ("['*.apps', events]", "[a: b, events]"),
    ("['*.apps', events]", "!!set {events}"),
    ("['*.apps', events]", "!!seq [events]"),
];

#[test]
fn fields_twice_unknown_or_merged_are_judged_alike() {
    let mut judged = Judged::new();
    let lines: Vec<&str> = BLOCK.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let mut with = |more: &[String]| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            lines.splice(at..at, more.iter().cloned());
            judged.judge(lines.join("\n"));
        };
        with(&[(*line).to_owned()]);
        for more in LINES {
            with(&[format!("{indent}{more}")]);
        }
        let mut without: Vec<&str> = lines.clone();
        without.remove(at);
        judged.judge(without.join("\n"));
        for change in [
            format!(" {line}"),
            format!("  {line}"),
            line.replacen("  ", "", 1),
            line.replacen(' ', "", 1),
            line.replacen("- ", "-\t", 1),
            line.replacen("- ", "-  ", 1),
        ] {
            let mut changed: Vec<&str> = lines.clone();
            changed[at] = &change;
            judged.judge(changed.join("\n"));
        }
    }
    for (from, to) in CHANGES {
        assert!(BLOCK.contains(from), "{from}");
        judged.judge(BLOCK.replace(from, to));
    }
    judged.judge(BLOCK.replace("- kms:\n", "- kms: &k\n").replace(
        "kms: {name: old,",
        "kms: {<<: *k, cachesize: 5}\n      - kms: {name: old,",
    ));
    judged.judge(
        BLOCK
            .replace("- aescbc:\n", "- aescbc: &k\n")
            .replace("secretbox: {keys", "aescbc: *k\n      - secretbox: {keys"),
    );
    judged.are_alike(100, 300);
}

/// Changes of one place in JSON.
const OF_JSON: [(&str, &str); 48] = [
    ("\"identity\": {}", "\"identity\": {},"),
    ("\"identity\": {}", "\"identity\": {}, \"identity\": {}"),
    ("\"identity\": {}", "\"identity\": {}, \"unknown\": 1"),
    ("\"identity\": {}", "\"Identity\": {}"),
    ("\"identity\": {}", "identity: {}"),
    ("\"identity\": {}", "'identity': {}"),
    ("\"identity\": {}", "\"identity\": {} // c"),
    ("\"identity\": {}", "\"identity\": {} # c"),
    ("\"identity\": {}", "\"identity\": {} /* c */"),
    ("\"identity\": {}", "\"identity\": null"),
    ("\"identity\": {}", "\"identity\": {}, \"kms\": null"),
    ("\"identity\": {}", "\"identity\": NaN"),
    ("\"identity\": {}", "\"iden\\u0074ity\": {}"),
    ("\"identity\": {}", "\"iden\\ud800tity\": {}"),
    ("\"3s\"", "3"),
    ("\"3s\"", "null"),
    ("\"3s\"", "\"\""),
    ("\"3s\"", "\"3s\", \"timeout\": \"3s\""),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": 5, \"name\""),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": 5.0, \"name\""),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": 5e0, \"name\""),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": -5, \"name\""),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": 05, \"name\""),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": +5, \"name\""),
    (
        "\"v2\", \"name\"",
        "\"v1\", \"cachesize\": 3000000000, \"name\"",
    ),
    ("\"v2\", \"name\"", "\"v1\", \"cachesize\": \"5\", \"name\""),
    (
        "\"v2\", \"name\"",
        "\"v1\", \"cachesize\": 99999999999999999999, \"name\"",
    ),
    ("\"plugin\"", "\"a\tb\""),
    ("\"plugin\"", "\"a\\tb\""),
    ("\"plugin\"", "\"a\nb\""),
    ("\"plugin\"", "\"a\\/b\""),
    ("\"plugin\"", "\"a\\'b\""),
    ("\"plugin\"", "\"\\u0000\""),
    ("\"plugin\"", "\"\u{7f}\""),
    ("\"plugin\"", "true"),
    ("\"plugin\"", "[\"plugin\"]"),
    ("{\n  \"apiVersion\"", "[{\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "\u{a0}{\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "\u{85}{\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "\n\t {\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "--- {\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "# c\n{\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "! {\n  \"apiVersion\""),
    ("{\n  \"apiVersion\"", "{, \"apiVersion\""),
    ("\"kind\"", "kind"),
    ("\"kind\"", "\"kind\": \"x\", \"kind\""),
    ("\"kind\"", "\"KIND\""),
    (
        "EncryptionConfiguration\"",
        "EncryptionConfiguration\", \"kind\": \"EncryptionConfiguration\"",
    ),
];

#[test]
fn json_is_judged_alike() {
    let mut judged = Judged::new();
    for (from, to) in OF_JSON {
        assert!(JSON.contains(from), "{from}");
        judged.judge(JSON.replacen(from, to, 1));
        // The same as YAML, of which flow style is a part.
        judged.judge(format!("---\n{}", JSON.replacen(from, to, 1)));
    }
    judged.are_alike(15, 30);
}

/// What is put somewhere.
const PIECES: [&str; 40] = [
    " ", "  ", "\t", "\n", "\n\n", ":", ": ", "-", "- ", ",", "[", "]", "{", "}", "'", "\"", "#",
    " #", "&a ", "*a", "!", "|", ">", "%", "@", "\\", "?", "? ", "~", "<<: ", "---\n", "...\n",
    "a", "0", "=", "\r", "\u{e9}", "*", "key1", "\u{feff}",
];

/// Characters and lines that are changed at random, in every run alike.
#[test]
fn files_with_random_changes_are_judged_alike() {
    let mut judged = Judged::new();
    let mut random = Random::new(33);
    for round in 0..10_000 {
        let base = if round % 4 == 0 { JSON } else { BLOCK };
        let mut text: Vec<char> = base.chars().collect();
        for _ in 0..=random.below(2) {
            let at = random.below(text.len());
            match random.below(5) {
                0 => drop(text.remove(at)),
                1 => {
                    let end = (at + 1 + random.below(12)).min(text.len());
                    drop(text.drain(at..end));
                }
                2 => {
                    let end = (at + 1 + random.below(30)).min(text.len());
                    let part = text[at..end].to_vec();
                    text.splice(at..at, part);
                }
                _ => {
                    let piece = *random.pick(&PIECES);
                    text.splice(at..at, piece.chars());
                }
            }
        }
        judged.judge(text.into_iter().collect::<String>());
    }
    judged.are_alike(300, 2_000);
}
