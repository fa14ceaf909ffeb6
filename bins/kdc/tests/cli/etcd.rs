//! Rows straight from a real etcd, over plain HTTP and over TLS with client certificates.

use kdc_testbed::Etcd;
use tokio::runtime::Runtime;

use crate::fixture::{ETCD_KEY, Fixture, runtime};

#[test]
fn a_row_is_read_from_etcd_and_opened() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &fixture.row(b"object")))
        .unwrap();
    let endpoints = format!("http://127.0.0.1:1,{}", etcd.endpoint());
    let from = ["--etcd-endpoints", &endpoints, "--etcd-key", ETCD_KEY];
    let open = [&["value", "open", "--keyring", "keyring"][..], &from].concat();
    assert_eq!(
        fixture.kdc(&open).succeeds().stdout,
        b"object",
        "the second endpoint answers"
    );
    let seen = fixture.kdc(&[&["value", "inspect", "--output", "json"][..], &from].concat());
    assert_eq!(seen.succeeds().json()["etcdKey"], ETCD_KEY);

    let absent = [
        "value",
        "inspect",
        "--etcd-endpoints",
        etcd.endpoint(),
        "--etcd-key",
        "/registry/none",
    ];
    fixture
        .kdc(&absent)
        .fails(66, "has no row `/registry/none`");
    let unnamed = ["value", "inspect", "--etcd-endpoints", etcd.endpoint()];
    fixture.kdc(&unnamed).fails(64, "--etcd-key is missing");
}

#[test]
fn tls_is_as_strict_as_etcd() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let etcd = runtime.block_on(Etcd::start_with_tls()).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &fixture.row(b"object")))
        .unwrap();
    let tls = etcd.tls().unwrap();
    let [ca, cert, key] = [&tls.ca, &tls.cert, &tls.key].map(|path| path.to_str().unwrap());
    let endpoint = etcd.endpoint();
    let base = [
        "value",
        "open",
        "--keyring",
        "keyring",
        "--etcd-key",
        ETCD_KEY,
        "--etcd-endpoints",
        endpoint,
    ];
    let open = |more: &[&str]| fixture.kdc(&[&base[..], more].concat());
    let client = ["--etcd-cert", cert, "--etcd-keyfile", key];
    let full = [&["--etcd-cacert", ca][..], &client].concat();
    assert_eq!(open(&full).succeeds().stdout, b"object");
    let named = [&full[..], &["--etcd-server-name", "localhost"]].concat();
    assert_eq!(open(&named).succeeds().stdout, b"object");
    let bare = endpoint.trim_start_matches("https://");
    let bare = base.map(|word| if word == endpoint { bare } else { word });
    let bare = fixture.kdc(&[&bare[..], &full].concat());
    assert_eq!(bare.succeeds().stdout, b"object", "https, as there is TLS");

    open(&[]).fails(64, "needs --etcd-cacert");
    open(&client).fails(64, "needs --etcd-cacert");
    open(&["--etcd-cacert", ca, "--etcd-cert", cert]).fails(64, "--etcd-keyfile");
    open(&["--etcd-cacert", ca]).fails(69, "etcd");
    let misnamed = [&full[..], &["--etcd-server-name", "other.example"]].concat();
    open(&misnamed).fails(69, "cannot connect to etcd");
    fixture.write("junk.pem", "junk");
    open(&["--etcd-cacert", "none.pem"]).fails(66, "--etcd-cacert: cannot read `none.pem`");
    open(&[&["--etcd-cacert", "junk.pem"][..], &client].concat())
        .fails(65, "--etcd-cacert: `junk.pem` holds no CERTIFICATE");
    open(&[
        "--etcd-cacert",
        ca,
        "--etcd-cert",
        cert,
        "--etcd-keyfile",
        "junk.pem",
    ])
    .fails(65, "--etcd-keyfile: `junk.pem` holds no PRIVATE KEY");
}

#[test]
fn an_etcd_with_tls_is_told_from_one_without() {
    let fixture = Fixture::new();
    let etcd = runtime().block_on(Etcd::start_with_tls()).unwrap();
    let plain = etcd.endpoint().replace("https://", "http://");
    let inspect = [
        "value",
        "inspect",
        "--etcd-key",
        "/a",
        "--etcd-endpoints",
        &plain,
    ];
    fixture
        .kdc(&inspect)
        .fails(69, "if etcd speaks TLS, write https");
    let ca = etcd.tls().unwrap().ca.to_str().unwrap();
    let mixed = [&inspect[..], &["--etcd-cacert", ca]].concat();
    fixture
        .kdc(&mixed)
        .fails(64, "is http, but --etcd-cacert is given; write https");
}

#[test]
fn endpoints_that_are_none_are_refused() {
    let fixture = Fixture::new();
    let inspect = |endpoint| {
        fixture.kdc(&[
            "value",
            "inspect",
            "--etcd-key",
            "/a",
            "--etcd-endpoints",
            endpoint,
        ])
    };
    inspect("localhost").fails(64, "has no port");
    inspect("").fails(64, "an address is empty");
    inspect("ftp://localhost").fails(64, "neither http nor https");
    inspect("unix:///run/etcd.sock").fails(64, "is a Unix socket");
    inspect("http://127.0.0.1:1").fails(69, "cannot connect to etcd");
    inspect("127.0.0.1:1").fails(69, "`http://127.0.0.1:1`");
    let with_user = inspect("http://root:hunter2@127.0.0.1:1");
    let with_user = with_user.fails(64, "--etcd-password-file");
    assert!(!with_user.stderr.contains("hunter2"));
    fixture
        .kdc(&["value", "inspect", "--etcd-cacert", "ca.crt"])
        .fails(64, "--etcd-endpoints");
}

