//! Rows, keys and configurations that are not what they should be: one line, one exit code, nothing on standard output.

use crate::fixture::{ETCD_KEY, Fixture};

const OPEN: [&str; 6] = [
    "value",
    "open",
    "--keyring",
    "keyring",
    "--etcd-key",
    ETCD_KEY,
];

#[test]
fn every_truncation_of_a_row_is_one_line() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    for len in 0..row.len() {
        let run = fixture.kdc_with_input(&OPEN, &row[..len]);
        assert_eq!(run.fails(65, "").stdout, b"", "{len} bytes");
    }
    for len in 0.."k8s:enc:kms:v2:local:".len() + 2 {
        fixture
            .kdc_with_input(&["value", "inspect"], &row[..len])
            .fails(65, "");
    }
}

#[test]
fn a_tampered_row_does_not_open() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    let sealed_from = "k8s:enc:kms:v2:local:".len();
    for at in sealed_from..row.len() {
        let mut tampered = row.clone();
        tampered[at] ^= 1;
        let run = fixture.kdc_with_input(&OPEN, &tampered);
        assert!(
            run.code == 65 || run.code == 1,
            "byte {at}: {} {}",
            run.code,
            run.stderr
        );
        assert_eq!(
            (run.stdout.as_slice(), run.stderr.lines().count()),
            (b"".as_slice(), 1),
            "byte {at}"
        );
    }
}

#[test]
fn a_row_that_was_moved_is_refused_with_the_key_it_was_tried_at() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    let moved = [
        "value",
        "open",
        "--keyring",
        "keyring",
        "--etcd-key",
        "/registry/secrets/default/other",
    ];
    fixture.kdc_with_input(&moved, &row).fails(
        65,
        "does not belong to the etcd key `/registry/secrets/default/other`",
    );
}

#[test]
fn the_line_feed_of_etcdctl_is_pointed_out() {
    let fixture = Fixture::with_keyring();
    let row = [fixture.row(b"object").as_slice(), b"\n"].concat();
    fixture
        .kdc_with_input(&OPEN, &row)
        .fails(65, "take `-w json` instead");
    fixture
        .kdc_with_input(&["value", "inspect"], &row)
        .fails(65, "take `-w json` instead");
}

#[test]
fn another_keyring_does_not_have_the_key() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    let other = Fixture::with_keyring();
    other
        .kdc_with_input(&OPEN, &row)
        .fails(1, "unknown key id `local-v1-");
}

#[test]
fn a_retired_version_is_named() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    let list = fixture
        .kdc(&["keyring", "list", "keyring", "--output", "json"])
        .json();
    let key_id = list["versions"][0]["keyId"].as_str().unwrap().to_owned();
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    fixture.kdc(&["keyring", "promote", "keyring"]).succeeds();
    fixture
        .kdc(&[
            "keyring",
            "retire",
            "keyring",
            "--version",
            "1",
            "--confirm",
            &key_id,
        ])
        .succeeds();
    fixture
        .kdc_with_input(&OPEN, &row)
        .fails(1, &format!("key id `{key_id}` was retired"));
}

#[test]
fn values_of_other_providers_say_what_they_need() {
    let fixture = Fixture::with_keyring();
    let local = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 40]].concat();
    fixture
        .kdc_with_input(&OPEN, &local)
        .fails(64, "`aesgcm` with the key `key1`");
    let v1 = [b"k8s:enc:kms:v1:old:\0\x04abcd".as_slice(), &[0; 40]].concat();
    fixture.kdc_with_input(&OPEN, &v1).fails(64, "KMS v1");
    fixture
        .kdc_with_input(&OPEN, b"k8s:enc:new:v9:x")
        .fails(65, "no known provider");
}

