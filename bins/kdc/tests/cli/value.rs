//! `kdc value`: looking into rows and opening them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::SecretBytes;
use kdc_envelope::local::{LocalKek, root_secret};
use kdc_envelope::providers::{KeyName, aescbc, aesgcm, secretbox};
use serde_json::json;

use crate::fixture::{ETCD_KEY, Fixture, seal};

const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - aesgcm: {keys: [{name: gcm, secret: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=}]}
      - aescbc: {keys: [{name: cbc, secret: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=}]}
      - secretbox: {keys: [{name: box, secret: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=}]}
      - kms: {apiVersion: v2, name: local, endpoint: SOCKET}
      - identity: {}
";

/// All bytes there are, so that nothing is changed on the way.
fn object() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

#[test]
fn a_row_opens_to_exactly_the_stored_bytes_in_every_input_format() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(&object());
    let json = json!({
        "header": {"cluster_id": 1, "revision": 7},
        "kvs": [{"key": STANDARD.encode(ETCD_KEY), "create_revision": 2, "value": STANDARD.encode(&row)}],
        "count": 1,
    });
    let inputs = [
        ("raw", row.clone(), true),
        ("hex", format!("{}\n", hex::encode(&row)).into_bytes(), true),
        (
            "base64",
            format!("{}\n", STANDARD.encode(&row)).into_bytes(),
            true,
        ),
        ("etcdctl-json", json.to_string().into_bytes(), false),
    ];
    for (format, input, needs_key) in inputs {
        let mut arguments = vec!["value", "open", "--format", format, "--keyring", "keyring"];
        if needs_key {
            fixture
                .kdc_with_input(&arguments, &input)
                .fails(64, "--etcd-key is missing");
            arguments.extend(["--etcd-key", ETCD_KEY]);
        }
        let piped = fixture.kdc_with_input(&arguments, &input);
        assert_eq!(piped.succeeds().stdout, object(), "{format}");
        fixture.write("input", &input);
        arguments.extend(["--file", "input"]);
        assert_eq!(
            fixture.kdc(&arguments).succeeds().stdout,
            object(),
            "{format}"
        );
    }
}

#[test]
fn one_of_several_rows_is_chosen_by_its_key() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"mine");
    let json = json!({"kvs": [
        {"key": STANDARD.encode("/registry/secrets/default/other"), "value": ""},
        {"key": STANDARD.encode(ETCD_KEY), "value": STANDARD.encode(&row)},
    ]});
    let text = json.to_string();
    let open = [
        "value",
        "open",
        "--format",
        "etcdctl-json",
        "--keyring",
        "keyring",
    ];
    fixture
        .kdc_with_input(&open, text.as_bytes())
        .fails(64, "2 rows: say which");
    let named = [&open[..], &["--etcd-key", ETCD_KEY]].concat();
    assert_eq!(
        fixture
            .kdc_with_input(&named, text.as_bytes())
            .succeeds()
            .stdout,
        b"mine"
    );
    let absent = [&open[..], &["--etcd-key", "/none"]].concat();
    fixture
        .kdc_with_input(&absent, text.as_bytes())
        .fails(66, "no row `/none`");
    fixture
        .kdc_with_input(&open, br#"{"header":{}}"#)
        .fails(66, "no row");
}

#[test]
fn inspect_needs_no_key() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(&object());
    fixture.write("row", &row);
    let seen = fixture.kdc(&[
        "value",
        "inspect",
        "--file",
        "row",
        "--etcd-key",
        ETCD_KEY,
        "--output",
        "json",
    ]);
    let seen = seen.succeeds().json();
    let list = fixture
        .kdc(&["keyring", "list", "keyring", "--output", "json"])
        .json();
    assert_eq!(seen["provider"], "kms-v2");
    assert_eq!(seen["name"], "local");
    assert_eq!(seen["encrypted"], true);
    assert_eq!(seen["etcdKey"], ETCD_KEY);
    assert_eq!(seen["keyId"], list["versions"][0]["keyId"]);
    assert_eq!(seen["dekSource"]["type"], "HKDF_SHA256_XNONCE_AES_GCM_SEED");
    assert_eq!(seen["bytes"]["value"], row.len());
    assert_eq!(seen["bytes"]["plaintext"], 256);
    let text = fixture
        .kdc(&["value", "inspect", "--file", "row"])
        .succeeds()
        .text();
    assert!(text.contains("provider             kms-v2\n"), "{text}");
    assert!(text.contains("plaintext            256 bytes\n"), "{text}");
}

#[test]
fn a_plain_value_is_shown_as_such() {
    let fixture = Fixture::with_keyring();
    let run = fixture.kdc_with_input(&["value", "inspect"], b"k8s\0object");
    assert!(
        run.succeeds()
            .text()
            .contains("identity (not encrypted, protobuf)")
    );
    let run = fixture.kdc_with_input(&["value", "open", "--keyring", "keyring"], b"{\"a\":1}");
    assert_eq!(
        (run.code, run.stdout.as_slice()),
        (0, b"{\"a\":1}".as_slice())
    );
    assert_eq!(run.stderr, "kdc: note: the value is not encrypted\n");
}

