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
    let bare = endpoint.trim_start_matches("https://");
    let bare = base.map(|word| if word == endpoint { bare } else { word });
    let bare = scene.kdc(&[&bare[..], &full].concat());
    assert_eq!(bare.succeeds().stdout, b"object", "https, as there is TLS");

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
    inspect("localhost").fails(64, "has no port");
    inspect("").fails(64, "an address is empty");
    inspect("ftp://localhost").fails(64, "neither http nor https");
    inspect("unix:///run/etcd.sock").fails(64, "is a Unix socket");
    inspect("http://127.0.0.1:1").fails(69, "cannot connect to etcd");
    inspect("127.0.0.1:1").fails(69, "`http://127.0.0.1:1`");
    let with_user = inspect("http://root:hunter2@127.0.0.1:1");
    let with_user = with_user.fails(64, "--etcd-password-file");
    assert!(!with_user.stderr.contains("hunter2"));
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
    assert_eq!((&json["rows"], &json["notLookedAt"]), (&233.into(), &1.into()));
    let groups = json["groups"].as_array().unwrap();
    let rows = |provider: &str| -> Vec<u64> {
        let of = groups.iter().filter(|group| group["provider"] == provider);
        of.map(|group| group["rows"].as_u64().unwrap()).collect()
    };
    assert_eq!((rows("identity"), rows("aesgcm")), (vec![1], vec![1]));
    assert_eq!(rows("kms-v2"), [230, 1], "ordered by key id");
    let table = scene.kdc(&survey).succeeds().text();
    let line = "233 rows under /registry/; 1 rows elsewhere were not looked at";
    assert!(table.contains(line), "{table}");
    let all = survey.map(|word| if word == "/registry/" { "" } else { word });
    let table = scene.kdc(&all).succeeds().text();
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
        &format!("231 of 234 rows in etcd need key id `{key_id}`, the first one at `/registry/"),
    );
    let elsewhere = [&retire[..], &["--etcd-prefix", "/registri/"]].concat();
    scene.kdc(&elsewhere).fails(66, "no row under `/registri/`; API servers have objects under /registry");
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
    });
    let outside = "1 of 4 rows in etcd need key id";
    scene.kdc(&retire).fails(1, outside);
    let narrow = [&retire[..], &["--etcd-prefix", "/registry/"]].concat();
    scene.kdc(&narrow).fails(1, "the first one at `/registry2/secrets/outside`");
    runtime.block_on(async {
        etcd.delete("/registry2/secrets/outside").await.unwrap();
        etcd.put("/registry/secrets/default/bad", b"k8s:enc:kms:v2:x:\xff")
            .await
            .unwrap();
    });
    scene
        .kdc(&retire)
        .fails(1, "the row at `/registry/secrets/default/bad` is damaged");
    assert_eq!(scene.snapshot(), before);
    runtime.block_on(async {
        etcd.delete("/registry/secrets/default/bad").await.unwrap();
        // What other programs keep in the same etcd needs no key.
        etcd.put("/locks/leader", b"").await.unwrap();
        etcd.put("/app/state", b"anything").await.unwrap();
    });
    assert!(
        scene
            .kdc(&retire)
            .succeeds()
            .text()
            .contains("none of the 5 rows in etcd needed it")
    );
}

/// A keyring with two versions, the second of which writes, and the key id of the first.
fn two_versions(scene: &Scene) -> String {
    scene.kdc(&["keyring", "add", "keyring"]).succeeds();
    scene.kdc(&["keyring", "promote", "keyring"]).succeeds();
    let list = scene.kdc(&["keyring", "list", "keyring", "--output", "json"]);
    list.json()["versions"][0]["keyId"].as_str().unwrap().to_owned()
}

fn retire<'a>(key_id: &'a str, endpoints: &'a str) -> [&'a str; 9] {
    [
        "keyring",
        "retire",
        "keyring",
        "--version",
        "1",
        "--confirm",
        key_id,
        "--etcd-endpoints",
        endpoints,
    ]
}

