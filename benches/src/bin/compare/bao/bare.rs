//! What others do: one request for each call, over kept connections, and nothing else.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kdc_testbed::bao::AppRole;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::fixture::Fixture;
use crate::plugin::Load;

/// 32 bytes, as a seed has.
const PLAINTEXT: &str = "XFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFw=";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Encrypt,
    Decrypt,
}

/// When a load is over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    Elapsed(Duration),
    Calls(usize),
}

/// An HTTP client with a token. Clones share its connections.
#[derive(Clone)]
pub(super) struct Bare {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl Bare {
    pub(super) async fn log_in(fixture: &Fixture, role: &AppRole) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .timeout(Duration::from_secs(10))
            .build()?;
        let mut bare = Self {
            http,
            address: fixture.address().to_owned(),
            token: String::new(),
        };
        let ids = json!({"role_id": role.role_id, "secret_id": role.secret_id});
        let answer = bare.post("auth/approle/login", &ids).await?;
        bare.token = text(&answer, "/auth/client_token")?.to_owned();
        Ok(bare)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/v1/{path}", self.address);
        let request = self.http.post(url).header("x-vault-token", &self.token);
        let answer = request.json(body).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    async fn encrypt(&self) -> Result<String> {
        let body = json!({"plaintext": PLAINTEXT});
        let answer = self.post("transit/encrypt/etcd", &body).await?;
        Ok(text(&answer, "/data/ciphertext")?.to_owned())
    }

    async fn decrypt(&self, ciphertext: &str) -> Result<()> {
        let body = json!({"ciphertext": ciphertext});
        let answer = self.post("transit/decrypt/etcd", &body).await?;
        text(&answer, "/data/plaintext").map(drop)
    }

    /// Keeps so many calls in flight.
    pub(super) async fn load(&self, work: Work, in_flight: usize, until: Until) -> Result<Load> {
        let ciphertext: Rc<str> = self.encrypt().await?.into();
        let (begin, left) = (Instant::now(), Rc::new(Cell::new(usize::MAX)));
        let mut deadline = None;
        match until {
            Until::Elapsed(time) => deadline = Some(begin + time),
            Until::Calls(calls) => left.set(calls),
        }
        let local = LocalSet::new();
        let worker = || {
            let (bare, ciphertext, left) = (self.clone(), Rc::clone(&ciphertext), Rc::clone(&left));
            async move {
                let mut took = Vec::new();
                while left.get() > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    left.set(left.get() - 1);
                    let begin = Instant::now();
                    match work {
                        Work::Encrypt => drop(bare.encrypt().await?),
                        Work::Decrypt => bare.decrypt(&ciphertext).await?,
                    }
                    took.push(begin.elapsed().as_secs_f64());
                }
                anyhow::Ok(took)
            }
        };
        let workers: Vec<_> = (0..in_flight)
            .map(|_| local.spawn_local(worker()))
            .collect();
        let took = local.run_until(async {
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.await??);
            }
            anyhow::Ok(all)
        });
        let took = took.await?;
        Load::new(took, begin.elapsed()).context("a load of no calls")
    }
}

fn text<'a>(answer: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("the answer has no {pointer}"))
}
