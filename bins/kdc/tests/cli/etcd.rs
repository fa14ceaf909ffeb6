//! Rows straight from a real etcd, over plain HTTP and over TLS with client certificates.

use kdc_testbed::Etcd;
use tokio::runtime::Runtime;

use crate::support::{ETCD_KEY, Scene, runtime};

#[test]
fn a_row_is_read_from_etcd_and_opened() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &scene.row(b"object")))
        .unwrap();
    let endpoints = format!("http://127.0.0.1:1,{}", etcd.endpoint());
    let from = ["--etcd-endpoints", &endpoints, "--etcd-key", ETCD_KEY];
    let open = [&["value", "open", "--keyring", "keyring"][..], &from].concat();
    assert_eq!(
        scene.kdc(&open).succeeds().stdout,
        b"object",
        "the second endpoint answers"
    );
    let seen = scene.kdc(&[&["value", "inspect", "--output", "json"][..], &from].concat());
    assert_eq!(seen.succeeds().json()["etcdKey"], ETCD_KEY);

    let absent = [
        "value",
        "inspect",
        "--etcd-endpoints",
        etcd.endpoint(),
        "--etcd-key",
        "/registry/none",
    ];
    scene
        .kdc(&absent)
        .fails(66, "etcd has no row `/registry/none`");
    let unnamed = ["value", "inspect", "--etcd-endpoints", etcd.endpoint()];
    scene.kdc(&unnamed).fails(64, "--etcd-key is missing");
}

#[test]
fn tls_is_as_strict_as_etcd() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let etcd = runtime.block_on(Etcd::start_with_tls()).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &scene.row(b"object")))
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
    let open = |more: &[&str]| scene.kdc(&[&base[..], more].concat());
    let client = ["--etcd-cert", cert, "--etcd-keyfile", key];
    let full = [&["--etcd-cacert", ca][..], &client].concat();
    assert_eq!(open(&full).succeeds().stdout, b"object");
    let named = [&full[..], &["--etcd-server-name", "localhost"]].concat();
    assert_eq!(open(&named).succeeds().stdout, b"object");

    open(&[]).fails(64, "needs --etcd-cacert");
    open(&client).fails(64, "needs --etcd-cacert");
    open(&["--etcd-cacert", ca, "--etcd-cert", cert]).fails(64, "--etcd-keyfile");
    open(&["--etcd-cacert", ca]).fails(69, "etcd");
    let misnamed = [&full[..], &["--etcd-server-name", "other.example"]].concat();
    open(&misnamed).fails(69, "cannot connect to etcd");
    scene.write("junk.pem", "junk");
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
fn endpoints_that_are_none_are_refused() {
    let scene = Scene::new();
    let inspect = |endpoint| {
        scene.kdc(&[
            "value",
            "inspect",
            "--etcd-key",
            "/a",
            "--etcd-endpoints",
            endpoint,
        ])
    };
    inspect("localhost:2379").fails(64, "--etcd-endpoints");
    inspect("ftp://localhost").fails(64, "neither http nor https");
    inspect("http://127.0.0.1:1").fails(69, "cannot connect to etcd");
    scene
        .kdc(&["value", "inspect", "--etcd-cacert", "ca.crt"])
        .fails(64, "--etcd-endpoints");
}

/// More rows than one page of a scan holds, two keys, a local provider and plain ones.
fn fill(runtime: &Runtime, etcd: &Etcd, scene: &Scene) {
    let put = |key: &str, value: &[u8]| runtime.block_on(etcd.put(key, value)).unwrap();
    let old = scene.row(b"old");
    for number in 0..230 {
        put(&format!("/registry/secrets/default/s{number:03}"), &old);
    }
    scene.kdc(&["keyring", "add", "keyring"]).succeeds();
    scene.kdc(&["keyring", "promote", "keyring"]).succeeds();
    put("/registry/secrets/default/new", &scene.row(b"new"));
    put("/registry/configmaps/default/plain", b"k8s\0plain");
    put(
        "/registry/configmaps/default/gcm",
        &[b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 40]].concat(),
    );
    put("/registry2/secrets/outside", &old);
}

#[test]
fn a_survey_counts_rows_by_provider_and_key_id() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    fill(&runtime, &etcd, &scene);
    let survey = [
        "value",
        "inspect",
        "--etcd-endpoints",
        etcd.endpoint(),
        "--etcd-prefix",
        "/registry/",
    ];
    let json = scene
        .kdc(&[&survey[..], &["--output", "json"]].concat())
        .succeeds()
        .json();
    assert_eq!(json["rows"], 233);
    let groups = json["groups"].as_array().unwrap();
    let rows = |provider: &str| -> Vec<u64> {
        let of = groups.iter().filter(|group| group["provider"] == provider);
        of.map(|group| group["rows"].as_u64().unwrap()).collect()
    };
    assert_eq!((rows("identity"), rows("aesgcm")), (vec![1], vec![1]));
    assert_eq!(rows("kms-v2"), [230, 1], "ordered by key id");
    let table = scene.kdc(&survey).succeeds().text();
    assert!(table.contains("233 rows under /registry/"), "{table}");

    let nothing = [
        "value",
        "inspect",
        "--etcd-endpoints",
        etcd.endpoint(),
        "--etcd-prefix",
        "/none/",
    ];
    scene.kdc(&nothing).fails(66, "no row under `/none/`");
    runtime
        .block_on(etcd.put("/registry/secrets/default/zz", b"k8s:enc:kms:v2:"))
        .unwrap();
    scene.kdc(&survey).fails(65, "/registry/secrets/default/zz");
}

#[test]
fn retire_is_refused_while_a_row_needs_the_key() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    fill(&runtime, &etcd, &scene);
    let list = scene
        .kdc(&["keyring", "list", "keyring", "--output", "json"])
        .json();
    let key_id = list["versions"][0]["keyId"].as_str().unwrap();
    let retire = [
        "keyring",
        "retire",
        "keyring",
        "--version",
        "1",
        "--confirm",
        key_id,
        "--etcd-endpoints",
        etcd.endpoint(),
    ];
    let before = scene.snapshot();
    scene.kdc(&retire).fails(
        1,
        &format!("230 of 233 rows under `/registry/` need key id `{key_id}`"),
    );
    let elsewhere = [&retire[..], &["--etcd-prefix", "/registri/"]].concat();
    scene.kdc(&elsewhere).fails(66, "no row under `/registri/`");
    let down: Vec<&str> = retire
        .iter()
        .map(|word| {
            if word.starts_with("http") {
                "http://127.0.0.1:1"
            } else {
                word
            }
        })
        .collect();
    scene.kdc(&down).fails(69, "cannot connect to etcd");
    runtime.block_on(async {
        for number in 0..230 {
            etcd.delete(&format!("/registry/secrets/default/s{number:03}"))
                .await
                .unwrap();
        }
        etcd.put("/registry/secrets/default/bad", b"k8s:enc:kms:v2:x:\xff")
            .await
            .unwrap();
    });
    scene
        .kdc(&retire)
        .fails(1, "the row at `/registry/secrets/default/bad` is damaged");
    assert_eq!(scene.snapshot(), before);
    runtime
        .block_on(etcd.delete("/registry/secrets/default/bad"))
        .unwrap();
    assert!(
        scene
            .kdc(&retire)
            .succeeds()
            .text()
            .contains("none of the 3 rows")
    );
}
