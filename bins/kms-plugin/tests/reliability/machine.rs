//! The machine that the plugin runs on: names of hosts that no longer resolve, and a clock that jumps.
//!
//! Both are the plugin's alone. For names it runs in a mount namespace with files of its own in place of `/etc/hosts` and
//! `/etc/resolv.conf`; a machine on which none can be created fails the test. For the time of day it loads a library that moves it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kdc_testbed::bao::Bao;
use kdc_testbed::fixtures::SOON;
use kdc_testbed::proxy::Proxy;
use tempfile::TempDir;

use crate::fixture::{Fixture, Proxied, Scale, grant, set_up};
use crate::table::Table;

const SHORT: Duration = Duration::from_secs(3);
/// Longer than the cache keeps a seed.
const LONG: Duration = Duration::from_secs(7);
const HOST: &str = "openbao.test";
const HOUR: i64 = 3600;

/// Puts two files in the place of the machine's, and becomes the program.
const IN_OWN_MOUNTS: &str = r#"
mount --bind "$1/hosts" /etc/hosts && mount --bind "$1/resolv.conf" /etc/resolv.conf || exit 1
shift
exec "$@"
"#;

/// The files that say which names there are.
struct Names(TempDir);

impl Names {
    fn new() -> Self {
        let names = Self(tempfile::tempdir().unwrap());
        // Nothing listens there, so each query fails at once.
        let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        fs::write(names.0.path().join("resolv.conf"), resolver).unwrap();
        names.come();
        names
    }

    /// Written in place: a new file would not be the one that is mounted.
    fn come(&self) {
        fs::write(self.0.path().join("hosts"), format!("127.0.0.1 {HOST}\n")).unwrap();
    }

    fn go(&self) {
        fs::write(self.0.path().join("hosts"), "").unwrap();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "sh", "-c", IN_OWN_MOUNTS, "sh"]);
        command.arg(self.0.path()).arg(program);
        command
    }
}

#[tokio::test]
async fn a_name_that_no_longer_resolves_heals() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let bao = Bao::start().await.unwrap();
            let role = set_up(bao.root()).await;
            let proxy = Proxy::start(bao.address()).await.unwrap();
            let address = proxy.address().replace("127.0.0.1", HOST);
            let token = bao.root_token().to_owned();
            let names = &Names::new();
            let launch = |program: &Path| names.command(program);
            let scale = Scale::of(1_500).with_launch(&launch);
            let backend = Proxied { bao, proxy };
            let table = Table::new("5-names");
            let mut fixture = Fixture::start(table, scale, backend, (role, &address, token)).await;
            let s = &mut fixture;
            s.fault(
                "host name no longer resolves, connections stay",
                async |_| names.go(),
                SHORT,
                async |_| names.come(),
            )
            .await;
            s.fault(
                "host name no longer resolves, connections lost",
                async |s| {
                    names.go();
                    s.backend.proxy.refuse_connections().await;
                    s.backend.proxy.accept_connections().await.unwrap();
                },
                LONG,
                async |_| names.come(),
            )
            .await;
            let lost = s.tallies();
            assert!(
                lost.new_seeds.failed > 0,
                "OpenBao was reached without a name"
            );
            fixture.finish();
        })
        .await;
}

/// A file with the seconds by which the time of day is moved, and the library that looks there.
struct Clock {
    folder: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(clock.file(), 0_i64.to_ne_bytes()).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reliability/fake_clock.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success(), "a C compiler is needed");
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Written in place and never shorter, because the file is mapped.
    fn set(&self, seconds: i64) {
        let file = fs::File::options().write(true).open(self.file()).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("env");
        command.arg(assignment("LD_PRELOAD", &self.library()));
        command.arg(assignment("FAKE_CLOCK", &self.file()));
        command.arg(program);
        command
    }
}

fn assignment(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

#[tokio::test]
async fn a_clock_that_jumps_is_not_noticed() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let bao = Bao::start().await.unwrap();
            set_up(bao.root()).await;
            // Tokens that have to be renewed while the clock is wrong.
            let grant = grant().ttl(Duration::from_secs(4));
            let role = bao.root().create_approle("approle", "kms", &grant);
            let role = role.await.unwrap();
            let proxy = Proxy::start(bao.address()).await.unwrap();
            let (address, token) = (proxy.address(), bao.root_token().to_owned());
            let clock = &Clock::new();
            let launch = |program: &Path| clock.command(program);
            let scale = Scale::of(1_500).with_launch(&launch);
            let backend = Proxied { bao, proxy };
            let table = Table::new("6-clock");
            let mut fixture = Fixture::start(table, scale, backend, (role, &address, token)).await;
            let s = &mut fixture;
            for (name, jump) in [
                ("the plugin's clock jumps an hour ahead, and back", HOUR),
                ("the plugin's clock jumps an hour back, and ahead", -HOUR),
            ] {
                s.fault(
                    name,
                    async |s| {
                        let before = minute_of_log(s);
                        clock.set(jump);
                        await_jump(s, before, jump / 60).await;
                    },
                    LONG,
                    async |_| clock.set(0),
                )
                .await;
                let seen = s.tallies();
                let tallies = [seen.known_seeds, seen.new_seeds, seen.wraps, seen.status];
                let failed: u32 = tallies.iter().map(|tally| tally.failed).sum();
                assert_eq!(failed, 0, "{name}: {seen:?}");
            }
            fixture.finish();
        })
        .await;
}

/// The minute of the day that the plugin wrote last.
fn minute_of_log(fixture: &Fixture<Proxied>) -> i64 {
    let log = fixture.plugin.process.log();
    let last = log.lines().rev().find_map(|line| {
        let (_, time) = line.split_once("\"timestamp\":\"")?;
        let (_, clock) = time.split_once('T')?;
        let hours: i64 = clock.get(..2)?.parse().ok()?;
        let minutes: i64 = clock.get(3..5)?.parse().ok()?;
        Some(hours * 60 + minutes)
    });
    last.expect("the log has times")
}

/// The plugin must have seen it, or the test would show nothing.
async fn await_jump(fixture: &Fixture<Proxied>, before: i64, jump: i64) {
    const DAY: i64 = 24 * 60;
    let begin = std::time::Instant::now();
    loop {
        let gone = (minute_of_log(fixture) - before - jump).rem_euclid(DAY);
        if gone <= 2 {
            return;
        }
        assert!(begin.elapsed() < SOON, "the clock did not jump");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
