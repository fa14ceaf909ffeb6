//! S3 servers that fail for ever: each verb ends in time, with one line, and with the exit code that says so. An etcd that goes away in the
//! middle of a run is asked again.

use std::io::{self, Read as _};
use std::iter;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use kdc_testbed::Proxy;
use kdc_testbed::proxy::{Fault, Rule};

use crate::backup_fixture::{BackupFixture, Place};

/// What `docs/buckets.md` promises.
const LIMIT: Duration = Duration::from_secs(120);
const PROD: [&str; 4] = ["--cluster", "prod", "--keyring", "keyring"];

/// One verb against a server to which something befalls for ever.
struct Case<'c> {
    rule: Rule,
    verb: &'static str,
    more: &'c [&'c str],
    words: &'static str,
}

fn case<'c>(rule: impl Into<Rule>, verb: &'static str, more: &'c [&'c str]) -> Case<'c> {
    Case {
        rule: rule.into(),
        verb,
        more,
        words: "keeps failing",
    }
}

impl Case<'_> {
    fn ends(self, backups: &BackupFixture) {
        let begin = Instant::now();
        let endpoint = backups.endpoint().unwrap();
        let proxy = backups.runtime.block_on(Proxy::start(endpoint)).unwrap();
        proxy.set(self.rule);
        let address = proxy.address();
        let more = [&["--s3-endpoint", &address][..], self.more].concat();
        backups.run(self.verb, &more).fails(69, self.words);
        let elapsed = begin.elapsed();
        assert!(elapsed < LIMIT, "{}: {elapsed:?}", self.verb);
    }
}

#[test]
fn a_server_that_fails_for_ever_ends_each_verb_in_one_line() {
    let backups = &BackupFixture::new(Place::S3);
    let etcd = backups.etcd_with_rows();
    etcd.save_snapshot(&backups.fixture.path("saved.db"))
        .unwrap();
    backups.fixture.write("long.db", vec![7; 20 << 20]);
    for id in ["one", "two"] {
        let seal = ["saved.db", "--snapshot", id];
        backups.on_prod("seal", &seal).succeeds();
    }
    backups.rotate();
    let always = || Fault::status(500, "x");
    let open = |out| [&PROD[..], &["--out", out]].concat();
    let (opened, cut) = (open("opened.db"), open("cut.db"));
    // All run at once, so each has an id of its own.
    let named = |id, more: &[&'static str]| [&PROD[..], &["--snapshot", id], more].concat();
    let seal = named("sealed", &["saved.db"]);
    let parts = named("parts", &["long.db", "--without-checksum"]);
    let posts = named("posts", &["long.db", "--without-checksum"]);
    let etcd = ["--etcd-endpoints", etcd.endpoint()];
    let run = [&named("run", &[])[..], &etcd].concat();
    let puts = [&named("puts", &[])[..], &etcd].concat();
    let cases = [
        case(always(), "list", &[]),
        case(always(), "inventory", &[]),
        case(always(), "verify", &PROD),
        case(always(), "open", &opened),
        case(always(), "seal", &seal),
        case(always(), "run", &run),
        case(always(), "rewrap", &PROD),
        case(always(), "prune", &["--keep-last", "1", "--yes"]),
        // From the middle on.
        case(always().on("partNumber"), "seal", &parts),
        case(always().on("POST"), "seal", &posts),
        case(always().on("PUT"), "run", &puts),
        case(always().on("PUT"), "rewrap", &PROD),
        case(
            always().on("DELETE"),
            "prune",
            &["--keep-last", "1", "--yes"],
        ),
        Case {
            words: "does not answer",
            ..case(Fault::TruncateBody(0).on("snapshot.db.enc"), "open", &cut)
        },
    ];
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| case.ends(backups));
        }
    });
    for file in ["opened.db", "cut.db"] {
        assert!(!backups.fixture.path(file).exists(), "{file}");
    }
    // Nothing was lost, and nothing half done looks whole.
    let verify = ["--all", "--full", "--output", "json"];
    let verdicts = backups.on_prod("verify", &verify).succeeds().json();
    assert_eq!(verdicts.as_array().unwrap().len(), 2);
}

/// A way to a server that breaks on the first connection, after so many bytes of answers.
fn breaking_relay(server: &str, limit: u64) -> String {
    let server = server.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let limits = iter::once(limit).chain(iter::repeat(u64::MAX));
        for (client, limit) in listener.incoming().zip(limits) {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            // Errors are ends of connections, which are what this is for.
            thread::spawn(move || io::copy(&mut asks, &mut asked));
            thread::spawn(move || {
                let _ = io::copy(&mut (&server).take(limit), &mut (&client));
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

#[test]
fn a_run_that_loses_etcd_in_the_middle_is_tried_again() {
    for place in [Place::Folder, Place::S3] {
        let backups = BackupFixture::new(place);
        let etcd = backups.etcd_with_rows();
        let endpoint = breaking_relay(etcd.endpoint(), 100_000);
        let run = backups.on_prod("run", &["--etcd-endpoints", &endpoint]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains("try 1 of 3 failed"), "{}", run.stderr);
        let listed = backups.run("list", &["--output", "json"]).succeeds().json();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        backups.on_prod("verify", &["--full"]).succeeds();
        let endpoint = breaking_relay(etcd.endpoint(), 100_000);
        let once = ["--etcd-endpoints", &endpoint, "--tries", "1"];
        let run = backups.on_prod("run", &[&once[..], &["--snapshot", "lost"]].concat());
        assert_ne!(run.code, 0);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(!backups.has("prod/lost"));
    }
}
