//! Values: every notation of a scalar in every place, and what fields take.

use super::{BLOCK, JSON, Judged, KEY};

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

const TIMEOUTS: [&str; 28] = [
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
];

const ENDPOINTS: [&str; 43] = [
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
];

const PROVIDER_NAMES: [&str; 6] = [
    "name: a:b",
    "name: ':'",
    "name: 'a b'",
    "name: ''",
    "name: old",
    "name: \u{e9}",
];

const KEY_NAMES: [&str; 4] = ["name: key1", "name: ''", "name: 'a:b'", "name: 'a/b'"];

const RESOURCES: [&str; 30] = [
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
];

const LAST_RESOURCES: [&str; 10] = [
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
];

#[test]
fn durations_endpoints_and_names_are_judged_alike() {
    let mut judged = Judged::new();
    let replaced: [(&str, &[&str]); 6] = [
        ("3s", &TIMEOUTS),
        ("unix:///run/kms/kms.sock", &ENDPOINTS),
        ("name: plugin", &PROVIDER_NAMES),
        ("name: key2", &KEY_NAMES),
        ("- secrets", &RESOURCES),
        ("events]", &LAST_RESOURCES),
    ];
    for (value, others) in replaced {
        assert!(BLOCK.contains(value), "{value}");
        for other in others {
            judged.judge(BLOCK.replacen(value, other, 1));
        }
    }
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

const VERSIONS: [&str; 18] = [
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
];

const KINDS: [&str; 11] = [
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
];

#[test]
fn kinds_and_versions_are_judged_alike() {
    let mut judged = Judged::new();
    for version in VERSIONS {
        for kind in KINDS {
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
