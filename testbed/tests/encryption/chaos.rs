//! The tool or an API server is killed at a random moment, again and again, while clients read and write. Every row stays
//! readable, and every change ends after a resume.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{Cluster, Load, Restarter, config};

/// In every run of the tests; `cargo xtask chaos --kills N` for more.
const KILLS: u64 = 8;
/// More time than an undisturbed change takes.
const LIMIT: Duration = Duration::from_secs(240);
/// The longest time between two kills in milliseconds.
const GAP: u64 = 6000;

/// xorshift64*: the same seed gives the same order again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number")),
    )
}

/// Counts of kills and of changes.
#[derive(Default)]
struct Tally {
    tools: u64,
    servers: u64,
    begun: u64,
    finished: u64,
}

struct Chaos {
    cluster: Cluster,
    random: Random,
    tally: Tally,
    tool: Option<Child>,
    under_way: bool,
}

impl Chaos {
    fn spawn(&mut self, words: &[&str]) {
        let mut command = self.cluster.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.tool = Some(command.spawn().unwrap());
    }

    /// Starts or resumes a change, unless the tool is still running.
    fn begin_or_go_on(&mut self) {
        if let Some(tool) = &mut self.tool {
            match tool.try_wait().unwrap() {
                None => return,
                Some(status) if status.success() => {
                    self.tally.finished += 1;
                    self.under_way = false;
                }
                Some(_) => {}
            }
        }
        let changes: [&[&str]; 4] = [
            &["rotate", "--yes"],
            &[
                "enable",
                "--resources",
                "secrets",
                "--provider",
                "secretbox",
                "--yes",
            ],
            &[
                "enable",
                "--resources",
                "secrets",
                "--provider",
                "aesgcm",
                "--yes",
            ],
            &["disable", "--yes"],
        ];
        let words = if self.under_way {
            match self.random.below(5) {
                0 => &["abort", "--yes"],
                _ => ["resume"].as_slice(),
            }
        } else {
            self.tally.begun += 1;
            self.under_way = true;
            changes[usize::try_from(self.random.below(4)).unwrap()]
        };
        self.spawn(words);
    }

    async fn kill_something(&mut self) {
        match self.random.below(3) {
            0 => {
                let count = self.cluster.members.len() as u64;
                let member = usize::try_from(self.random.below(count)).unwrap();
                self.cluster.members[member].restart().await;
                self.tally.servers += 1;
            }
            _ => self.kill_tool(),
        }
    }

    fn kill_tool(&mut self) {
        if let Some(tool) = &mut self.tool
            && tool.try_wait().unwrap().is_none()
        {
            tool.kill().unwrap();
            tool.wait().unwrap();
            self.tally.tools += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_stays_readable_whatever_is_killed() {
    let kills = from_environment("KDC_CHAOS_KILLS").unwrap_or(KILLS);
    let seed = from_environment("KDC_CHAOS_SEED").unwrap_or_else(random_seed);
    eprintln!("KDC_CHAOS_SEED={seed} KDC_CHAOS_KILLS={kills}");
    let key = json!({"aesgcm": {"keys": [{"name": "old", "secret": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}]}});
    let cluster = Cluster::start(2, &config(&["secrets"], &[key])).await;
    cluster.create_secrets(20).await;
    let restarter = Restarter::start(&cluster);
    let load = Load::start(&cluster);
    let mut chaos = Chaos {
        cluster,
        random: Random(seed.max(1)),
        tally: Tally::default(),
        tool: None,
        under_way: false,
    };
    while chaos.tally.tools + chaos.tally.servers < kills {
        chaos.begin_or_go_on();
        let gap = Duration::from_millis(chaos.random.below(GAP));
        tokio::time::sleep(gap).await;
        chaos.kill_something().await;
        let failures = load.failures();
        assert!(failures.is_empty(), "seed {seed}: {failures:?}");
    }
    chaos.kill_tool();
    finish(&chaos.cluster).await;
    restarter.stop(&chaos.cluster).await;
    let verified = chaos.cluster.verify_rows().await;
    assert_eq!(
        verified.code,
        Some(0),
        "seed {seed}: {}{}",
        verified.stdout,
        verified.stderr
    );
    load.stop().await;
    let Tally {
        tools,
        servers,
        begun,
        finished,
    } = chaos.tally;
    eprintln!(
        "killed the tool {tools} times and API servers {servers} times; {begun} changes begun, {finished} finished in between"
    );
}

/// Resumes without further kills until the change in progress is finished.
async fn finish(cluster: &Cluster) {
    let start = Instant::now();
    loop {
        let resumed = cluster.run(&["resume"]).await;
        if resumed.code == Some(0) {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{}", resumed.stderr);
    }
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) >> 16
}
