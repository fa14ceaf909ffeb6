//! A folder with settings and credentials, and what the doctor says about them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kdc_testbed::bao::{Bao, Caller, Grant, Options};
use serde_json::Value;

use crate::fixture::{Fixture, Run, set_mode};

pub(super) const KEY: &str = "etcd";

/// The rights that a plugin needs.
pub(super) const RIGHTS: [(&str, &str); 5] = [
    ("transit/encrypt/etcd", "update"),
    ("transit/decrypt/etcd", "update"),
    ("transit/keys/etcd", "read"),
    ("auth/token/renew-self", "update"),
    ("auth/token/lookup-self", "read"),
];

/// A line of a policy.
pub(super) fn line(path: &str, capability: &str) -> String {
    format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}\n")
}

/// All that is needed but `except`.
pub(super) fn policy_without(except: &str) -> String {
    let rights = RIGHTS.iter().filter(|(path, _)| *path != except);
    rights
        .map(|(path, capability)| line(path, capability))
        .collect()
}

/// A server with the key [`KEY`] and the policy `kms`.
pub(super) async fn server(options: Options) -> Bao {
    let bao = options.start().await.unwrap();
    bao.root().enable_transit("transit").await.unwrap();
    bao.root().create_key("transit", KEY).await.unwrap();
    bao.root()
        .write_policy("kms", &policy_without(""))
        .await
        .unwrap();
    bao
}

/// Lives long, can be renewed for ever, and has no more than is needed.
pub(super) fn grant() -> Grant {
    Grant::of(["kms"])
        .period(Duration::from_secs(86_400))
        .without_default_policy()
}

pub(super) async fn token(root: &Caller, grant: &Grant) -> String {
    root.create_token(grant).await.unwrap()
}

/// Everything that one run needs, in a folder of its own.
pub(super) struct Patient {
    pub(super) fixture: Fixture,
    secrets: Vec<String>,
}

/// A run and its findings.
pub(super) struct Diagnosis {
    run: Run,
    report: Value,
}

impl Patient {
    pub(super) fn new() -> Self {
        Self {
            fixture: Fixture::new(),
            secrets: Vec::new(),
        }
    }

    /// One with a keyring of one version in `keyring`.
    pub(super) fn with_keyring() -> Self {
        Self {
            fixture: Fixture::with_keyring(),
            secrets: Vec::new(),
        }
    }

    /// A file of mode 0600 whose content must never be shown.
    pub(super) fn secret(&mut self, name: &str, content: &str) -> PathBuf {
        self.fixture.write(name, content);
        self.secrets.push(content.trim().to_owned());
        self.fixture.path(name)
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        self.fixture.write(name, content);
        self.fixture.path(name)
    }

    /// Runs with `arguments` behind a socket in the folder.
    #[track_caller]
    pub(super) fn examine(&self, arguments: &[&str]) -> Diagnosis {
        Diagnosis::of_run(self.run(&[arguments, &["--output", "json"]].concat()))
    }

    /// The same with a socket of its own in the folder or in a file of settings.
    #[track_caller]
    pub(super) fn examine_as_it_is(&self, arguments: &[&str]) -> Diagnosis {
        let doctor = ["plugin", "doctor", "--output", "json"];
        Diagnosis::of_run(self.checked(&[&doctor, arguments].concat()))
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Run {
        let socket = self.fixture.socket();
        self.checked(&[&["plugin", "doctor", "--socket", &socket], arguments].concat())
    }

    /// Runs; whatever comes out must be free of the secrets in the folder.
    fn checked(&self, arguments: &[&str]) -> Run {
        let run = self.fixture.kdc(arguments);
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            assert!(
                !run.text().contains(secret) && !run.stderr.contains(secret),
                "a secret is shown: {}",
                run.text()
            );
        }
        run
    }

    /// Runs with a token in a file on the plain HTTP address of a server.
    #[track_caller]
    pub(super) fn with_token(&mut self, address: &str, token: &str, more: &[&str]) -> Diagnosis {
        let file = self.secret("token", token);
        self.examine(&on(address, &[&token_file(&file)[..], more].concat()))
    }
}

