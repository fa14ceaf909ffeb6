use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use kdc_testbed::proxy::{Fault, Rule};
use kdc_testbed::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use kdc_testbed::{Moto, Proxy, S3 as Server};

use super::environment::Environment;
use super::settings::{Checksum, S3Settings};
use super::store::S3Store;
use crate::error::{BackupError, BackupErrorKind as ErrorKind};
use crate::store::Replaced;
use crate::store::tests::{Bucket, Files, contract, line, wait};

/// Two full parts and a short one.
const LEN: usize = (16 << 20) + 1000;

fn settings(endpoint: &str, bucket: &str) -> S3Settings {
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    S3Settings {
        prefix: prefix.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        allow_http: endpoint.starts_with("http:"),
        ..S3Settings::new(bucket)
    }
}

fn connect(settings: &S3Settings, environment: &Environment) -> Result<Bucket, BackupError> {
    let store = S3Store::connect_in(settings, environment)?;
    Ok(Bucket(Arc::new(store)))
}

fn environment(secret: &str) -> Environment {
    let variables = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Why nothing in the bucket can be listed.
fn listing_failure(bucket: &Bucket) -> BackupError {
    bucket.entries(None).next().unwrap().unwrap_err()
}

fn open(endpoint: &str, bucket: &str) -> Bucket {
    let environment = environment(SECRET_ACCESS_KEY);
    connect(&settings(endpoint, bucket), &environment).unwrap()
}

/// A server behind a proxy that does to it what it is told.
struct Scene {
    server: Server,
    proxy: Proxy,
}

impl Scene {
    fn new() -> Self {
        let (server, proxy) = wait(async {
            let server = Server::start().await.unwrap();
            server.create_bucket("bucket").unwrap();
            let proxy = Proxy::start(server.endpoint()).await.unwrap();
            (server, proxy)
        });
        Self { server, proxy }
    }

    fn files(&self, id: &str) -> Files {
        open(&self.proxy.address(), "bucket/pre/fix").snapshot("c", id)
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.server.unfinished_uploads().unwrap(), (0, 0));
    }
}

fn data() -> Vec<u8> {
    (0..=250).cycle().take(LEN).collect()
}

fn write(files: &Files) -> Result<u64, BackupError> {
    let mut writer = files.create_data()?;
    match writer.write_all(&data()) {
        Ok(()) => writer.finish(),
        Err(error) => Err(carried(error)),
    }
}

fn carried(error: std::io::Error) -> BackupError {
    BackupError::carried(error).unwrap()
}