/// More rows than one page of a scan holds, two keys, a local provider and plain ones.
pub(crate) fn fill(runtime: &Runtime, etcd: &Etcd, fixture: &Fixture) {
    let put = |key: &str, value: &[u8]| runtime.block_on(etcd.put(key, value)).unwrap();
    let old = fixture.row(b"old");
    for number in 0..230 {
        put(&format!("/registry/secrets/default/s{number:03}"), &old);
    }
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    fixture.kdc(&["keyring", "promote", "keyring"]).succeeds();
    put("/registry/secrets/default/new", &fixture.row(b"new"));
    put("/registry/configmaps/default/plain", b"k8s\0plain");
    put(
        "/registry/configmaps/default/gcm",
        &[b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 40]].concat(),
    );
    put("/registry2/secrets/outside", &old);
}

#[test]
fn key_usage_counts_rows_by_provider_and_key_id() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    fill(&runtime, &etcd, &fixture);
    let usage = [
        "value",
        "inspect",
        "--etcd-endpoints",
        etcd.endpoint(),
        "--etcd-prefix",
        "/registry/",
    ];
    let json = fixture
        .kdc(&[&usage[..], &["--output", "json"]].concat())
        .succeeds()
        .json();
    assert_eq!(
        (&json["rows"], &json["notLookedAt"]),
        (&233.into(), &1.into())
    );
    let groups = json["groups"].as_array().unwrap();
    let rows = |provider: &str| -> Vec<u64> {
        let of = groups.iter().filter(|group| group["provider"] == provider);
        of.map(|group| group["rows"].as_u64().unwrap()).collect()
    };
    assert_eq!((rows("identity"), rows("aesgcm")), (vec![1], vec![1]));
    assert_eq!(rows("kms-v2"), [230, 1], "ordered by key id");
    let table = fixture.kdc(&usage).succeeds().text();
    let line = "233 rows under /registry/; 1 rows elsewhere were not read";
    assert!(table.contains(line), "{table}");
    let all = usage.map(|word| if word == "/registry/" { "" } else { word });
    let table = fixture.kdc(&all).succeeds().text();
    let line = "234 rows in all, of API servers under /registry, /registry2";
    assert!(table.contains(line), "{table}");

    let nothing = [
        "value",
        "inspect",
        "--etcd-endpoints",
        etcd.endpoint(),
        "--etcd-prefix",
        "/none/",
    ];
    fixture.kdc(&nothing).fails(66, "no row under `/none/`");
    runtime
        .block_on(etcd.put("/registry/secrets/default/zz", b"k8s:enc:kms:v2:"))
        .unwrap();
    fixture
        .kdc(&usage)
        .fails(65, "/registry/secrets/default/zz");
}

#[test]
fn what_etcdctl_prints_is_told_and_taken() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    // A line feed at the end, and in the middle, belong to it.
    let row = loop {
        let row = fixture.row(b"object");
        if row.contains(&b'\n') {
            break row;
        }
    };
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime.block_on(etcd.put(ETCD_KEY, &row)).unwrap();
    let print = |words: &[&str]| {
        let output = etcd.etcdctl().arg("get").args(words).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let open = |more: &[&str], input: &[u8]| {
        let open = ["value", "open", "--keyring", "keyring"];
        fixture.kdc_with_input(&[&open[..], more].concat(), input)
    };
    let takes = [
        (vec![ETCD_KEY], "etcdctl"),
        (vec![ETCD_KEY, "--hex"], "etcdctl"),
        (vec![ETCD_KEY, "-w", "json"], "etcdctl-json"),
        (vec![ETCD_KEY, "-w", "fields"], "etcdctl-fields"),
    ];
    for (words, format) in takes {
        let printed = print(&words);
        let taken = open(&["--format", format], &printed);
        assert_eq!(taken.succeeds().stdout, b"object", "{words:?}");
        let bare = open(&["--etcd-key", ETCD_KEY], &printed);
        let refused = bare.fails(65, "--format etcdctl");
        assert_eq!(refused.stdout, b"", "{words:?}");
        let inspected = fixture.kdc_with_input(&["value", "inspect"], &printed);
        assert!(!inspected.fails(65, "").text().contains("not encrypted"));
    }
    let hex = print(&[ETCD_KEY, "--hex", "--print-value-only"]);
    let taken = open(&["--format", "hex", "--etcd-key", ETCD_KEY], &hex);
    assert_eq!(taken.succeeds().stdout, b"object");
    for words in [
        vec![ETCD_KEY, "-w", "protobuf"],
        vec![ETCD_KEY, "--keys-only"],
    ] {
        let refused = open(&["--etcd-key", ETCD_KEY], &print(&words));
        assert_eq!(refused.fails(65, "-w json").stdout, b"", "{words:?}");
    }
    runtime
        .block_on(etcd.put("/registry/secrets/default/two", &row))
        .unwrap();
    let two = print(&["--prefix", "/registry/secrets/"]);
    open(&["--format", "etcdctl"], &two).fails(65, "of several rows take `-w json`");
    open(&["--etcd-key", ETCD_KEY], &two).fails(65, "--format etcdctl");
    // An operator wrote back what etcdctl had printed: ciphertext that no API server reads.
    let spoilt = print(&[ETCD_KEY]);
    runtime.block_on(etcd.put(ETCD_KEY, &spoilt)).unwrap();
    let from = ["--etcd-endpoints", etcd.endpoint(), "--etcd-key", ETCD_KEY];
    let spoilt = open(&from, b"");
    spoilt.fails(65, "`k8s:enc:` comes only after");
}
