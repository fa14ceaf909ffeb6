//! A plugin under attack goes on serving: each kind of attack lasts while a client that has just come calls it, and a kubelet asks
//! for `/livez`; neither may fail, and memory stays below what the shipped manifests allow.

mod attacker;
mod frames;
mod kinds;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kdc_envelope_kms::client::KmsClient;
use kdc_testbed::{Process, programs};
use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::report::Report;
use crate::run::succeed;
use attacker::Attacker;
use kinds::{GRPC, HTTP, Kind};

/// The deadline that kube-apiserver gives a call.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// What kubelet gives a probe of the shipped manifests, and a loaded machine on top.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// How often calls and probes are tried while everything is open that an attack opens; the latter in long runs.
const CHECKS: [usize; 2] = [2, 10];
const PAUSE: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_secs(30);
/// The limit of the shipped manifests.
const MAX_MEMORY_KIB: u64 = 64 << 10;

struct Victim {
    folder: TempDir,
    process: Process,
    socket: PathBuf,
    http: SocketAddr,
    runtime: Runtime,
}

impl Victim {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        succeed(folder.path(), &["keyring", "init", "keyring"]);
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        let socket = run.join("kms.sock");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = listener.local_addr().unwrap();
        drop(listener);
        // The soft limit of open files that services and pods begin with.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -Sn 1024; exec \"$@\"", "sh"]);
        command.arg(&programs::build().unwrap().kms_plugin);
        command.arg("--socket").arg(&socket);
        command.arg("--keyring").arg(folder.path().join("keyring"));
        command.args(["--http-address", &http.to_string()]);
        let log = folder.path().join("log");
        let process = Process::start("kms-plugin", &command, &log).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut victim = Self {
            folder,
            process,
            socket,
            http,
            runtime,
        };
        let begin = Instant::now();
        while victim.call().is_err() || victim.probe().is_err() {
            victim.process.ensure_running().unwrap();
            assert!(begin.elapsed() < SOON, "{}", victim.process.log_tail());
            std::thread::sleep(PAUSE);
        }
        victim
    }

    /// What a kube-apiserver does that has just started: connects, and wraps and unwraps a seed.
    fn call(&self) -> Result<(), String> {
        let address = self.socket.to_str().unwrap().parse().unwrap();
        self.runtime.block_on(async {
            let client = KmsClient::new(&address).with_timeout(CALL_LIMIT);
            let wrapped = client.encrypt(&[7; 32]).await.map_err(|e| e.to_string())?;
            let opened = client.decrypt(&wrapped).await.map_err(|e| e.to_string())?;
            assert_eq!(opened.expose(), [7; 32], "a wrong answer");
            Ok(())
        })
    }

    /// Asks for `/livez`, as the kubelet does.
    fn probe(&self) -> Result<(), String> {
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&self.http, PROBE_LIMIT)?;
            stream.set_read_timeout(Some(PROBE_LIMIT))?;
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        match ask() {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
            Ok(answer) => Err(format!("/livez: {answer:?}")),
            Err(error) => Err(format!("/livez: {error}")),
        }
    }

    /// The plugin's peak resident memory.
    fn most_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// Lets it suffer one kind of attack; says what did not go on.
    fn suffer(&mut self, (name, attack): Kind, checks: usize) -> Result<usize, String> {
        let (socket, http) = (self.socket.clone(), self.http);
        let (release, released) = mpsc::channel::<()>();
        let attacking = Arc::new(AtomicBool::new(true));
        let is_attacking = Arc::clone(&attacking);
        let attacker = std::thread::spawn(move || {
            let mut attacker = Attacker::new(socket, http);
            attack(&mut attacker);
            is_attacking.store(false, Ordering::Relaxed);
            // Its connections stay open until the other end of the channel is dropped.
            let _ = released.recv();
        });
        let mut count = 0;
        let outcome = loop {
            // All of `checks` are made while everything is open that the attack opens.
            let is_open = !attacking.load(Ordering::Relaxed);
            if let Err(error) = self.check() {
                break Err(format!("{name}: {error}"));
            }
            count += usize::from(is_open);
            if count >= checks {
                break Ok(count);
            }
            std::thread::sleep(PAUSE);
        };
        drop(release);
        attacker.join().unwrap();
        self.process
            .ensure_running()
            .map_err(|error| format!("{name}: {error}"))?;
        let memory = self.most_memory_kib();
        match memory < MAX_MEMORY_KIB {
            true => outcome,
            false => Err(format!("{name}: {memory} KiB of memory")),
        }
    }

    fn check(&self) -> Result<(), String> {
        self.call()
            .map_err(|error| format!("a new client: {error}"))?;
        self.probe()
    }
}

/// Holds more connections than the usual soft limit has room for.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn besiege(part: &'static str, kinds: &[Kind]) {
    raise_file_limit();
    let mut report = Report::begin(part);
    let checks = CHECKS[usize::from(report.is_long())];
    let mut victim = Victim::start();
    let mut failures = Vec::new();
    for kind in kinds {
        match victim.suffer(*kind, checks) {
            Ok(count) => report.line(kind.0, count, "every call and probe went well"),
            Err(failure) => {
                failures.push(failure);
                victim = Victim::start();
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{}\n{}",
        failures.join("\n"),
        victim.process.log_tail()
    );
    while report.is_long() && report.goes_on() {
        let kind = *report.random.pick(kinds);
        victim.suffer(kind, checks).unwrap();
    }
    let memory = victim.most_memory_kib() >> 10;
    report.line(
        "all of them",
        kinds.len(),
        &format!("at most {memory} MiB of memory"),
    );
    let log = victim.process.log();
    assert!(!log.contains("panicked"), "{log}");
    let lines = log.lines().count();
    assert!(lines < 2_000, "{lines} lines of log");
    report.write();
    drop(victim.folder);
}

#[test]
fn whatever_comes_over_the_socket_other_clients_are_served() {
    besiege("socket", GRPC);
}

#[test]
fn whatever_comes_over_http_probes_and_calls_go_on() {
    besiege("http", HTTP);
}
