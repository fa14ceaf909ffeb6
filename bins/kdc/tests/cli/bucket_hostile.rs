//! Answers of S3 servers that are none, and servers with habits of their own: each verb ends with one line and the right exit code, and
//! concludes nothing from what it did not see.

use std::process::Command;
use std::thread;

use kdc_testbed::Proxy;
use kdc_testbed::s3::hostile::{Asker, Hostile, answers};
use kdc_testbed::s3::{Double, Habit};

use crate::backup_fixture::{BackupFixture, Place, owned};
use crate::fixture::Run;

const PREFIX: &str = "etcd/daily/";
const PROD: [&str; 4] = ["--cluster", "prod", "--keyring", "keyring"];
/// Cases at a time.
const AT_ONCE: usize = 6;

#[test]
fn no_hostile_answer_is_believed() {
    let backups = &BackupFixture::new(Place::S3);
    backups.fixture.write("short.db", vec![7; 10_000]);
    backups.fixture.write("long.db", vec![7; 9 << 20]);
    for id in ["one", "two"] {
        let seal = ["short.db", "--without-checksum", "--snapshot", id];
        is_stored(&backups.on_prod("seal", &seal));
    }
    let cases = answers(PREFIX).unwrap();
    assert!(cases.len() > 50);
    for some in cases.chunks(AT_ONCE) {
        thread::scope(|scope| {
            for case in some {
                scope.spawn(|| meet(backups, case));
            }
        });
    }
    // Nothing was lost to any of them.
    let verdicts = backups.on_prod("verify", &["--all", "--full", "--output", "json"]);
    let verdicts = verdicts.succeeds().json();
    assert_eq!(verdicts.as_array().unwrap().len(), 2);
}

/// Every verb that asks what the answer is given to.
fn meet(backups: &BackupFixture, case: &Hostile) {
    let id = case.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let out = format!("{id}.db");
    let seal = |file| [&PROD[..], &[file, "--without-checksum", "--snapshot", &id]].concat();
    let verbs: Vec<(&str, Vec<&str>)> = match case.asker {
        Asker::List => vec![
            ("list", vec![]),
            ("inventory", vec![]),
            ("rewrap", vec!["--keyring", "keyring"]),
            ("prune", vec!["--keep-last", "1", "--yes"]),
            ("verify", [&PROD[..], &["--all"]].concat()),
        ],
        Asker::Store => vec![("seal", seal("short.db"))],
        Asker::StoreLong => vec![("seal", seal("long.db"))],
        Asker::ReadMetadata => vec![("list", vec![]), ("inventory", vec![])],
        Asker::ReadData => {
            let open = ["--snapshot", "one", "--out", &out];
            vec![("open", [&PROD[..], &open].concat())]
        }
        Asker::Delete => vec![("prune", vec!["--keep-last", "1", "--yes"])],
        _ => panic!("{}: no request asks for it", case.name),
    };
    for (verb, more) in verbs {
        let proxy = backups
            .runtime
            .block_on(Proxy::start(backups.endpoint().unwrap()))
            .unwrap();
        proxy.set(case.rule.clone());
        let address = proxy.address();
        let words = backups.words(verb, &[&["--s3-endpoint", &address][..], &more].concat());
        let run = in_a_gibibyte(backups, &words);
        let name = format!("{} / {verb}: {}", case.name, run.stderr);
        if case.asker == Asker::Delete {
            // It goes on with the next one, and tells of each that stays.
            assert!(run.code != 0 && run.stderr.contains(&case.words), "{name}");
            continue;
        }
        // Of one cluster: a listing of others is refused for that already.
        let words = if verb == "verify" { "" } else { &case.words };
        run.fails(case.exit, words);
        assert_eq!(run.text(), "", "{name}");
    }
}

/// What is stored here is no etcd, whose rows could be counted; a note says so.
fn is_stored(run: &Run) {
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// Runs it with as much memory as no answer may take.
fn in_a_gibibyte(backups: &BackupFixture, words: &[String]) -> Run {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let kdc = backups.fixture.command(&words);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -v 1048576; exec \"$0\" \"$@\""])
        .arg(kdc.get_program())
        .args(kdc.get_args())
        .current_dir(kdc.get_current_dir().unwrap());
    for (name, value) in kdc.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell.output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server with habits, and the flags that lead to it.
struct Odd {
    backups: BackupFixture,
    server: Double,
}