#[test]
fn a_row_of_another_api_server_in_the_same_etcd_keeps_its_key() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let row = scene.row(b"object");
    let key_id = two_versions(&scene);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let foreign = Scene::with_keyring().row(b"other");
    runtime.block_on(async {
        let own = "/tenant_a/secrets/default/db";
        etcd.put(own, &row).await.unwrap();
        let other = "/registry/secrets/default/other";
        etcd.put(other, &foreign).await.unwrap();
    });
    let before = scene.snapshot();
    let arguments = retire(&key_id, etcd.endpoint());
    scene.kdc(&arguments).fails(1, "the first one at `/tenant_a/secrets/default/db`");
    let forced = [&arguments[..], &["--force"]].concat();
    scene.kdc(&forced).fails(1, "1 of 2 rows in etcd need key id");
    assert_eq!(scene.snapshot(), before);
}

#[test]
fn an_etcd_without_a_row_of_the_keyring_proves_nothing() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let key_id = two_versions(&scene);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let before = scene.snapshot();
    let arguments = retire(&key_id, etcd.endpoint());
    let forced = [&arguments[..], &["--force"]].concat();
    scene.kdc(&forced).fails(1, "etcd has no row at all, which proves nothing");
    let stranger = Scene::with_keyring();
    runtime
        .block_on(etcd.put(ETCD_KEY, &stranger.row(b"other")))
        .unwrap();
    scene.kdc(&arguments).fails(1, "does not seem to be the one");
    let other = runtime.block_on(Etcd::start()).unwrap();
    let both = format!("{},{}", etcd.endpoint(), other.endpoint());
    scene.kdc(&retire(&key_id, &both)).fails(64, "belong to different clusters");
    assert_eq!(scene.snapshot(), before);
    scene.kdc(&forced).succeeds();
}

/// Whoever connects to etcd has read the keyring before. Then another one is put in its place.
#[test]
fn a_keyring_that_is_replaced_while_etcd_is_looked_through_loses_no_key() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let key_id = two_versions(&scene);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &scene.row(b"new")))
        .unwrap();
    let other = Scene::with_keyring();
    two_versions(&other);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let address = etcd.endpoint().trim_start_matches("http://").to_owned();
    let replacement = other.read("keyring");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (client, _) = listener.accept().unwrap();
            scene.write("replacement", &replacement);
            std::fs::rename(scene.path("replacement"), scene.path("keyring")).unwrap();
            pass_on(client, std::net::TcpStream::connect(&address).unwrap());
        });
        scene
            .kdc(&retire(&key_id, &endpoint))
            .fails(1, "the file changed meanwhile: version 1 has another key id now");
    });
    assert_eq!(scene.read("keyring"), replacement);
}

/// Carries bytes both ways until one side ends.
fn pass_on(client: std::net::TcpStream, server: std::net::TcpStream) {
    let copy = |mut from: std::net::TcpStream, mut to: std::net::TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let back = std::thread::spawn(move || copy(server, client));
    copy(from, to);
    back.join().unwrap();
}

