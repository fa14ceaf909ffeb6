//! A hostile server in the place of OpenBao: the plugin gives no wrong answer, does not exit, and recovers as soon as the real OpenBao
//! answers.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use kdc_envelope_kms::client::{EncryptAnswer, KmsClient};
use kdc_testbed::bao::{Bao, Grant, kms_plugin_policy};
use kdc_testbed::proxy::{Fault, Rule};
use kdc_testbed::{Process, Proxy, programs};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::report::Report;

const SOON: Duration = Duration::from_secs(60);
/// All must be well within this time after the real server answers again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// How long a server answers so; the plugin looks at its key each second.
const LASTS: Duration = Duration::from_millis(1_500);
/// Plugins that are attacked side by side.
const VICTIMS: usize = 3;
const SEED: [u8; 32] = [9; 32];

/// What is answered, and to which requests.
fn answers() -> Vec<(&'static str, Rule)> {
    let ok = |body: Value| {
        Fault::answer(
            200,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
    };
    let data = |body: Value| ok(json!({"data": body}));
    let keys = |latest: Value, versions: Value| {
        data(
            json!({"type": "aes256-gcm96", "latest_version": latest, "min_decryption_version": 1,
            "min_available_version": 0, "min_encryption_version": 0, "supports_encryption": true,
            "supports_decryption": true, "keys": versions}),
        )
    };
    let wrapped = |ciphertext: Value| {
        data(json!({"batch_results": [{"ciphertext": ciphertext, "key_version": 1}]}))
    };
    let opened = |plaintext: Value| data(json!({"batch_results": [{"plaintext": plaintext}]}));
    let unwrap = "/decrypt/";
    let wrap = "/encrypt/";
    let key = "/keys/";
    vec![
        ("an empty object", ok(json!({})).into()),
        ("no data", ok(json!({"data": null})).into()),
        ("a number", ok(json!(7)).into()),
        ("an empty answer", Fault::answer(200, &[], "").into()),
        ("204", Fault::answer(204, &[], "").into()),
        ("a web page", Fault::html().into()),
        ("half of a JSON object", Fault::garbage().into()),
        ("nesting without end", Fault::answer(200, &[], &"[".repeat(100_000)).into()),
        ("16 MiB", Fault::Oversized(16 << 20).into()),
        ("answers cut off", Fault::TruncateBody(20).into()),
        ("no answer", Fault::Hang.into()),
        ("a redirect to another host", Fault::answer(307, &[("location", "http://127.0.0.1:2/")], "").into()),
        ("a redirect to itself", Fault::answer(307, &[("location", "/v1/sys/health")], "").into()),
        ("431", Fault::status(431, "too many headers").into()),
        ("418", Fault::status(418, "a teapot").into()),
        ("status 600", Fault::status(600, "unknown").into()),
        ("403 with an unknown text", Fault::status(403, "no").into()),
        ("404 on the key", Fault::status(404, "no handler for route").on(key)),
        ("a key without versions", keys(json!(1), json!({})).on(key)),
        ("a key of 2^32 versions", keys(json!(4_294_967_295_u64), json!({"1": 1_780_000_000})).on(key)),
        ("a latest version of 0", keys(json!(0), json!({"1": 1_780_000_000})).on(key)),
        ("a negative version", keys(json!(-1), json!({"1": 1_780_000_000})).on(key)),
        ("a version made in the far future", keys(json!(1), json!({"1": i64::MAX})).on(key)),
        ("another creation time", keys(json!(1), json!({"1": 1_780_000_000})).on(key)),
        ("a key of another type", data(json!({"type": "hmac", "latest_version": 1, "keys": {"1": 1}})).on(key)),
        ("an index of 70,000 bytes", Fault::answer(200, &[("x-vault-index", &"i".repeat(70_000))], "{}").on(key)),
        ("a date in 1970", Fault::answer(200, &[("date", "Thu, 01 Jan 1970 00:00:00 GMT")], "{}").on(key)),
        ("a ciphertext that is none", wrapped(json!("vault:v1:")).on(wrap)),
        ("a ciphertext of another version", wrapped(json!("vault:v9:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")).on(wrap)),
        ("two ciphertexts for one", data(json!({"batch_results": [{"ciphertext": "vault:v1:AAAA"}, {"ciphertext": "vault:v1:AAAA"}]})).on(wrap)),
        ("no ciphertext", data(json!({"batch_results": []})).on(wrap)),
        ("a plaintext that is no base64", opened(json!("%%%")).on(unwrap)),
        ("an empty plaintext", opened(json!("")).on(unwrap)),
        ("no plaintext", data(json!({"batch_results": [{}]})).on(unwrap)),
        ("a lease of 2^63 s", ok(json!({"data": {"ttl": 1_u64 << 63}, "auth": {"client_token": "s.x", "lease_duration": u64::MAX}})).on("/auth/")),
    ]
}

struct Victim {
    proxy: Proxy,
    process: Process,
    client: KmsClient,
    wrapped: Option<EncryptAnswer>,
    _folder: TempDir,
}

impl Victim {
    async fn start(bao: &Bao) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let grant = Grant::of(["kms"]).without_default_policy();
        let token = bao.root().create_token(&grant).await.unwrap();
        let file = folder.path().join("token");
        crate::system_calls::private_file(&file, token.as_bytes());
        let proxy = Proxy::start(bao.address()).await.unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        let socket = run.join("kms.sock");
        let mut command = Command::new(&programs::build().unwrap().kms_plugin);
        command.arg("--socket").arg(&socket);
        command.args(["--bao-address", &proxy.address(), "--bao-insecure-http"]);
        command.args([
            "--bao-key",
            "etcd",
            "--bao-auth",
            "token",
            "--bao-token-file",
        ]);
        command.arg(&file);
        // Seeds are forgotten at once, so that every Decrypt asks.
        command.args([
            "--bao-poll-interval",
            "1s",
            "--bao-hold",
            "1s",
            "--cache-ttl",
            "1s",
        ]);
        let process = Process::start("kms-plugin", &command, &folder.path().join("log")).unwrap();
        let client = KmsClient::new(&socket.to_str().unwrap().parse().unwrap());
        let mut victim = Self {
            proxy,
            process,
            client,
            wrapped: None,
            _folder: folder,
        };
        victim.recover("the start", SOON).await;
        victim
    }

    /// Calls the plugin while the server answers by `rule`, and returns the number of calls.
    async fn suffer(&mut self, name: &str, rule: Rule) -> usize {
        self.proxy.set(rule);
        let begin = Instant::now();
        let mut calls = 0;
        while begin.elapsed() < LASTS {
            calls += 1;
            let wrapped = self.wrapped.clone().unwrap();
            // It may refuse, but what it gives must be right.
            if let Ok(opened) = self.client.decrypt(&wrapped).await {
                assert_eq!(opened.expose(), SEED, "{name}: a wrong answer");
            }
            if let Ok(wrapped) = self.client.encrypt(&SEED).await {
                self.wrapped = Some(wrapped);
            }
            self.process.ensure_running().unwrap();
            tokio::time::sleep(PAUSE).await;
        }
        self.proxy.clear();
        self.recover(name, RECOVERY_LIMIT).await;
        calls
    }

    /// Waits until it wraps and unwraps, and until what was wrapped meanwhile opens.
    async fn recover(&mut self, name: &str, limit: Duration) {
        let begin = Instant::now();
        loop {
            match self.try_all(name).await {
                Ok(()) => return,
                Err(error) => assert!(
                    begin.elapsed() < limit,
                    "{name}: {error}\n{}",
                    self.process.log_tail()
                ),
            }
            self.process.ensure_running().unwrap();
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_all(&mut self, name: &str) -> Result<(), String> {
        let text = |error: kdc_envelope_kms::client::CallError| error.to_string();
        if let Some(wrapped) = &self.wrapped {
            let opened = self.client.decrypt(wrapped).await.map_err(text)?;
            assert_eq!(opened.expose(), SEED, "{name}: a wrong answer");
        }
        self.client.status().await.map_err(text)?;
        self.wrapped = Some(self.client.encrypt(&SEED).await.map_err(text)?);
        Ok(())
    }
}

#[tokio::test]
async fn whatever_stands_in_for_openbao_nothing_wrong_is_given_out_and_it_heals() {
    let mut report = Report::begin("OpenBao");
    let bao = Bao::start().await.unwrap();
    bao.root().enable_transit("transit").await.unwrap();
    bao.root().create_key("transit", "etcd").await.unwrap();
    let policy = kms_plugin_policy("etcd");
    bao.root().write_policy("kms", &policy).await.unwrap();
    let mut victims = Vec::new();
    for _ in 0..VICTIMS {
        victims.push(Victim::start(&bao).await);
    }
    let answers = answers();
    let mut outcomes = Vec::new();
    for round in answers.chunks(VICTIMS) {
        let attacks = round
            .iter()
            .zip(&mut victims)
            .map(async |((name, rule), victim)| (*name, victim.suffer(name, rule.clone()).await));
        outcomes.extend(join_all(attacks).await);
    }
    for (name, calls) in outcomes {
        report.line(name, calls, "nothing wrong given out, well again");
    }
    while report.is_long() && report.goes_on() {
        let (name, rule) = report.random.pick(&answers).clone();
        victims[0].suffer(name, rule).await;
    }
    for victim in &victims {
        assert!(!victim.process.log().contains("panicked"));
    }
    report.write();
}

/// Polls all futures concurrently in this task.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in all.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
