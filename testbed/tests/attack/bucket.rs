//! What stands where S3 should be and answers: none of its answers is taken for an empty bucket, hangs a verb, or deletes anything.

use std::path::Path;

use kdc_testbed::s3::hostile::{Asker, Hostile, answers};
use kdc_testbed::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use kdc_testbed::{Proxy, S3};
use sha2::{Digest as _, Sha256};

use crate::report::Report;
use crate::run::{Ended, kdc};
use crate::system_calls::private_file;

const KEY: [&str; 2] = ["--keyring", "keyring"];
const BUCKET: &str = "backups";

/// Answers in the run among the other tests, which try all of them elsewhere.
const FEW: usize = 4;

/// Verbs that make something of a listing, and must not say 0.
const VERBS: [&[&str]; 5] = [
    &["list"],
    &["inventory"],
    &["rewrap", KEY[0], KEY[1]],
    &["prune", "--keep-last", "1", "--yes"],
    &["verify", "--cluster", "prod", "--all", KEY[0], KEY[1]],
];

struct Victim<'v> {
    folder: &'v Path,
    endpoint: String,
}

impl Victim<'_> {
    async fn run(&self, words: &[&str]) -> Ended {
        let url = format!("s3://{BUCKET}");
        let place = [
            "--bucket",
            &url,
            "--s3-endpoint",
            &self.endpoint,
            "--s3-allow-http",
        ];
        let (verb, more) = words.split_first().unwrap();
        let mut command = kdc(self.folder, &[&["backup", verb], &place[..], more].concat());
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        command.env("AWS_REGION", "eu-central-1");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        Ended::of(&output.await.unwrap())
    }
}

/// Hostile responses to listings: all of them in a long run, else a selection.
fn chosen(report: &mut Report) -> Vec<Hostile> {
    let mut all = answers("").unwrap();
    all.retain(|answer| answer.asker == Asker::List);
    if !report.is_long() {
        all = (0..FEW).map(|_| report.random.pick(&all).clone()).collect();
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_in_for_s3_no_answer_is_taken_for_an_empty_bucket() {
    let mut report = Report::begin("S3");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let s3 = S3::start().await.unwrap();
    s3.create_bucket(BUCKET).unwrap();
    let proxy = Proxy::start(s3.endpoint()).await.unwrap();
    crate::run::succeed(folder, &["keyring", "init", "keyring"]);
    let content = vec![7; 64 << 10];
    let digest = Sha256::digest(&content);
    private_file(
        &folder.join("snapshot.db"),
        &[&content[..], &digest].concat(),
    );
    let victim = Victim {
        folder,
        endpoint: proxy.address(),
    };
    for id in ["s1", "s2"] {
        let seal = ["seal", "snapshot.db", "--cluster", "prod", "--snapshot", id];
        let sealed = victim.run(&[&seal[..], &KEY].concat()).await;
        assert_eq!(sealed.code, Some(0), "{}", sealed.text);
    }
    let mut failures = Vec::new();
    for Hostile { name, rule, .. } in chosen(&mut report) {
        let before = failures.len();
        for words in VERBS {
            proxy.set(rule.clone());
            let ended = victim.run(words).await;
            proxy.clear();
            if ended.code == Some(0) {
                failures.push(format!("{name}: {words:?} says 0: {}", ended.text));
            }
        }
        if failures.len() == before {
            report.line(&name, VERBS.len(), "refused by each verb");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let verified = victim
        .run(&[
            "verify",
            "--cluster",
            "prod",
            "--all",
            "--full",
            KEY[0],
            KEY[1],
        ])
        .await;
    assert_eq!(verified.code, Some(0), "{}", verified.text);
    report.write();
}
