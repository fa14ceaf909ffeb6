//! One container of a pod: the process in its place, and what its probes say.
//!
//! The process sees the mounts of the container at their own paths, in a root of its own. The network is that of the machine, so a
//! container that would listen on all addresses is told to listen on that of its pod.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::template::{API_SERVER, NOT_RUN, items, text};
use super::volumes::Volumes;
use super::{Images, Pace};
use crate::process::{Process, Signal};

const SCRIPT: &str = include_str!("container.sh");

/// Where a container is in its life.
#[derive(Debug)]
enum State {
    /// With reason and message, and not before.
    Waiting(&'static str, String, Instant),
    Running(Box<Process>, Instant),
    /// Stands in the pod by name alone.
    NotRun,
    Done,
}

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    spec: Value,
    is_init: bool,
    state: State,
    restarts: u32,
    started: bool,
    ready: bool,
    failures: u64,
    last_probe: Option<Instant>,
}

/// What containers of a pod share.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) pod: &'a Value,
    pub(super) address: Ipv4Addr,
    pub(super) folder: &'a Path,
    pub(super) volumes: &'a Volumes,
    pub(super) images: &'a Images,
    pub(super) pace: &'a Pace,
    pub(super) log: PathBuf,
    pub(super) http: &'a reqwest::Client,
}

