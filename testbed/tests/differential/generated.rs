//! A large corpus of EncryptionConfiguration files, made by changing valid ones, each judged by upstream's own loader.

use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::encryption_config::ConfigError;
use kdc_testbed::Oracle;

use crate::oracle;
use crate::random::Random;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// In block style, with one of every provider.
const BLOCK: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - secrets
      - configmaps
    providers:
      - kms:
          apiVersion: v2
          name: plugin
          endpoint: unix:///run/kms/kms.sock
          timeout: 3s
      - aescbc:
          keys:
            - name: key1
              secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
            - name: key2
              secret: \"MDEyMzQ1Njc4OWFiY2RlZg==\"
      - identity: {}
  - resources: ['*.apps', events]
    providers:
      - kms: {name: old, endpoint: 'unix:///@old', cachesize: 5}
      - secretbox: {keys: [{name: 'a:b', secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
";

const JSON: &str = r#"{
  "apiVersion": "apiserver.config.k8s.io/v1",
  "kind": "EncryptionConfiguration",
  "resources": [
    {
      "resources": ["secrets", "*.apps"],
      "providers": [
        {"kms": {"apiVersion": "v2", "name": "plugin", "endpoint": "unix:///run/kms/kms.sock", "timeout": "3s"}},
        {"aesgcm": {"keys": [{"name": "key1", "secret": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}]}},
        {"identity": {}}
      ]
    }
  ]
}
"#;

/// What both say about files, and where they differ.
struct Judged {
    oracle: Oracle,
    taken: usize,
    refused: usize,
    stricter: usize,
    differences: Vec<String>,
}

impl Judged {
    fn new() -> Self {
        Self {
            oracle: oracle(),
            taken: 0,
            refused: 0,
            stricter: 0,
            differences: Vec::new(),
        }
    }

    fn judge(&mut self, file: impl AsRef<[u8]>) {
        let file = file.as_ref();
        let theirs = self.oracle.load_config(file).unwrap();
        let ours = EncryptionConfiguration::parse(file);
        match (&theirs, &ours) {
            (Ok(()), Ok(_)) => self.taken += 1,
            (Err(_), Err(_)) => self.refused += 1,
            (Ok(()), Err(error)) if is_stricter_by_design(file, error) => self.stricter += 1,
            (theirs, ours) => {
                let ours = ours.as_ref().map(drop);
                let file = String::from_utf8_lossy(file);
                let difference = format!("upstream: {theirs:?}\nours: {ours:?}\n{file:?}");
                self.differences.push(difference);
            }
        }
    }

    #[track_caller]
    fn are_alike(self, taken: usize, refused: usize) {
        let Self { differences, .. } = &self;
        assert!(
            differences.is_empty(),
            "{} differences:\n{}",
            differences.len(),
            differences.join("\n\n")
        );
        let counts = (self.taken, self.refused, self.stricter);
        assert!(self.taken >= taken && self.refused >= refused, "{counts:?}");
    }
}

/// What docs/encryption.md says that this reader refuses although kube-apiserver takes it.
fn is_stricter_by_design(file: &[u8], error: &ConfigError) -> bool {
    const REASONS: [&str; 6] = [
        "more than one YAML document",
        "not UTF-8",
        "too many YAML aliases",
        "behind the first YAML document",
        "a line break that is none to all",
        "that not all read alike",
    ];
    let has = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    let error = error.to_string();
    let is_rare = has(b"\\'") || has(b"\n... ") || has(b"]#") || has(b"}#");
    REASONS.iter().any(|reason| error.contains(reason)) || is_rare
}

/// Ways to write a value, with all that YAML 1.1 makes of them.
const SCALARS: [&str; 97] = [
    "",
    "~",
    "null",
    "Null",
    "NULL",
    "nULL",
    "yes",
    "Yes",
    "YES",
    "yEs",
    "no",
    "on",
    "On",
    "off",
    "y",
    "Y",
    "n",
    "N",
    "true",
    "True",
    "TRUE",
    "false",
    "tRUE",
    "0",
    "5",
    "+5",
    "-5",
    "--5",
    "010",
    "08",
    "09",
    "0x10",
    "0X1f",
    "0o7",
    "0b101",
    "-0b11",
    "-0x10",
    "0x",
    "1_000",
    "_1",
    "1_",
    "0x_1",
    "1e1",
    "1e3",
    "1E1",
    "1e-1",
    "1.0",
    "10.0",
    "1.",
    ".5",
    "-.5",
    "+.5e1",
    ".",
    ".e1",
    "1e400",
    "2147483647",
    "2147483648",
    "-2147483648",
    "9223372036854775808",
    ".inf",
    "-.Inf",
    ".nan",
    "1:30",
    "2001-01-01",
    "2001-01-01T00:00:00Z",
    "0777777777777777777777777777777",
    "'5'",
    "\"5\"",
    "'yes'",
    "'~'",
    "''",
    "\"\"",
    "!!str 5",
    "!!str yes",
    "!!str ''",
    "!!int 5",
    "!!int '5'",
    "!!int x",
    "!!float 5",
    "!!float x",
    "!!bool yes",
    "!!bool 'no'",
    "!!bool 1",
    "!!null ''",
    "!!null x",
    "!!binary a2V5MQ==",
    "!!binary '%'",
    "!local 5",
    "! 5",
    "!!set x",
    "<<",
    "'<<'",
    "=",
    "[]",
    "{}",
    "[a]",
    "{a: b}",
];

/// More of them, whose characters matter.
const TEXTS: [&str; 40] = [
    "a b",
    "a  b",
    "a#b",
    "a #b",
    "a: b",
    "a:b",
    ":a",
    "a:",
    "- a",
    "-a",
    "@a",
    "`a",
    "%a",
    "&x a",
    "*x",
    "*undefined",
    "'it''s'",
    "'it's'",
    "\"\\u0041\"",
    "\"\\x41\"",
    "\"\\q\"",
    "\"\\/\"",
    "\"a\\\n  b\"",
    "\"a\n  b\"",
    "'a\n\n  b'",
    "|\n            key",
    "|-\n            key",
    ">\n            a\n            b",
    ">-\n            key",
    "|2\n            key",
    "|+\n            key\n\n",
    "a\tb",
    "\ta",
    "a\t",
    "\u{e9}",
    "\u{feff}a",
    "\u{a0}a",
    "\u{85}",
    "? a",
    "a, b]",
];

/// The values of the files that are replaced by each of those, with what stands before them.
const PLACES: [(&str, &str); 11] = [
    ("apiVersion: ", "apiserver.config.k8s.io/v1"),
    ("kind: ", "EncryptionConfiguration"),
    ("- ", "secrets"),
    ("- ", "configmaps"),
    ("apiVersion: ", "v2"),
    ("name: ", "plugin"),
    ("endpoint: ", "unix:///run/kms/kms.sock"),
    ("timeout: ", "3s"),
    ("name: ", "key1"),
    ("secret: ", KEY),
    ("cachesize: ", "5"),
];

#[test]
fn values_are_read_as_upstream_reads_them() {
    let mut judged = Judged::new();
    judged.judge(BLOCK);
    judged.judge(JSON);
    for (before, value) in PLACES {
        let from = format!("{before}{value}");
        assert!(BLOCK.contains(&from), "{from}");
        for scalar in SCALARS.iter().chain(&TEXTS) {
            judged.judge(BLOCK.replacen(&from, &format!("{before}{scalar}"), 1));
        }
    }
    judged.are_alike(200, 1_000);
}

#[test]
fn durations_endpoints_and_names_are_judged_alike() {
    let mut judged = Judged::new();
    let mut replace = |value: &str, by: &[&str]| {
        assert!(BLOCK.contains(value), "{value}");
        for by in by {
            judged.judge(BLOCK.replacen(value, by, 1));
        }
    };
    replace(
        "3s",
        &[
            "0s",
            "0",
            "'0'",
            "-1s",
            "1",
            "1m",
            "1h30m",
            "1.5s",
            ".5s",
            "1.s",
            "1ns",
            "1us",
            "1\u{b5}s",
            "1\u{3bc}s",
            "1d",
            "1S",
            "1 s",
            "3sec",
            "+3s",
            "9223372036s",
            "9999999999999s",
            "2562047h47m16.854775807s",
            "2562047h47m16.854775808s",
            "1e3s",
            "1h1h",
            "'3s '",
            "-0s",
            "0.0000000001s",
        ],
    );
    replace(
        "unix:///run/kms/kms.sock",
        &[
            "unix://run/kms/kms.sock",
            "unix:/run/kms.sock",
            "unix:run",
            "unix:",
            "'unix:'",
            "unix:////run",
            "unix://",
            "UNIX:///a",
            "unix ///a",
            "unix;///a",
            "/run/kms.sock",
            "'@kms'",
            "unix:///@kms",
            "unix://@kms",
            "unix://%41/a",
            "unix://[::1/a",
            "unix://a:b/c",
            "unix://a:99/c",
            "unix:///a?b#c",
            "unix:///a%2",
            "unix:///a%20b",
            "unix:///a b",
            "http:///a",
            "unixs:///a",
            "unix:///a#%zz",
            "unix://user@host/a",
            "unix://us er@host/a",
            "unix://ho st/a",
            "unix://a\\b/c",
            "unix://[::1]/a",
            "unix://[::1]:x/a",
            "':unix:///a'",
            "' unix:///a'",
            "'unix:///a '",
            "\"unix:///a\\x7f\"",
            "unix://<a>/b",
            "unix://a^b/c",
            "unix://a\"b/c",
            "unix://%zz/c",
            "unix://a%20b/c",
            "unix:%zz",
            "unix:a%zz",
            "unix:///%",
        ],
    );
    replace(
        "name: plugin",
        &[
            "name: a:b",
            "name: ':'",
            "name: 'a b'",
            "name: ''",
            "name: old",
            "name: \u{e9}",
        ],
    );
    replace(
        "name: key2",
        &["name: key1", "name: ''", "name: 'a:b'", "name: 'a/b'"],
    );
    replace(
        "- secrets",
        &[
            "- Secrets",
            "- secrets.",
            "- '*.'",
            "- '*.*'",
            "- '*'",
            "- '*.apps'",
            "- 'secrets.*'",
            "- ''",
            "- events",
            "- events.events.k8s.io",
            "- '*.events.k8s.io'",
            "- ingresses.extensions",
            "- '*.extensions'",
            "- serviceipallocations",
            "- apiserveripinfo",
            "- configmaps",
            "- a.b.c",
            "- ' secrets'",
            "- .",
            "- .apps",
            "- deployments.apps",
            "- '*.Apps'",
            "- \u{17f}ecrets",
            "- \u{130}",
            "- servicenodeportallocations",
            "- '*.servicenodeportallocations'",
            "- pods/status",
            "- '**'",
            "- '*.*.*'",
            "- '..'",
        ],
    );
    replace(
        "events]",
        &[
            "'*.']",
            "'*.*']",
            "secrets]",
            "'*.apps']",
            "deployments.apps]",
            "'*.*', a]",
            "'*.', events]",
            "]",
            ", ]",
            "events, ]",
        ],
    );
    judged.are_alike(50, 50);
}

#[test]
fn secrets_are_decoded_as_upstream_decodes_them() {
    let mut judged = Judged::new();
    for len in 0..40 {
        let key = &KEY[..len];
        judged.judge(BLOCK.replacen(KEY, key, 1));
        judged.judge(BLOCK.replacen(KEY, &format!("{key}="), 1));
        judged.judge(BLOCK.replacen(KEY, &format!("{key}=="), 1));
    }
    for character in " \t\n\r-_=+/.,:;#%&*!|>'\"@`~^$()[]{}<>?\\\u{7f}\u{e9}".chars() {
        for at in [0, 1, 20, 43, 44] {
            let mut key = KEY.to_owned();
            key.insert(at, character);
            let quoted = key.replace('\\', "\\\\").replace('"', "\\\"");
            let quoted = quoted.replace('\n', "\\n").replace('\r', "\\r");
            judged.judge(BLOCK.replacen(KEY, &format!("\"{quoted}\""), 1));
            judged.judge(BLOCK.replacen(KEY, &key, 1));
        }
    }
    judged.are_alike(15, 100);
}

#[test]
fn documents_markers_and_directives_are_judged_alike() {
    let mut judged = Judged::new();
    let before = [
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
    let behind = [
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
    for base in [BLOCK, JSON] {
        for before in before {
            judged.judge(format!("{before}{base}"));
        }
        for behind in behind {
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
        for more in [
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
        ] {
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
    for (from, to) in [
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
    ] {
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

#[test]
fn json_is_judged_alike() {
    let mut judged = Judged::new();
    for (from, to) in [
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
    ] {
        assert!(JSON.contains(from), "{from}");
        judged.judge(JSON.replacen(from, to, 1));
        // The same as YAML, of which flow style is a part.
        judged.judge(format!("---\n{}", JSON.replacen(from, to, 1)));
    }
    judged.are_alike(15, 30);
}

#[test]
fn kinds_and_versions_are_judged_alike() {
    let mut judged = Judged::new();
    for version in [
        "apiserver.config.k8s.io/v1",
        "apiserver.config.k8s.io/v1beta1",
        "apiserver.config.k8s.io/v1alpha1",
        "apiserver.config.k8s.io/v2",
        "v1",
        "v2",
        "apiserver.config.k8s.io",
        "apiserver.config.k8s.io/",
        "/v1",
        "apiserver.k8s.io/v1",
        "a/b/c",
        "''",
        "Apiserver.config.k8s.io/v1",
        "apiserver.config.k8s.io/V1",
        "apiserver.config.k8s.io/v1 ",
        "'apiserver.config.k8s.io/v1 '",
        "apiserver.config.k8s.io/__internal",
        "__internal",
    ] {
        for kind in [
            "EncryptionConfiguration",
            "EncryptionConfig",
            "encryptionconfiguration",
            "AdmissionConfiguration",
            "EgressSelectorConfiguration",
            "TracingConfiguration",
            "Status",
            "List",
            "''",
            "1",
            "AuthenticationConfiguration",
        ] {
            let text = BLOCK.replacen(
                "apiVersion: apiserver.config.k8s.io/v1",
                &format!("apiVersion: {version}"),
                1,
            );
            judged.judge(text.replacen(
                "kind: EncryptionConfiguration",
                &format!("kind: {kind}"),
                1,
            ));
        }
    }
    judged.are_alike(2, 100);
}

/// Characters and lines that are changed at random, in every run alike.
#[test]
fn files_with_random_changes_are_judged_alike() {
    const PIECES: [&str; 40] = [
        " ", "  ", "\t", "\n", "\n\n", ":", ": ", "-", "- ", ",", "[", "]", "{", "}", "'", "\"",
        "#", " #", "&a ", "*a", "!", "|", ">", "%", "@", "\\", "?", "? ", "~", "<<: ", "---\n",
        "...\n", "a", "0", "=", "\r", "\u{e9}", "*", "key1", "\u{feff}",
    ];
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
