//! Settings, sockets, and the files of kube-apiserver, which need no OpenBao.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use super::api_server;
use super::fixture::{Diagnosis, Patient, grant, server, token};
use crate::fixture::set_mode;
use kdc_testbed::bao::Bao;
use kdc_testbed::encryption_config::with_providers;

fn kms(socket: &Path) -> Value {
    json!({"kms": {
        "apiVersion": "v2",
        "name": "kube-dc-kms-plugin",
        "endpoint": format!("unix://{}", socket.display()),
    }})
}

#[test]
fn settings_and_files_are_looked_at_first() {
    let patient = Patient::with_keyring();
    let key = ["--keyring", "keyring"];
    patient
        .examine(&key)
        .passes("key-file", "OpenBao is not asked")
        .passes("socket", "not there")
        .only(&[]);
    let file = |content: &str| patient.file("kms-plugin.yaml", content);
    let config = file("keyring: keyring\nsocket: kms.sock\n");
    let config = config.to_str().unwrap();
    let examine = || patient.examine(&["--config", config]);
    examine()
        .passes("settings", "complete, for `kube-dc-kms-plugin`")
        .only(&[]);
    set_mode(Path::new(config), 0o664);
    examine().warns("settings", "others can write it", "chmod go-w");
    set_mode(Path::new(config), 0o600);
    file("keyrings: keyring\n");
    examine().fails("settings", "unknown field `keyrings`", "correct it");
    file("bao-address: https://bao:8200\nbao-auth: token\n");
    examine()
        .fails(
            "settings",
            "--bao-key is missing: a key in OpenBao has a name",
            "bao write -f",
        )
        .fails("settings", "--bao-token-file is missing", "correct it")
        .skips("login", "the settings are not complete");
    file(
        "bao-address: https://bao:8200\nbao-key: etcd\nbao-auth: token\nbao-token-file: s.aBcDeFgHiJkLmNoPqRsT\n",
    );
    let run = patient.run(&["--config", config]);
    assert!(!run.text().contains("aBcDeFg"), "{}", run.text());
    assert!(
        run.text().contains("looks like the credential itself"),
        "{}",
        run.text()
    );
    let run = patient.run(&["--bao-auth", "s.aBcDeFgHiJkLmNoPqRsT"]);
    run.fails(64, "--bao-auth");
    assert!(!run.stderr.contains("aBcDeFg"), "{}", run.stderr);
    patient
        .examine(&["--config", "missing"])
        .fails("settings", "No such file", "correct it");
    patient
        .examine(&["--keyring", "missing"])
        .fails("key-file", "No such file", "keyring init");
}

#[test]
fn sockets_are_looked_at_from_outside() {
    let patient = Patient::with_keyring();
    let key = ["--keyring", "keyring", "--socket"];
    let examine = |socket: &str| patient.examine_as_it_is(&[&key[..], &[socket]].concat());
    let path = |name: &str| patient.fixture.path(name);
    fs::create_dir(path("open")).unwrap();
    set_mode(&path("open"), 0o777);
    for (socket, detail, cure) in [
        (
            "nowhere/kms.sock",
            "does not exist",
            "create it with mode 0750",
        ),
        (
            "open/kms.sock",
            "writable by everybody",
            "a folder of its own",
        ),
        ("keyring", "is not a socket", "remove it"),
    ] {
        examine(socket)
            .fails("socket-folder", detail, cure)
            .skips("plugin", "`socket-folder` failed");
    }
    examine("@kdc-doctor-nobody")
        .passes("socket-folder", "abstract")
        .passes("socket", "no process listens");
    drop(UnixListener::bind(path("stale.sock")).unwrap());
    examine("stale.sock").skips("plugin", "no process listens");
    let _plugin = patient.fixture.serve();
    examine("kms.sock")
        .passes("plugin", "healthy, key id local-v1-")
        .only(&[]);
    if rustix::process::geteuid().is_root() {
        fs::create_dir(path("foreign")).unwrap();
        std::os::unix::fs::chown(path("foreign"), Some(4_321), None).unwrap();
        examine("foreign/kms.sock")
            .warns("socket-folder", "belongs to user 4321", "another user")
            .passes("socket", "not there");
    }
}