impl Container {
    pub(super) fn new(spec: Value, is_init: bool) -> Self {
        let state = if NOT_RUN.contains(&text(&spec, "/name")) {
            State::NotRun
        } else {
            State::Waiting("PodInitializing", String::new(), Instant::now())
        };
        Self {
            started: matches!(state, State::NotRun),
            ready: matches!(state, State::NotRun),
            spec,
            is_init,
            state,
            restarts: 0,
            failures: 0,
            last_probe: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        text(&self.spec, "/name")
    }

    pub(super) fn is_sidecar(&self) -> bool {
        self.is_init && self.spec["restartPolicy"] == "Always"
    }

    /// Whether what comes after it in the pod may start.
    pub(super) fn lets_others_start(&self) -> bool {
        matches!(self.state, State::Done | State::NotRun) || (self.is_sidecar() && self.started)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Brings it on: starts or restarts it, and asks its probes.
    pub(super) async fn step(&mut self, around: &Surroundings<'_>) {
        match &mut self.state {
            State::Done | State::NotRun => {}
            State::Waiting(_, _, until) if Instant::now() < *until => {}
            State::Waiting(..) => self.start(around),
            State::Running(process, since) => match process.exit_code() {
                Ok(None) => {
                    let since = *since;
                    self.probe(around, since).await;
                }
                Ok(Some(0)) if self.is_init && !self.is_sidecar() => {
                    self.state = State::Done;
                    self.ready = true;
                }
                Ok(Some(code)) => self.fail(format!("exit code {code}"), around.pace),
                Err(error) => self.fail(error.to_string(), around.pace),
            },
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&mut self) {
        if let State::Running(process, _) = &mut self.state {
            // An error means that it has ended already.
            let _ = process.signal(Signal::TERM);
        }
    }

    /// Waits until it has ended, and kills it after `limit`.
    pub(super) async fn ended(&mut self, limit: Duration) {
        if let State::Running(process, _) = &mut self.state
            && process.wait(limit).await.is_err()
        {
            let _ = process.kill().await;
        }
        self.state = State::Done;
        self.started = false;
        self.ready = false;
    }

    /// Says why it waits, for all but those that have ended.
    pub(super) fn hold(&mut self, reason: &'static str, message: &str) {
        if let State::Waiting(..) = self.state {
            self.state = State::Waiting(reason, message.to_owned(), Instant::now());
        }
    }

    /// Its part of the status of the pod.
    pub(super) fn status(&self) -> Value {
        let state = match &self.state {
            State::Waiting(reason, message, _) => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            State::Running(..) | State::NotRun => json!({"running": {}}),
            State::Done => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
        };
        json!({
            "name": self.name(),
            "image": self.spec["image"],
            "imageID": "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": state,
        })
    }

    fn fail(&mut self, cause: String, pace: &Pace) {
        self.restarts += 1;
        self.started = false;
        self.ready = false;
        self.last_probe = None;
        let until = Instant::now() + pace.back_off;
        self.state = State::Waiting("CrashLoopBackOff", cause, until);
    }

    fn start(&mut self, around: &Surroundings<'_>) {
        let image = text(&self.spec, "/image");
        let Some(program) = around.images.program(image) else {
            let cause = format!("Back-off pulling image \"{image}\"");
            self.state = State::Waiting("ImagePullBackOff", cause, Instant::now());
            return;
        };
        let command = match command(&self.spec, program.as_deref(), around) {
            Ok(command) => command,
            Err(cause) => {
                self.state = State::Waiting("CreateContainerError", cause, Instant::now());
                return;
            }
        };
        match Process::start(self.name(), &command, &around.log) {
            Ok(process) => {
                self.failures = 0;
                self.state = State::Running(Box::new(process), Instant::now());
            }
            Err(error) => self.fail(error.to_string(), around.pace),
        }
    }

    async fn probe(&mut self, around: &Surroundings<'_>, since: Instant) {
        let kind = if self.started {
            "readinessProbe"
        } else {
            "startupProbe"
        };
        let probe = self.spec[kind].clone();
        if !probe.is_object() {
            self.ready |= self.started;
            self.started = true;
            return;
        }
        let seconds = |field: &str, default: u64| {
            Duration::from_secs(probe[field].as_u64().unwrap_or(default).max(1))
        };
        let period = around
            .pace
            .probe_period
            .unwrap_or_else(|| seconds("periodSeconds", 10));
        if self.last_probe.is_some_and(|last| last.elapsed() < period) {
            return;
        }
        self.last_probe = Some(Instant::now());
        let good = ask(&probe, &self.spec, around, seconds("timeoutSeconds", 1)).await;
        let threshold = probe["failureThreshold"].as_u64().unwrap_or(3);
        self.failures = if good { 0 } else { self.failures + 1 };
        if self.started {
            self.ready = good || (self.ready && self.failures < threshold);
        } else if good {
            self.started = true;
            self.last_probe = None;
        } else {
            let times = u32::try_from(threshold).unwrap_or(u32::MAX);
            let limit = seconds("periodSeconds", 10).saturating_mul(times);
            if since.elapsed() > limit.saturating_mul(around.pace.startup_factor) {
                if let State::Running(process, _) = &mut self.state {
                    let _ = process.kill().await;
                }
                self.fail("startup probe failed".to_owned(), around.pace);
            }
        }
    }
}

/// What a probe asks, at the address of the pod.
async fn ask(probe: &Value, spec: &Value, around: &Surroundings<'_>, limit: Duration) -> bool {
    let port = |port: &Value| match port.as_str() {
        None => port.as_u64(),
        Some(name) => {
            let ports = spec["ports"].as_array().into_iter().flatten();
            let mut named = ports.filter(|port| port["name"] == name);
            named.find_map(|port| port["containerPort"].as_u64())
        }
    };
    let (http, tcp) = (&probe["httpGet"], &probe["tcpSocket"]);
    let (Some(port), true) = (
        port(if http.is_object() {
            &http["port"]
        } else {
            &tcp["port"]
        }),
        http.is_object() || tcp.is_object(),
    ) else {
        return false;
    };
    if tcp.is_object() {
        let address = format!("{}:{port}", around.address);
        let connected = tokio::time::timeout(limit, tokio::net::TcpStream::connect(address)).await;
        return connected.is_ok_and(|stream| stream.is_ok());
    }
    // A kubelet does not check certificates; this one knows a name that is in each of them.
    let base = match http["scheme"].as_str() {
        Some("HTTPS") => format!("https://kubernetes:{port}"),
        _ => format!("http://{}:{port}", around.address),
    };
    let url = format!("{base}{}", http["path"].as_str().unwrap_or("/"));
    let answer = around.http.get(url).timeout(limit).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn command(
    spec: &Value,
    program: Option<&Path>,
    around: &Surroundings<'_>,
) -> Result<Command, String> {
    let (user, groups) = identity(spec, around.pod);
    let name = text(spec, "/name");
    let program_name = if name == API_SERVER {
        API_SERVER
    } else {
        "kms-plugin"
    };
    let root = around.folder.join("roots").join(name);
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "sh",
            "-c",
            SCRIPT,
            "container",
        ])
        // kube-apiserver names its Lease after it, and two with one name would share that.
        .arg(text(around.pod, "/metadata/name"))
        .arg(root)
        .args([&user, &groups])
        .arg(program.unwrap_or_else(|| Path::new("")))
        .arg(program_name);
    for mount in items(&spec["volumeMounts"]) {
        let volumes = items(&around.pod["spec"]["volumes"]);
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        let volume = volume.ok_or_else(|| format!("no volume {}", mount["name"]))?;
        let mut source = around.volumes.path(volume);
        if let Some(sub) = mount["subPath"].as_str() {
            source.push(sub);
        }
        let mode = if mount["readOnly"] == true {
            "ro"
        } else {
            "rw"
        };
        command
            .arg(source)
            .arg(text(&mount, "/mountPath"))
            .arg(mode);
    }
    command.arg("--");
    let environment = environment(spec, around)?;
    let mut words: Vec<String> = strings(&spec["command"]);
    if program.is_some() {
        let own = format!("/{program_name}");
        match words.first_mut() {
            None => words.push(own),
            Some(first) => *first = own,
        }
    }
    words.extend(strings(&spec["args"]));
    for word in words {
        let word = expanded(word, &environment);
        let own = name == API_SERVER;
        command.arg(if own {
            word
        } else {
            on_pod(word, around.address)
        });
    }
    for (name, value) in environment {
        command.env(name, on_pod(value, around.address));
    }
    Ok(command)
}

fn strings(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// `USER:GROUP` and the further groups.
fn identity(spec: &Value, pod: &Value) -> (String, String) {
    let (own, shared) = (&spec["securityContext"], &pod["spec"]["securityContext"]);
    let id = |field: &str| own[field].as_u64().or_else(|| shared[field].as_u64());
    let user = id("runAsUser").unwrap_or(0);
    let mut groups: Vec<u64> = shared["fsGroup"].as_u64().into_iter().collect();
    let more = shared["supplementalGroups"]
        .as_array()
        .into_iter()
        .flatten();
    groups.extend(more.filter_map(Value::as_u64));
    let groups: Vec<String> = groups.iter().map(u64::to_string).collect();
    (
        format!("{user}:{}", id("runAsGroup").unwrap_or(0)),
        groups.join(","),
    )
}

fn environment(
    spec: &Value,
    around: &Surroundings<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut environment = BTreeMap::new();
    for variable in items(&spec["env"]) {
        let value = match variable.pointer("/valueFrom/fieldRef/fieldPath") {
            None if variable["valueFrom"].is_object() => {
                return Err(format!("no such source of variable {}", variable["name"]));
            }
            None => text(&variable, "/value").to_owned(),
            Some(path) => match path.as_str().unwrap_or_default() {
                "status.podIP" => around.address.to_string(),
                path => {
                    let pointer = format!("/{}", path.replace('.', "/"));
                    text(around.pod, &pointer).to_owned()
                }
            },
        };
        let value = expanded(value, &environment);
        environment.insert(text(&variable, "/name").to_owned(), value);
    }
    Ok(environment)
}

/// Puts variables in place of `$(NAME)`.
fn expanded(mut word: String, environment: &BTreeMap<String, String>) -> String {
    for (name, value) in environment {
        word = word.replace(&format!("$({name})"), value);
    }
    word
}

/// A listening address for the pod alone: `0.0.0.0:8082` and `--flag=127.0.0.1:8082` alike, but no URL.
fn on_pod(word: String, address: Ipv4Addr) -> String {
    let (flag, value) = match word.split_once('=') {
        Some((flag, value)) => (format!("{flag}="), value),
        None => (String::new(), word.as_str()),
    };
    for host in ["0.0.0.0:", "127.0.0.1:", "[::]:", "localhost:"] {
        if let Some(port) = value.strip_prefix(host) {
            return format!("{flag}{address}:{port}");
        }
    }
    word
}