#[test]
fn a_root_secret_opens_rows_too() {
    let fixture = Fixture::new();
    fixture.write("root", [9; 32]);
    let kek = LocalKek::new(root_secret::load(&fixture.path("root")).unwrap()).unwrap();
    let row = seal(&kek, b"object", "");
    let open = [
        "value",
        "open",
        "--root-secret",
        "root",
        "--etcd-key",
        ETCD_KEY,
    ];
    assert_eq!(
        fixture.kdc_with_input(&open, &row).succeeds().stdout,
        b"object"
    );
    fixture.write("root", [9; 31]);
    fixture
        .kdc_with_input(&open, &row)
        .fails(65, "31 bytes; a root secret has exactly 32");
}

#[test]
fn a_row_of_another_cluster_needs_its_name() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row_of_cluster(b"object", "tenant-1");
    let open = [
        "value",
        "open",
        "--keyring",
        "keyring",
        "--etcd-key",
        ETCD_KEY,
    ];
    fixture
        .kdc_with_input(&open, &row)
        .fails(65, "another --cluster name");
    let named = [&open[..], &["--cluster", "tenant-1"]].concat();
    assert_eq!(
        fixture.kdc_with_input(&named, &row).succeeds().stdout,
        b"object"
    );
    let socket = [
        "value",
        "open",
        "--socket",
        "/x",
        "--cluster",
        "tenant-1",
        "--etcd-key",
        ETCD_KEY,
    ];
    fixture.kdc_with_input(&socket, &row).fails(64, "--cluster");
}

#[test]
fn a_running_plugin_opens_rows() {
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    let socket = fixture.socket();
    let open = [
        "value",
        "open",
        "--socket",
        &socket,
        "--etcd-key",
        ETCD_KEY,
        "--timeout",
        "500ms",
    ];
    fixture
        .kdc_with_input(&open, &row)
        .fails(69, "does the plugin run?");
    let _plugin = fixture.serve();
    assert_eq!(
        fixture.kdc_with_input(&open, &row).succeeds().stdout,
        b"object"
    );
}

#[test]
fn every_provider_of_a_configuration_opens_its_values() {
    let fixture = Fixture::with_keyring();
    fixture.write("config", CONFIG.replace("SOCKET", &fixture.socket()));
    let name = |name: &str| KeyName::new(name).unwrap();
    let key = SecretBytes::new(vec![7; 32]);
    let gcm = aesgcm::Key::new(name("gcm"), &key).unwrap();
    let cbc = aescbc::Key::new(name("cbc"), &key).unwrap();
    let boxed = secretbox::Key::new(name("box"), &key).unwrap();
    let open = [
        "value",
        "open",
        "--encryption-config",
        "config",
        "--etcd-key",
        ETCD_KEY,
    ];
    let opened = |value: &[u8]| {
        let run = fixture.kdc_with_input(&open, value);
        assert_eq!(run.code, 0, "{}", run.stderr);
        (run.stdout, run.stderr)
    };
    let silently = |object: &[u8]| (object.to_vec(), String::new());
    assert_eq!(
        opened(&gcm.seal(b"gcm", ETCD_KEY.as_bytes()).unwrap()),
        silently(b"gcm")
    );
    assert_eq!(opened(&boxed.seal(b"box").unwrap()), silently(b"box"));
    assert_eq!(opened(b"{}"), silently(b"{}"));
    let (object, note) = opened(&cbc.seal(b"cbc").unwrap());
    assert_eq!(object, b"cbc");
    assert!(
        note.starts_with("kdc: note: aescbc does not authenticate"),
        "{note}"
    );

    let row = fixture.row(b"kms");
    let with_keyring = [&open[..], &["--keyring", "keyring"]].concat();
    assert_eq!(
        fixture
            .kdc_with_input(&with_keyring, &row)
            .succeeds()
            .stdout,
        b"kms"
    );
    let _plugin = fixture.serve();
    assert_eq!(opened(&row), silently(b"kms"));
}

#[test]
fn decode_shows_the_object_as_yaml() {
    let fixture = Fixture::with_keyring();
    let custom =
        br#"{"apiVersion":"example.com/v1","kind":"Widget","spec":{"text":"\u001b[31m","count":1}}"#;
    let open = [
        "value",
        "open",
        "--keyring",
        "keyring",
        "--etcd-key",
        ETCD_KEY,
        "--decode",
    ];
    let yaml = fixture
        .kdc_with_input(&open, &fixture.row(custom))
        .succeeds()
        .text();
    assert_eq!(
        yaml,
        "apiVersion: example.com/v1\nkind: Widget\nspec:\n  count: 1\n  text: \"\\e[31m\"\n"
    );
    fixture
        .kdc_with_input(&open, &fixture.row(b"k8s\0\xff"))
        .fails(65, "malformed protobuf message runtime.Unknown");
    fixture
        .kdc_with_input(&open, &fixture.row(b"bare text"))
        .fails(65, "neither Kubernetes protobuf nor JSON");
}