#[test]
fn a_process_that_is_no_plugin_is_a_failure() {
    let patient = Patient::with_keyring();
    let listener = UnixListener::bind(patient.fixture.path("kms.sock")).unwrap();
    // Every client that connects is hung up on, for as long as the test runs.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    patient
        .examine(&["--keyring", "keyring"])
        .passes("socket", "process ")
        .fails("plugin", "Status: ", "kdc plugin check");
}

fn identity() -> Value {
    json!({"identity": {}})
}

/// A configuration of two resources, looked at for the socket in the folder.
fn examine_providers(patient: &Patient, providers: &[Value]) -> Diagnosis {
    let resources = ["secrets", "configmaps"];
    examine_configuration(patient, &with_providers(&resources, providers))
}

fn examine_configuration(patient: &Patient, config: &str) -> Diagnosis {
    let file = patient.file("encryption.yaml", config);
    let file = ["--encryption-config", file.to_str().unwrap()];
    patient.examine(&[&["--keyring", "keyring"], &file[..]].concat())
}

#[test]
fn encryption_configurations_are_held_against_the_socket() {
    let patient = Patient::with_keyring();
    let socket = patient.fixture.path("kms.sock");
    let of = |providers: &[Value]| examine_providers(&patient, providers);
    let ours = || kms(&socket);
    of(&[ours(), identity()])
        .passes("kms-provider", "`kube-dc-kms-plugin`, KMS v2")
        .passes("provider-order", "first: writes secrets, configmaps")
        .passes("provider-timeout", "3s")
        .passes("identity", "is last")
        .only(&[]);
    let others = "there are `unix:///run/other/kms.sock`";
    let endpoint = format!("unix://{}", socket.display());
    of(&[kms(Path::new("/run/other/kms.sock")), identity()])
        .fails("kms-provider", others, &endpoint)
        .skips("identity", "`kms-provider` failed");
    let writers = "secrets by `identity`, configmaps by `identity`";
    of(&[identity(), ours()])
        .warns("provider-order", writers, "rewrite all objects")
        .warns("identity", "not the last provider", "move `identity`");
    of(&[ours()]).warns("identity", "cannot be read", "identity: {}");
}

#[test]
fn values_that_kube_apiserver_should_not_have_are_named() {
    let patient = Patient::with_keyring();
    let with = |field: &str, value: Value| {
        let mut provider = kms(&patient.fixture.path("kms.sock"));
        provider["kms"][field] = value;
        examine_providers(&patient, &[provider, identity()])
    };
    with("timeout", json!("1s")).warns("provider-timeout", "1s", "timeout: 3s");
    with("timeout", json!("30s")).warns("provider-timeout", "30s", "timeout: 3s");
    with("apiVersion", json!("v1")).fails("kms-provider", "KMS v1", "apiVersion: v2");
    let check = "encryption-config";
    with("cachesize", json!(9)).fails(check, "cachesize: not supported by KMS v2", "remove it");
    let no_configuration = examine_configuration(&patient, "kind: Pod\n");
    no_configuration.fails(check, "no EncryptionConfiguration", "apiVersion");
    let missing = ["--keyring", "keyring", "--encryption-config", "missing"];
    patient
        .examine(&missing)
        .fails(check, "No such file", "--encryption-config");
}

/// A manifest with one thing changed.
fn examine_manifest(from: &str, to: &str) -> Diagnosis {
    let patient = Patient::with_keyring();
    let socket = patient.fixture.path("kms.sock");
    let [config, manifest] = api_server(&patient, &socket);
    let good = fs::read_to_string(&manifest).unwrap();
    let folder = socket.parent().unwrap().to_str().unwrap();
    let from = from.replace("FOLDER", folder);
    assert!(good.contains(&from), "{from} is not in {good}");
    fs::write(&manifest, good.replace(&from, to)).unwrap();
    let files = [
        ["--encryption-config", &config],
        ["--apiserver-manifest", &manifest],
    ];
    patient.examine(&[&["--keyring", "keyring"], files.concat().as_slice()].concat())
}