fn read(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    files.data(None).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_server_keeps_the_contract_of_a_bucket() {
    let scene = Scene::new();
    contract(&open(scene.server.endpoint(), "bucket"), &data());
    contract(&open(scene.server.endpoint(), "bucket/a/b"), &data());
    scene.assert_nothing_is_left();
}

#[test]
fn moto_keeps_the_contract_of_a_bucket() {
    let moto = wait(async {
        let moto = Moto::start().await.unwrap();
        moto.create_bucket("bucket").await.unwrap();
        moto
    });
    contract(&open(moto.endpoint(), "bucket/a"), &data());
    let left = wait(moto.unfinished_uploads("bucket"));
    assert_eq!(left.unwrap(), 0);
}

#[test]
fn keys_that_the_client_cannot_hold_hide_no_snapshot() {
    let odd = ["/z", "c//x", "c/s013//y", "c/s013//z", "d/e//", "d/e//.db"];
    let moto = wait(Moto::start()).unwrap();
    for (name, prefix) in [("below", "pre/fix/"), ("whole", "")] {
        wait(async {
            moto.create_bucket(name).await.unwrap();
            for key in odd {
                let key = format!("{prefix}{key}");
                moto.put_object(name, &key, "x").await.unwrap();
            }
        });
        let place = format!("{name}/{prefix}");
        let bucket = open(moto.endpoint(), place.trim_end_matches('/'));
        let ids: Vec<String> = (0..40).map(|number| format!("s{number:03}")).collect();
        for id in &ids {
            bucket.snapshot("c", id).commit(b"{}").unwrap();
        }
        let mut found = Vec::new();
        let mut others = Vec::new();
        for entry in bucket.entries(None).map(Result::unwrap) {
            match entry.metadata {
                Some(_) => found.push(entry.id),
                None => others.extend(entry.foreign.into_iter().chain(entry.plaintext_db)),
            }
        }
        assert_eq!(found, ids, "{name}");
        assert_eq!(others, odd, "{name}");
        assert_eq!(bucket.entries(Some("c")).count(), 40 + 3, "{name}");
    }
}

#[test]
fn a_server_with_tls_keeps_the_contract_of_a_bucket() {
    let server = wait(Server::start_with_tls()).unwrap();
    server.create_bucket("bucket").unwrap();
    let mut settings = settings(server.endpoint(), "bucket");
    settings.ca_file = server.ca_file().map(ToOwned::to_owned);
    let environment = environment(SECRET_ACCESS_KEY);
    contract(&connect(&settings, &environment).unwrap(), &data());
}

#[test]
fn what_a_server_breaks_is_done_again() {
    let part = "PUT /bucket/pre/fix/c/";
    let cases: [(&str, Rule); 6] = [
        ("error", Fault::status(500, "x").on("partNumber=2").times(3)),
        ("cut", Fault::CutRequest.on("partNumber=1").times(2)),
        ("slow", Fault::Delay(Duration::from_millis(300)).on(part)),
        ("lost-part", Fault::Reset(0).on("partNumber=3").times(1)),
        ("lost-end", Fault::Reset(0).on("POST").times(1)),
        (
            "lost-begin",
            Fault::status(503, "x").on("?uploads").times(1),
        ),
    ];
    let scene = Scene::new();
    for (id, rule) in cases {
        let files = scene.files(id);
        scene.proxy.set(rule);
        assert_eq!(write(&files).unwrap(), LEN as u64, "{id}");
        scene.proxy.clear();
        assert!(read(&files) == data(), "{id}");
    }
    // A begin whose answer was lost is begun again, and leaves one that no caller knows of.
    let (uploads, parts) = scene.server.unfinished_uploads().unwrap();
    assert!(uploads <= 1 && parts == 0);
}

#[test]
fn lost_answers_to_metadata_are_looked_up() {
    let scene = Scene::new();
    let files = scene.files("s");
    scene.proxy.set(Fault::Reset(0).on("PUT").times(1));
    files.commit(b"one").unwrap();
    let stored = files.read_metadata().unwrap().unwrap();
    let put = "PUT /bucket/pre/fix/c/s/metadata.json";
    scene.proxy.set(Fault::Reset(0).on(put).times(1));
    let replaced = files
        .replace_metadata(b"two", "dek", &stored.version)
        .unwrap();
    assert_eq!(replaced, Replaced::Yes);
    scene.proxy.set(Fault::status(412, "x").on(put));
    let stored = files.read_metadata().unwrap().unwrap();
    let replaced = files
        .replace_metadata(b"three", "dek", &stored.version)
        .unwrap();
    assert_eq!(replaced, Replaced::Conflict);
    assert_eq!(
        files.commit(b"three").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let files = scene.files("s");
    write(&files).unwrap();
    scene
        .proxy
        .set(Fault::TruncateBody(5 << 20).on("GET").times(2));
    assert!(read(&files) == data());
    scene.proxy.set(Fault::status(503, "x").on("GET").times(1));
    let mut bytes = Vec::new();
    let range = 1000..(9_usize << 20);
    files
        .data(Some(range.start as u64..range.end as u64))
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert!(bytes == data()[range]);
}

#[test]
fn an_upload_that_fails_is_aborted() {
    let scene = Scene::new();
    scene.proxy.set(Fault::status(403, "x").on("partNumber=3"));
    let failure = write(&scene.files("s")).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Denied);
    scene.assert_nothing_is_left();
    scene.proxy.clear();
    let mut writer = scene.files("t").create_data().unwrap();
    writer.write_all(&data()).unwrap();
    writer.abort().unwrap();
    scene.assert_nothing_is_left();
    assert_eq!(scene.files("t").data_len().unwrap(), None);
}

#[test]
fn a_client_that_is_refused_is_told_what_to_do() {
    let scene = Scene::new();
    let told = |bucket: Bucket| {
        let failure = listing_failure(&bucket);
        (failure.kind(), line(&failure))
    };
    let settings = settings(scene.server.endpoint(), "bucket");
    let (exit, text) = told(connect(&settings, &environment("wrong")).unwrap());
    assert_eq!(exit, ErrorKind::Denied, "{text}");
    assert!(
        text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("wrong"),
        "{text}"
    );
    let (exit, text) = told(open(scene.server.endpoint(), "missing"));
    assert_eq!(exit, ErrorKind::NotFound, "{text}");
    assert!(
        text.contains("s3://missing") && text.contains("create it"),
        "{text}"
    );
    let failure = connect(&settings, &Environment::default()).unwrap_err();
    assert!(line(&failure).contains("AWS_ACCESS_KEY_ID"));
    let gone = "http://127.0.0.1:1";
    let (exit, text) = told(open(gone, "bucket"));
    assert_eq!(exit, ErrorKind::Unavailable, "{text}");
    assert!(
        text.contains(gone) && text.contains("the endpoint"),
        "{text}"
    );
}

#[test]
fn a_bucket_with_object_lock_takes_what_has_a_checksum() {
    let moto = wait(async {
        let moto = Moto::start().await.unwrap();
        moto.create_locked_bucket("locked").await.unwrap();
        moto
    });
    let mut settings = settings(moto.endpoint(), "locked");
    let files = |settings: &S3Settings| {
        let environment = environment(SECRET_ACCESS_KEY);
        connect(settings, &environment).unwrap().snapshot("c", "s")
    };
    let failure = files(&settings).commit(b"{}").unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Configuration);
    let text = line(&failure);
    assert!(text.contains("give the checksum sha256"), "{text}");
    settings.checksum = Some(Checksum::Sha256);
    assert_eq!(write(&files(&settings)).unwrap(), LEN as u64);
    files(&settings).commit(b"{}").unwrap();
}

