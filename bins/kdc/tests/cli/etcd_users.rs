//! A real etcd that asks for users.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use kdc_testbed::Etcd;
use tokio::runtime::Runtime;

use crate::fixture::{ETCD_KEY, Fixture, runtime, set_mode};
use crate::retire::{retire, two_versions};

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

/// An etcd with users and the row of a keyring whose second version writes; and the key id of the first, which the row needs.
fn backups(runtime: &Runtime, fixture: &Fixture) -> (Etcd, String) {
    let row = fixture.row(b"object");
    let key_id = two_versions(fixture);
    fixture.write("root", "correct horse\n");
    fixture.write("reader", "battery");
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime.block_on(etcd.put(ETCD_KEY, &row)).unwrap();
    (etcd, key_id)
}

fn login<'a>(name: &'a str, file: &'a str) -> [&'a str; 4] {
    ["--etcd-user", name, "--etcd-password-file", file]
}

#[test]
fn etcd_with_users_is_read_with_name_and_password() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let (etcd, _) = backups(&runtime, &fixture);
    fixture.write("wrong", "staple");
    let open = [
        "value",
        "open",
        "--keyring",
        "keyring",
        "--etcd-key",
        ETCD_KEY,
    ];
    let at = ["--etcd-endpoints", etcd.endpoint()];
    let open = |more: &[&str]| fixture.kdc(&[&open[..], &at, more].concat());
    let unneeded = open(&login("root", "root"));
    assert_eq!((unneeded.code, &*unneeded.stdout), (0, &b"object"[..]));
    assert!(
        unneeded.stderr.contains("asks for no user"),
        "{}",
        unneeded.stderr
    );
    with_users(&etcd);
    for name in ["root", "reader"] {
        assert_eq!(open(&login(name, name)).succeeds().stdout, b"object");
    }
    open(&[]).fails(77, "asks for a user; name one with --etcd-user");
    open(&login("root", "wrong")).fails(77, "does not know user `root`");
    open(&login("root", "none")).fails(66, "none");
    open(&["--etcd-user", "root"]).fails(64, "--etcd-password-file");
    let shown = open(&login("root:hunter2", "root"));
    assert!(!shown.fails(64, "the name alone").stderr.contains("hunter2"));
    set_mode(&fixture.path("reader"), 0o644);
    open(&login("reader", "reader")).fails(77, "reader");
}

#[test]
fn what_a_user_may_not_read_is_not_known() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let (etcd, key_id) = backups(&runtime, &fixture);
    with_users(&etcd);
    let at = ["--etcd-endpoints", etcd.endpoint()];
    let count = |prefix, name| {
        let inspect = ["value", "inspect", "--etcd-prefix", prefix];
        fixture.kdc(&[&inspect[..], &at, &login(name, name)].concat())
    };
    let seen = count("/registry/", "reader").succeeds().text();
    assert!(seen.contains("; others were not read"), "{seen}");
    count("", "root").succeeds();
    count("", "reader").fails(77, "does not let user `reader` read that");
    let retire = |name| {
        let retire = retire(&key_id, etcd.endpoint());
        fixture.kdc(&[&retire[..], &login(name, name)].concat())
    };
    retire("reader").fails(77, "`reader`");
    retire("root").fails(1, "need key id");
    let run = |name| {
        let to = [
            "--bucket",
            "bucket",
            "--cluster",
            "c",
            "--keyring",
            "keyring",
        ];
        fixture.kdc(&[&["backup", "run"][..], &at, &to, &login(name, name)].concat())
    };
    run("reader").fails(77, "gives snapshots to users with the role root alone");
    assert!(run("root").text().contains("rows      "));
}

/// The proxy holds the first question back for longer than a token lives.
#[test]
fn a_token_that_ended_is_asked_for_anew() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let etcd = Etcd::start_with_flags(&["--auth-token-ttl=1"]);
    let etcd = runtime.block_on(etcd).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &fixture.row(b"object")))
        .unwrap();
    with_users(&etcd);
    fixture.write("reader", "battery");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let address = etcd.endpoint().trim_start_matches("http://").to_owned();
    let logins = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect(&address).unwrap();
            hold_back(client, server, &logins);
        });
        let open = [
            "value",
            "open",
            "--keyring",
            "keyring",
            "--etcd-key",
            ETCD_KEY,
        ];
        let login = login("reader", "reader");
        let from = ["--etcd-endpoints", &endpoint, "--etcd-timeout", "60s"];
        let run = fixture.kdc(&[&open[..], &from, &login].concat());
        assert_eq!(run.succeeds().stdout, b"object");
    });
    assert_eq!(logins.load(Ordering::SeqCst), 2);
}

/// Carries bytes both ways. After the first token all that the client sends waits until etcd has forgotten the token.
fn hold_back(mut client: TcpStream, mut server: TcpStream, logins: &AtomicUsize) {
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut has_held = false;
            let mut buffer = vec![0; 1 << 16];
            while let Ok(len) = from_client.read(&mut buffer) {
                if logins.load(Ordering::SeqCst) == 1 && !has_held {
                    has_held = true;
                    std::thread::sleep(std::time::Duration::from_secs(4));
                }
                if len == 0 || to_server.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len @ 1..) = server.read(&mut buffer) {
            logins.fetch_add(tokens(&buffer[..len]), Ordering::SeqCst);
            if client.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// How often there is a simple token: sixteen letters, a dot, and the index of etcd's log.
fn tokens(bytes: &[u8]) -> usize {
    let is_token = |window: &&[u8]| {
        let (letters, rest) = window.split_at(16);
        let is_index = rest[0] == b'.' && rest[1].is_ascii_digit();
        is_index && letters.iter().all(u8::is_ascii_alphabetic)
    };
    bytes.windows(18).filter(is_token).count()
}