#[test]
fn manifests_of_kube_apiserver_are_held_against_files_and_socket() {
    let (config, mount) = ("apiserver-config", "apiserver-mount");
    for (from, to, check, detail, cure) in [
        (
            "--encryption-provider-config=",
            "--other=",
            config,
            "nothing is encrypted",
            "add --encryption-provider-config=FILE",
        ),
        (
            "=/etc/kms/",
            "=/etc/other/",
            config,
            "not on any volume",
            "mount the folder",
        ),
        (
            "encryption.yaml",
            "keyring",
            config,
            "is another file than",
            "correct the flag",
        ),
        (
            "{\"mountPath\":\"FOLDER\",\"name\":\"kms\"},",
            "",
            mount,
            "is not mounted into kube-apiserver",
            "hostPath volume",
        ),
        ("Pod", "Pod", "apiserver-probes", "", ""),
    ] {
        let found = examine_manifest(from, to);
        match detail {
            "" => found.passes(mount, "volume `kms`").only(&[]),
            detail => found.fails(check, detail, cure).only(&[check]),
        }
    }
    examine_manifest("automatic-reload=true", "automatic-reload=false").warns(
        "apiserver-reload",
        "needs a restart",
        "automatic-reload=true",
    );
    let probes = "apiserver-probes";
    examine_manifest("/livez", "/healthz").warns(probes, "fails with the plugin", "/livez");
    examine_manifest("/livez", "/livez?exclude=kms-provider-0").passes(probes, "not needed since");
}

#[test]
fn a_file_with_the_command_line_of_kube_apiserver_will_do() {
    let patient = Patient::with_keyring();
    let [config, _] = api_server(&patient, &patient.fixture.path("kms.sock"));
    let examine = |text: &str| {
        let file = patient.file("command-line", text);
        let file = file.to_str().unwrap();
        let files = ["--encryption-config", &config, "--apiserver-manifest", file];
        patient.examine(&[&["--keyring", "keyring"], &files[..]].concat())
    };
    examine(&format!(
        "/usr/bin/kube-apiserver\0--encryption-provider-config={config}\0"
    ))
    .passes("apiserver", "command line")
    .passes("apiserver-config", "encryption.yaml")
    .warns("apiserver-reload", "off", "add")
    .skips("apiserver-mount", "no pod")
    .only(&[]);
    examine("hello").cannot_tell("apiserver", "nothing in it starts", "command line");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_keys_are_told_apart_and_their_servers_looked_at_once() {
    let bao = server(Bao::options()).await;
    let mut patient = Patient::with_keyring();
    let good = token(bao.root(), &grant()).await;
    let file = patient.secret("token", &good);
    let settings = json!({
        "bao-address": bao.address(),
        "bao-insecure-http": true,
        "bao-auth": "token",
        "bao-token-file": file,
        "keys": [
            {"name": "a", "socket": patient.fixture.path("a.sock"), "bao-key": "etcd"},
            {"name": "b", "socket": patient.fixture.path("b.sock"), "bao-key": "other"},
            {"name": "c", "socket": patient.fixture.path("c.sock"), "keyring": patient.fixture.path("keyring")},
        ],
    });
    let config = patient.file("kms-plugin.yaml", &settings.to_string());
    let found = patient.examine_as_it_is(&["--config", config.to_str().unwrap()]);
    let with_key = |check: &str| -> Vec<&str> {
        found
            .of(check)
            .iter()
            .map(|result| result["key"].as_str().unwrap())
            .collect()
    };
    assert_eq!(with_key("login"), ["a", "b"]);
    assert_eq!(with_key("key-file"), ["c"]);
    assert_eq!(with_key("socket"), ["a", "b", "c"]);
    found
        .passes("health", "unsealed")
        .skips("health", "looked at for key `a`");
    found.fails("may-read-key", "do not grant `read`", "transit/keys/other");
}