/// An etcd that asks for users: `root`, and `reader`, who may read `/registry/` alone.
fn with_users(etcd: &Etcd) {
    let etcdctl = |words: &[&str]| {
        let output = etcd.etcdctl().args(words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {stderr}");
    };
    etcdctl(&["user", "add", "root:correct horse"]);
    etcdctl(&["user", "grant-role", "root", "root"]);
    etcdctl(&["user", "add", "reader:battery"]);
    etcdctl(&["role", "add", "registry"]);
    let range = ["read", "/registry/", "/registry0"];
    etcdctl(&[&["role", "grant-permission", "registry"][..], &range].concat());
    etcdctl(&["user", "grant-role", "reader", "registry"]);
    etcdctl(&["auth", "enable"]);
}

#[test]
fn etcd_with_users_is_read_with_name_and_password() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    let row = scene.row(b"object");
    let key_id = two_versions(&scene);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let (at, user) = (["--etcd-endpoints", etcd.endpoint()], "--etcd-user");
    scene.write("root", "correct horse\n");
    scene.write("reader", "battery");
    scene.write("wrong", "staple");
    let login = |name, file| [user, name, "--etcd-password-file", file];
    runtime.block_on(etcd.put(ETCD_KEY, &row)).unwrap();
    let open = ["value", "open", "--keyring", "keyring", "--etcd-key", ETCD_KEY];
    let open = |more: &[&str]| scene.kdc(&[&open[..], &at, more].concat());
    let unneeded = open(&login("root", "root"));
    assert_eq!((unneeded.code, &*unneeded.stdout), (0, &b"object"[..]));
    assert!(unneeded.stderr.contains("asks for no user"), "{}", unneeded.stderr);
    with_users(&etcd);

    for name in ["root", "reader"] {
        assert_eq!(open(&login(name, name)).succeeds().stdout, b"object");
    }
    open(&[]).fails(77, "asks for a user; name one with --etcd-user");
    open(&login("root", "wrong")).fails(77, "does not know user `root`");
    open(&login("root", "none")).fails(66, "none");
    open(&[user, "root"]).fails(64, "--etcd-password-file");
    let shown = open(&login("root:hunter2", "root"));
    assert!(!shown.fails(64, "the name alone").stderr.contains("hunter2"));
    super::support::set_mode(&scene.path("reader"), 0o644);
    open(&login("reader", "reader")).fails(77, "reader");
    super::support::set_mode(&scene.path("reader"), 0o600);

    let count = |prefix, name| {
        let inspect = ["value", "inspect", "--etcd-prefix", prefix];
        scene.kdc(&[&inspect[..], &at, &login(name, name)].concat())
    };
    let seen = count("/registry/", "reader").succeeds().text();
    assert!(seen.contains("; others were not looked at"), "{seen}");
    count("", "root").succeeds();
    count("", "reader").fails(77, "does not let user `reader` read that");
    let retire = |name| {
        let retire = retire(&key_id, etcd.endpoint());
        scene.kdc(&[&retire[..], &login(name, name)].concat())
    };
    retire("reader").fails(77, "`reader`");
    retire("root").fails(1, "need key id");
    let run = |name| {
        let to = ["--bucket", "bucket", "--cluster", "c", "--keyring", "keyring"];
        scene.kdc(&[&["backup", "run"][..], &at, &to, &login(name, name)].concat())
    };
    run("reader").fails(77, "gives snapshots to users with the role root alone");
    assert!(run("root").text().contains("rows      "));
}

#[test]
fn what_etcdctl_prints_is_told_and_taken() {
    let runtime = runtime();
    let scene = Scene::with_keyring();
    // A line feed at the end, and in the middle, belong to it.
    let row = loop {
        let row = scene.row(b"object");
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
        scene.kdc_with_input(&[&open[..], more].concat(), input)
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
        let inspected = scene.kdc_with_input(&["value", "inspect"], &printed);
        assert!(!inspected.fails(65, "").text().contains("not encrypted"));
    }
    let hex = print(&[ETCD_KEY, "--hex", "--print-value-only"]);
    let taken = open(&["--format", "hex", "--etcd-key", ETCD_KEY], &hex);
    assert_eq!(taken.succeeds().stdout, b"object");
    for words in [vec![ETCD_KEY, "-w", "protobuf"], vec![ETCD_KEY, "--keys-only"]] {
        let refused = open(&["--etcd-key", ETCD_KEY], &print(&words));
        assert_eq!(refused.fails(65, "-w json").stdout, b"", "{words:?}");
    }
    runtime
        .block_on(etcd.put("/registry/secrets/default/two", &row))
        .unwrap();
    let two = print(&["--prefix", "/registry/secrets/"]);
    open(&["--format", "etcdctl"], &two).fails(65, "of several rows take `-w json`");
    open(&["--etcd-key", ETCD_KEY], &two).fails(65, "--format etcdctl");
    // Somebody wrote back what etcdctl had printed: ciphertext that no API server reads.
    let spoilt = print(&[ETCD_KEY]);
    runtime.block_on(etcd.put(ETCD_KEY, &spoilt)).unwrap();
    let from = ["--etcd-endpoints", etcd.endpoint(), "--etcd-key", ETCD_KEY];
    let spoilt = open(&from, b"");
    spoilt.fails(65, "`k8s:enc:` comes only after");
}