impl Odd {
    /// With three snapshots that were stored before it took up its habits.
    fn new(habits: &[Habit]) -> Self {
        let mut backups = BackupFixture::new(Place::Folder);
        backups.fixture.set_env("AWS_ACCESS_KEY_ID", "a");
        backups.fixture.set_env("AWS_SECRET_ACCESS_KEY", "b");
        backups.fixture.write("short.db", vec![7; 10_000]);
        backups.fixture.write("long.db", vec![7; 9 << 20]);
        let server = backups
            .runtime
            .block_on(Double::start("bucket", habits))
            .unwrap();
        for id in ["one", "two", "three"] {
            let seal = ["short.db", "--without-checksum", "--snapshot", id];
            is_stored(&backups.on_prod("seal", &seal));
            for file in ["snapshot.db.enc", "dek.wrapped", "metadata.json"] {
                let key = format!("prod/{id}/{file}");
                server.put(&key, &backups.read(&key));
            }
        }
        Self { backups, server }
    }

    fn run(&self, verb: &str, more: &[&str]) -> Run {
        let endpoint = self.server.endpoint();
        let flags = [
            "--bucket",
            "s3://bucket",
            "--s3-allow-http",
            "--s3-endpoint",
            &endpoint,
        ];
        let words = [&["backup", verb], &flags[..], more].concat();
        self.backups.run_words(&owned(&words))
    }

    fn seal(&self, file: &str, more: &[&str]) -> Run {
        let words = [file, "--without-checksum", "--snapshot", file];
        let seal = [&PROD[..], &words, more].concat();
        self.run("seal", &seal)
    }

    fn listed(&self) -> usize {
        let listed = self.run("list", &["--output", "json"]).succeeds().json();
        let listed = listed.as_array().unwrap();
        assert!(
            listed.iter().all(|line| line["state"] == "completeV2"),
            "{listed:?}"
        );
        listed.len()
    }
}

#[test]
fn a_listing_is_read_to_its_end_in_the_way_of_each_server() {
    for habits in [
        &[Habit::PageOf(5)][..],
        &[Habit::PageOf(9)],
        &[Habit::PageOf(5), Habit::FirstVersion],
        &[Habit::PageOf(2), Habit::FirstVersionWithoutMarker],
        &[Habit::PageOf(4), Habit::ByFolder],
        &[Habit::BareNotFound],
    ] {
        assert_eq!(Odd::new(habits).listed(), 3, "{habits:?}");
    }
}

#[test]
fn a_listing_that_is_not_whole_is_no_listing() {
    for (habits, words) in [
        (
            &[Habit::PageOf(5), Habit::IgnoresPosition][..],
            "same page again",
        ),
        (
            &[
                Habit::PageOf(5),
                Habit::FirstVersion,
                Habit::IgnoresPosition,
            ],
            "same page again",
        ),
        (&[Habit::Unsorted], "not sorted"),
    ] {
        let odd = Odd::new(habits);
        for (verb, more) in [
            ("list", &[][..]),
            ("inventory", &[]),
            ("rewrap", &PROD),
            ("prune", &["--keep-last", "1", "--yes"]),
        ] {
            odd.run(verb, more).fails(65, words);
        }
        assert_eq!(odd.server.keys().len(), 9);
    }
    // A server that heeds no prefix would have another cluster's snapshots deleted.
    let odd = Odd::new(&[Habit::IgnoresPrefix]);
    let prune = ["--cluster", "dev", "--keep-last", "1", "--yes"];
    odd.run("prune", &prune)
        .fails(65, "which is not below `dev/`");
    // A full page that says it is the last one is not believed.
    let odd = Odd::new(&[Habit::StopsShort]);
    for number in 0..1000 {
        odd.server.put(&format!("a/{number:04}"), b"x");
    }
    odd.run("list", &[]).fails(65, "stops short");
}

#[test]
fn what_was_not_kept_is_no_snapshot() {
    for habit in [Habit::Loses, Habit::CutsOff] {
        let odd = Odd::new(&[habit]);
        for file in ["short.db", "long.db"] {
            odd.seal(file, &[]).fails(74, "said that it is stored");
            assert!(
                odd.server
                    .object(&format!("prod/{file}/metadata.json"))
                    .is_none()
            );
        }
    }
}

#[test]
fn of_two_seals_of_one_id_one_wins_whatever_the_server_does_when_uploads_are_completed() {
    let odd = Odd::new(&[Habit::NoConditionOnCompletion]);
    let mut codes = thread::scope(|scope| {
        let seals: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| odd.seal("long.db", &[]).code))
            .collect();
        let codes = seals.into_iter().map(|seal| seal.join().unwrap());
        codes.collect::<Vec<i32>>()
    });
    codes.sort_unstable();
    assert_eq!(codes, [0, 73, 73, 73]);
    assert_eq!(odd.listed(), 4);
    let verify = ["--snapshot", "long.db", "--full"];
    odd.run("verify", &[&PROD[..], &verify].concat()).succeeds();
}