#[test]
fn input_that_is_not_of_its_format_is_refused() {
    let fixture = Fixture::with_keyring();
    let inspect = |format, input: &[u8]| {
        fixture.kdc_with_input(&["value", "inspect", "--format", format], input)
    };
    inspect("hex", b"6b3").fails(65, "standard input: not hexadecimal");
    inspect("base64", b"%%%").fails(65, "not base64");
    inspect("etcdctl-json", b"{").fails(65, "not the output of `etcdctl get -w json`");
    inspect("raw", b"").fails(65, "standard input is empty");
    inspect("yaml", b"").fails(64, "'yaml'");
    fixture
        .kdc(&["value", "inspect", "--file", "none"])
        .fails(66, "--file: cannot read `none`");
    fixture
        .kdc(&["value", "inspect", "--file", "."])
        .fails(66, "--file: cannot read `.`");
}

#[test]
fn keys_must_be_named_once() {
    let fixture = Fixture::with_keyring();
    fixture
        .kdc(&["value", "open", "--file", "row"])
        .fails(64, "--keyring <FILE>|--root-secret <FILE>|--socket");
    fixture
        .kdc(&[
            "value",
            "open",
            "--keyring",
            "keyring",
            "--root-secret",
            "root",
        ])
        .fails(64, "cannot be used with");
    fixture
        .kdc(&["value", "open", "--keyring", "none"])
        .fails(66, "`none`");
    fixture
        .kdc(&["value", "open", "--socket", "tcp://h:1"])
        .fails(64, "--socket");
    fixture
        .kdc(&["value", "open", "--socket", "unix://run/kms.sock"])
        .fails(64, "three slashes");
}

#[test]
fn a_bad_encryption_configuration_is_refused_with_its_place() {
    let fixture = Fixture::new();
    let config = |provider: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets]\n  providers:\n  - {provider}\n"
        )
    };
    let cases = [
        (
            config("identity: {}\n    extra: 1"),
            "resources[0].providers[0]",
        ),
        (
            config("{aesgcm: {keys: [{name: a, secret: AAAA}]}, identity: {}}"),
            "more than one provider",
        ),
        (
            config("aesgcm: {keys: [{name: a, secret: '%%%'}]}"),
            "not base64",
        ),
        (
            config("aesgcm: {keys: [{name: a, secret: AAAA}]}"),
            "the key has 3 bytes",
        ),
        (
            config("secretbox: {keys: [{name: a, secret: AAAA}]}"),
            "secretbox takes 32",
        ),
        (
            config("kms: {name: a:b, apiVersion: v2, endpoint: 'unix:///x'}"),
            "must not contain `:`",
        ),
        ("a: [".to_owned(), "line "),
    ];
    for (text, words) in cases {
        fixture.write("config", &text);
        let run =
            fixture.kdc_with_input(&["value", "open", "--encryption-config", "config"], b"{}");
        run.fails(78, words)
            .fails(78, "--encryption-config: `config`");
    }
    fixture
        .kdc(&["value", "open", "--encryption-config", "none"])
        .fails(66, "--encryption-config: cannot read `none`");
}

#[test]
fn a_configuration_without_the_right_key_says_so() {
    let fixture = Fixture::with_keyring();
    fixture.write(
        "config",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: local, endpoint: 'unix:///nowhere/kms.sock', timeout: 200ms}\n",
    );
    let open = [
        "value",
        "open",
        "--encryption-config",
        "config",
        "--etcd-key",
        ETCD_KEY,
    ];
    fixture
        .kdc_with_input(&open, &fixture.row(b"object"))
        .fails(69, "resources[0].providers[0]");
    let local = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 40]].concat();
    fixture
        .kdc_with_input(&open, &local)
        .fails(1, "`config`: no provider and key of the configuration");
}

#[test]
fn hostile_names_cannot_write_to_a_terminal() {
    let fixture = Fixture::with_keyring();
    let row = [
        b"k8s:enc:kms:v2:\x1b[2J\x07:".as_slice(),
        &fixture.row(b"object")["k8s:enc:kms:v2:local:".len()..],
    ]
    .concat();
    let seen = fixture.kdc_with_input(&["value", "inspect", "--etcd-key", "/a\u{1b}[2J"], &row);
    let text = seen.succeeds().text();
    assert!(
        !text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\u{7}"),
        "{text}"
    );
    fixture
        .kdc(&["keyring", "list", "a\nb\u{1b}[2J"])
        .fails(66, "a\\nb\\u{1b}[2J");
}