/// Settings for a server without TLS; the last one names the key unless `login` does.
pub(super) fn on<'a>(address: &'a str, login: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--bao-insecure-http", "--bao-address", address];
    all.extend(login);
    if !login.contains(&"--bao-key") {
        all.extend(["--bao-key", KEY]);
    }
    all
}

pub(super) fn token_file(file: &Path) -> [&str; 4] {
    [
        "--bao-auth",
        "token",
        "--bao-token-file",
        file.to_str().unwrap(),
    ]
}

pub(super) fn too_open(path: &Path) {
    set_mode(path, 0o644);
}

impl Diagnosis {
    /// Of a run with `--output json`.
    #[track_caller]
    pub(super) fn of_run(run: Run) -> Self {
        assert!(!run.stdout.is_empty(), "{}", run.stderr);
        let report = run.json();
        Self { run, report }
    }

    fn results(&self) -> &[Value] {
        self.report["results"].as_array().unwrap()
    }

    /// The results of one check.
    pub(super) fn of(&self, check: &str) -> Vec<&Value> {
        let results = self.results().iter();
        results.filter(|result| result["check"] == check).collect()
    }

    pub(super) fn code(&self) -> i32 {
        self.run.code
    }

    pub(super) fn report(&self) -> &Value {
        &self.report
    }

    /// Checks with this outcome.
    pub(super) fn checks(&self, outcome: &str) -> Vec<&str> {
        let results = self.results().iter();
        results
            .filter(|result| result["outcome"] == outcome)
            .map(|result| result["check"].as_str().unwrap())
            .collect()
    }

    /// Exactly one result of `check` has `outcome`, with these words in its detail and in its cure; the exit code fits.
    #[track_caller]
    pub(super) fn has(&self, check: &str, outcome: &str, detail: &str, cure: &str) -> &Self {
        let found: Vec<&Value> = self
            .of(check)
            .into_iter()
            .filter(|result| result["outcome"] == outcome)
            .collect();
        let fits = |result: &&&Value| {
            result["detail"].as_str().unwrap().contains(detail)
                && result["cure"].as_str().unwrap_or_default().contains(cure)
        };
        assert_eq!(
            found.iter().filter(fits).count(),
            1,
            "{check} {outcome} `{detail}` `{cure}` is not in {:#}",
            Value::from(self.of(check).into_iter().cloned().collect::<Vec<_>>())
        );
        let is_no = ["fail", "unknown"]
            .iter()
            .any(|outcome| !self.checks(outcome).is_empty());
        assert_eq!(self.run.code, i32::from(is_no));
        assert_eq!(self.run.stderr, "");
        for result in self.results() {
            let has_cure = result["cure"].is_string();
            let is_bad = matches!(
                result["outcome"].as_str(),
                Some("warn" | "fail" | "unknown")
            );
            assert_eq!(has_cure, is_bad, "{result}");
        }
        self
    }

    #[track_caller]
    pub(super) fn fails(&self, check: &str, detail: &str, cure: &str) -> &Self {
        self.has(check, "fail", detail, cure)
    }

    /// It is said why nothing follows, and the verdict is none.
    #[track_caller]
    pub(super) fn cannot_tell(&self, check: &str, detail: &str, cure: &str) -> &Self {
        assert_eq!(self.report["verdict"], "cannot-tell");
        let detail = format!("cannot tell: {detail}");
        self.has(check, "unknown", &detail, cure)
    }

    #[track_caller]
    pub(super) fn warns(&self, check: &str, detail: &str, cure: &str) -> &Self {
        self.has(check, "warn", detail, cure)
    }

    #[track_caller]
    pub(super) fn passes(&self, check: &str, detail: &str) -> &Self {
        self.has(check, "pass", detail, "")
    }

    #[track_caller]
    pub(super) fn skips(&self, check: &str, detail: &str) -> &Self {
        self.has(check, "skip", detail, "")
    }

    /// Nothing but these fails.
    #[track_caller]
    pub(super) fn only(&self, failures: &[&str]) {
        assert_eq!(self.checks("fail"), failures, "{:#}", self.report);
    }
}
