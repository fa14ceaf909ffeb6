//! What stands where S3 should be and answers: none of its answers is taken for an empty bucket, hangs a verb, or deletes anything.

use std::path::Path;

use kdc_testbed::proxy::{Fault, Rule};
use kdc_testbed::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use kdc_testbed::{Proxy, S3};
use sha2::{Digest as _, Sha256};

use crate::report::Report;
use crate::run::{Ended, kdc};
use crate::system_calls::private_file;

const KEY: [&str; 2] = ["--keyring", "keyring"];
const BUCKET: &str = "backups";

/// Answers to every request that asks for a listing.
fn listings() -> Vec<(&'static str, Rule)> {
    let xml = |body: &str| {
        Fault::answer(200, &[("content-type", "application/xml")], body).on("list-type=2")
    };
    let result = |inside: &str| xml(&format!("<ListBucketResult>{inside}</ListBucketResult>"));
    let contents = |key: &str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>9</Size></Contents>"
        )
    };
    vec![
        ("a web page", Fault::html().on("list-type=2")),
        ("an empty answer", xml("")),
        ("204", Fault::answer(204, &[], "").on("list-type=2")),
        ("JSON", Fault::garbage().on("list-type=2")),
        ("XML of something else", xml("<ListAllMyBucketsResult/>")),
        (
            "an error with status 200",
            xml("<Error><Code>InternalError</Code><Message>x</Message></Error>"),
        ),
        (
            "half a listing",
            xml("<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"),
        ),
        (
            "an empty listing that says nothing more",
            xml("<ListBucketResult/>"),
        ),
        (
            "truncated, and no token",
            result(&format!(
                "<IsTruncated>true</IsTruncated>{}",
                contents("prod/a/metadata.json")
            )),
        ),
        (
            "the same token for ever",
            result(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
            ),
        ),
        (
            "keys of another prefix",
            result(&format!(
                "<Name>backups</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{}",
                contents("\u{1}/../x")
            )),
        ),
        ("16 MiB", Fault::Oversized(16 << 20).on("list-type=2")),
        (
            "an answer cut off",
            Fault::TruncateBody(40).on("list-type=2"),
        ),
        (
            "403",
            Fault::answer(403, &[], "<Error><Code>AccessDenied</Code></Error>").on("list-type=2"),
        ),
        (
            "a redirect to another host",
            Fault::answer(307, &[("location", "http://localhost:2/")], "").on("list-type=2"),
        ),
    ]
}

/// Verbs that make something of a listing, and must not say 0.
const VERBS: [&[&str]; 5] = [
    &["list"],
    &["inventory"],
    &["rewrap", KEY[0], KEY[1]],
    &["prune", "--keep-last", "1", "--yes"],
    &["verify", "--all", KEY[0], KEY[1]],
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
    for (name, rule) in listings() {
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
            report.line(name, VERBS.len(), "refused by each verb");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let verified = victim
        .run(&["verify", "--all", "--full", KEY[0], KEY[1]])
        .await;
    assert_eq!(verified.code, Some(0), "{}", verified.text);
    report.write();
}
