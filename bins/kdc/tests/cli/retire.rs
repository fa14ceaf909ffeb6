//! `kdc keyring retire` with a real etcd: what keeps a key, and what proves that nothing needs it.

use std::net::{Shutdown, TcpListener, TcpStream};

use kdc_testbed::Etcd;

use crate::etcd::fill;
use crate::fixture::{ETCD_KEY, Fixture, runtime};

/// A keyring with two versions, the second of which writes, and the key id of the first.
pub(crate) fn two_versions(fixture: &Fixture) -> String {
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    fixture.kdc(&["keyring", "promote", "keyring"]).succeeds();
    let list = fixture.kdc(&["keyring", "list", "keyring", "--output", "json"]);
    list.json()["versions"][0]["keyId"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn retire<'a>(key_id: &'a str, endpoints: &'a str) -> [&'a str; 9] {
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
fn retire_is_refused_while_a_row_needs_the_key() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    fill(&runtime, &etcd, &fixture);
    let list = fixture
        .kdc(&["keyring", "list", "keyring", "--output", "json"])
        .json();
    let key_id = list["versions"][0]["keyId"].as_str().unwrap();
    let retire = retire(key_id, etcd.endpoint());
    let before = fixture.snapshot();
    fixture.kdc(&retire).fails(
        1,
        &format!("231 of 234 rows in etcd need key id `{key_id}`, the first one at `/registry/"),
    );
    let elsewhere = [&retire[..], &["--etcd-prefix", "/registri/"]].concat();
    fixture.kdc(&elsewhere).fails(
        66,
        "no row under `/registri/`; API servers have objects under /registry",
    );
    let down = retire.map(|word| match word.starts_with("http") {
        true => "http://127.0.0.1:1",
        false => word,
    });
    fixture.kdc(&down).fails(69, "cannot connect to etcd");
    runtime.block_on(async {
        for number in 0..230 {
            etcd.delete(&format!("/registry/secrets/default/s{number:03}"))
                .await
                .unwrap();
        }
    });
    let outside = "1 of 4 rows in etcd need key id";
    fixture.kdc(&retire).fails(1, outside);
    let narrow = [&retire[..], &["--etcd-prefix", "/registry/"]].concat();
    fixture
        .kdc(&narrow)
        .fails(1, "the first one at `/registry2/secrets/outside`");
    runtime.block_on(async {
        etcd.delete("/registry2/secrets/outside").await.unwrap();
        etcd.put("/registry/secrets/default/bad", b"k8s:enc:kms:v2:x:\xff")
            .await
            .unwrap();
    });
    fixture
        .kdc(&retire)
        .fails(1, "the row at `/registry/secrets/default/bad` is damaged");
    assert_eq!(fixture.snapshot(), before);
    runtime.block_on(async {
        etcd.delete("/registry/secrets/default/bad").await.unwrap();
        // What other programs keep in the same etcd needs no key.
        etcd.put("/locks/leader", b"").await.unwrap();
        etcd.put("/app/state", b"anything").await.unwrap();
    });
    assert!(
        fixture
            .kdc(&retire)
            .succeeds()
            .text()
            .contains("none of the 5 rows in etcd needed it")
    );
}

#[test]
fn a_row_of_another_api_server_in_the_same_etcd_keeps_its_key() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let row = fixture.row(b"object");
    let key_id = two_versions(&fixture);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let foreign = Fixture::with_keyring().row(b"other");
    runtime.block_on(async {
        let own = "/tenant_a/secrets/default/db";
        etcd.put(own, &row).await.unwrap();
        let other = "/registry/secrets/default/other";
        etcd.put(other, &foreign).await.unwrap();
    });
    let before = fixture.snapshot();
    let arguments = retire(&key_id, etcd.endpoint());
    fixture
        .kdc(&arguments)
        .fails(1, "the first one at `/tenant_a/secrets/default/db`");
    let forced = [&arguments[..], &["--force"]].concat();
    fixture
        .kdc(&forced)
        .fails(1, "1 of 2 rows in etcd need key id");
    assert_eq!(fixture.snapshot(), before);
}

#[test]
fn an_etcd_without_a_row_of_the_keyring_proves_nothing() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let key_id = two_versions(&fixture);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let before = fixture.snapshot();
    let arguments = retire(&key_id, etcd.endpoint());
    let forced = [&arguments[..], &["--force"]].concat();
    fixture
        .kdc(&forced)
        .fails(1, "etcd has no row at all, which proves nothing");
    let stranger = Fixture::with_keyring();
    runtime
        .block_on(etcd.put(ETCD_KEY, &stranger.row(b"other")))
        .unwrap();
    fixture
        .kdc(&arguments)
        .fails(1, "does not seem to be the one");
    let other = runtime.block_on(Etcd::start()).unwrap();
    let both = format!("{},{}", etcd.endpoint(), other.endpoint());
    fixture
        .kdc(&retire(&key_id, &both))
        .fails(64, "belong to different clusters");
    assert_eq!(fixture.snapshot(), before);
    fixture.kdc(&forced).succeeds();
}

/// A client that connects to etcd has read the keyring before. Then another one is put in its place.
#[test]
fn a_keyring_that_is_replaced_while_etcd_is_looked_through_loses_no_key() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let key_id = two_versions(&fixture);
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime
        .block_on(etcd.put(ETCD_KEY, &fixture.row(b"new")))
        .unwrap();
    let other = Fixture::with_keyring();
    two_versions(&other);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let address = etcd.endpoint().trim_start_matches("http://").to_owned();
    let replacement = other.read("keyring");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (client, _) = listener.accept().unwrap();
            fixture.write("replacement", &replacement);
            std::fs::rename(fixture.path("replacement"), fixture.path("keyring")).unwrap();
            pass_on(client, TcpStream::connect(&address).unwrap());
        });
        fixture.kdc(&retire(&key_id, &endpoint)).fails(
            1,
            "the file changed meanwhile: version 1 has another key id now",
        );
    });
    assert_eq!(fixture.read("keyring"), replacement);
}

/// Carries bytes both ways until one side ends.
fn pass_on(client: TcpStream, server: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    };
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let back = std::thread::spawn(move || copy(server, client));
    copy(from, to);
    back.join().unwrap();
}
