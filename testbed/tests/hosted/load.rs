//! A reader and a writer that go on through the Service, each call by a new connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kdc_testbed::{ApiError, Client, Resource};
use serde_json::json;
use tokio::task::JoinHandle;

/// What became of the calls.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    calls: AtomicUsize,
    /// Answers that are errors; connections that were refused are none.
    refused: Mutex<Vec<String>>,
}

/// A load that runs.
pub struct Load {
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(tenant: &Client) -> Self {
        let seen = Arc::new(Seen::default());
        let tasks = vec![
            tokio::spawn(read(tenant.clone(), Arc::clone(&seen))),
            tokio::spawn(write(tenant.clone(), Arc::clone(&seen))),
        ];
        Self { seen, tasks }
    }

    /// How many calls were answered well, and the errors of all others that were answered.
    pub async fn stop(self) -> (usize, Vec<String>) {
        self.seen.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let refused = self.seen.refused.lock().unwrap().clone();
        (self.seen.calls.load(Ordering::Relaxed), refused)
    }
}

impl Seen {
    fn note<T>(&self, result: Result<T, ApiError>) {
        match result {
            Ok(_) => {
                self.calls.fetch_add(1, Ordering::Relaxed);
            }
            Err(error @ ApiError::Refused { .. }) => {
                self.refused.lock().unwrap().push(error.to_string());
            }
            Err(_) => {}
        }
    }

    async fn goes_on(&self) -> bool {
        tokio::time::sleep(Duration::from_millis(100)).await;
        !self.stop.load(Ordering::Relaxed)
    }
}

async fn read(tenant: Client, seen: Arc<Seen>) {
    while seen.goes_on().await {
        seen.note(tenant.list(Resource::SECRETS, "default").await);
    }
}

async fn write(tenant: Client, seen: Arc<Seen>) {
    let mut number = 0;
    while seen.goes_on().await {
        number += 1;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("load-{number}")},
            "stringData": {"value": "x"},
        });
        seen.note(tenant.create(Resource::SECRETS, "default", &secret).await);
    }
}