#[test]
fn a_server_that_lacks_something_is_named_with_the_way_out() {
    let odd = Odd::new(&[Habit::NoConditions]);
    for file in ["short.db", "long.db"] {
        odd.seal(file, &[]).fails(78, "it is not fit for snapshots");
    }
    let checksum = |name| ["--s3-checksum", name];
    let odd = Odd::new(&[Habit::NoChecksums]);
    odd.seal("short.db", &checksum("crc64nvme"))
        .fails(78, "--s3-checksum none");
    odd.seal("long.db", &checksum("sha256"))
        .fails(78, "--s3-checksum none");
    is_stored(&odd.seal("long.db", &checksum("none")));
    let odd = Odd::new(&[Habit::WantsChecksums]);
    odd.seal("short.db", &[]).fails(78, "--s3-checksum sha256");
    is_stored(&odd.seal("long.db", &checksum("sha256")));
    assert_eq!(odd.listed(), 4);
    let odd = Odd::new(&[Habit::VirtualHostOnly]);
    odd.run("list", &[]).fails(78, "--s3-addressing virtual");
    odd.run("list", &["--s3-addressing", "virtual"])
        .fails(64, "--s3-addressing path");
}

#[test]
fn keys_with_slashes_at_an_end_are_other_objects() {
    let odd = Odd::new(&[]);
    odd.server.put("prod/one/snapshot.db.enc/", b"x");
    let listed = odd.run("list", &["--output", "json"]).succeeds().json();
    let state = |of: &str| {
        let lines = listed.as_array().unwrap().iter();
        let mut states = lines
            .filter(|line| line["snapshot"] == of)
            .map(|line| line["state"].clone());
        states.next()
    };
    assert_eq!(state("one").unwrap(), "completeV2");
}

#[test]
fn a_token_goes_nowhere_else_and_proxies_see_nothing_in_plain_text() {
    let mut odd = Odd::new(&[]);
    let elsewhere = odd
        .backups
        .runtime
        .block_on(Proxy::start("http://127.0.0.1:1"))
        .unwrap();
    odd.backups
        .fixture
        .set_env("AWS_SESSION_TOKEN", "SESSIONTOKENEXAMPLE");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        odd.backups.fixture.set_env(name, &elsewhere.address());
    }
    assert_eq!(odd.listed(), 3);
    let endpoint = odd.server.endpoint();
    let between = odd
        .backups
        .runtime
        .block_on(Proxy::start(&endpoint))
        .unwrap();
    let target = format!("{}/bucket/x", elsewhere.address());
    let answer = kdc_testbed::proxy::Fault::answer(307, &[("location", &target)], "");
    between.set(answer);
    let address = between.address();
    let flags = [
        "backup",
        "list",
        "--bucket",
        "s3://bucket",
        "--s3-allow-http",
        "--s3-endpoint",
        &address,
    ];
    let run = odd.backups.run_words(&owned(&flags));
    run.fails(78, &format!("redirects to {}", elsewhere.address()));
    assert_eq!(elsewhere.counts().connections, 0);
}

#[test]
fn a_bucket_in_the_name_of_its_server_is_asked_for_there_by_the_proxy_of_the_environment() {
    let mut backups = BackupFixture::new(Place::Folder);
    let gone = "http://127.0.0.1:1";
    let proxy = backups.runtime.block_on(Proxy::start(gone)).unwrap();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("HTTPS_PROXY", proxy.address().as_str()),
    ] {
        backups.fixture.set_env(name, value);
    }
    let list = [
        "backup",
        "list",
        "--bucket",
        "s3://snapshots",
        "--s3-endpoint",
        "https://s3.example:8443",
    ];
    let virtually = [&list[..], &["--s3-addressing", "virtual"]].concat();
    for (words, server) in [
        (&list[..], "s3.example:8443"),
        (&virtually, "snapshots.s3.example:8443"),
    ] {
        let run = backups.run_words(&owned(words));
        run.fails(69, &format!("https://{server} does not answer"));
        // With TLS a proxy sees the name of the server, and nothing else.
        assert!(
            proxy.counts().requests(&format!("CONNECT {server}")) > 0,
            "{:?}",
            proxy.counts()
        );
        assert_eq!(proxy.counts().requests("GET"), 0);
    }
}