#[test]
fn what_hands_out_credentials_is_named_when_it_does_not() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "t").unwrap();
    let open = |address: &str| {
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", address),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                token.to_str().unwrap(),
            ),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = settings(scene.server.endpoint(), "bucket");
        connect(&settings, &variables.into_iter().collect()).unwrap()
    };
    let ends = |bucket: Bucket, words: &str| {
        let failure = listing_failure(&bucket);
        let text = line(&failure);
        assert_eq!(failure.kind(), ErrorKind::Denied, "{text}");
        assert!(text.contains(words), "{text}");
    };
    ends(
        open("http://127.0.0.1:1/x"),
        "127.0.0.1, which hands out the credentials, does not answer",
    );
    scene.proxy.set(Fault::answer(
        403,
        &[],
        "<Error><Code>AccessDenied</Code></Error>",
    ));
    let address = format!("{}/credentials", scene.proxy.address());
    ends(open(&address), "answered 403 (AccessDenied)");
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_away() {
    let scene = Scene::new();
    let address = scene.server.endpoint().replace("http://", "https://");
    let failure = listing_failure(&open(&address, "bucket"));
    let text = line(&failure);
    assert_eq!(failure.kind(), ErrorKind::Unavailable, "{text}");
    assert!(text.contains("it may have no TLS"), "{text}");
    let server = wait(Server::start_with_tls()).unwrap();
    let address = server.endpoint().replace("https://", "http://");
    let failure = listing_failure(&open(&address, "bucket"));
    let text = line(&failure);
    assert_eq!(failure.kind(), ErrorKind::Unavailable, "{text}");
    assert!(text.contains("begin the endpoint with https://"), "{text}");
}
