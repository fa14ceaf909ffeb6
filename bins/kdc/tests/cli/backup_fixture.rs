//! What tests of `kdc backup` run on: a keyring, and a bucket that is a folder or one of S3. The tests are the same for each.

use std::fs;
use std::path::{Path, PathBuf};

use kdc_testbed::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use kdc_testbed::{Etcd, S3};
use tokio::runtime::Runtime;

use crate::fixture::{ETCD_KEY, Fixture, Run, runtime};

/// The bucket's name, and what is before the clusters in it.
const BUCKET: &str = "backups";
const PREFIX: &str = "etcd/daily";
const KEY: [&str; 2] = ["--keyring", "keyring"];

/// Where snapshots are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Folder,
    /// Over plain HTTP: endpoint, region and key come from the environment.
    S3,
    /// With TLS: endpoint and authority come from flags, the key from a profile.
    S3WithTls,
}

/// A place, a keyring, and the program between them.
pub(crate) struct BackupFixture {
    pub(crate) fixture: Fixture,
    flags: Vec<String>,
    server: Option<S3>,
    /// Ends after the server in it.
    pub(crate) runtime: Runtime,
}

impl BackupFixture {
    /// An empty bucket, and a keyring of one version in `keyring`.
    pub(crate) fn new(place: Place) -> Self {
        let mut backups = Self {
            fixture: Fixture::with_keyring(),
            flags: vec!["--bucket".to_owned(), "bucket".to_owned()],
            server: None,
            runtime: runtime(),
        };
        match place {
            Place::Folder => fs::create_dir(backups.fixture.path("bucket")).unwrap(),
            Place::S3 => backups.start_plain(),
            Place::S3WithTls => backups.start_with_tls(),
        }
        backups
    }

    fn start_plain(&mut self) {
        let server = self.runtime.block_on(S3::start()).unwrap();
        let variables = [
            ("AWS_ENDPOINT_URL", server.endpoint()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ];
        for (name, value) in variables {
            self.fixture.set_env(name, value);
        }
        self.take_server(server, &["--s3-allow-http"]);
    }

    fn start_with_tls(&mut self) {
        let server = self.runtime.block_on(S3::start_with_tls()).unwrap();
        let credentials = format!(
            "[other]\naws_access_key_id = no\n\n[backup]\naws_access_key_id = {ACCESS_KEY_ID}\n\
             aws_secret_access_key = {SECRET_ACCESS_KEY}\n"
        );
        self.fixture.write("credentials", credentials);
        self.fixture
            .set_env("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        self.fixture.set_env("AWS_PROFILE", "backup");
        let endpoint = server.endpoint().to_owned();
        let authority = server.ca_file().unwrap().to_str().unwrap().to_owned();
        let flags = ["--s3-endpoint", &endpoint, "--s3-ca-file", &authority];
        self.take_server(server, &flags);
    }

    fn take_server(&mut self, server: S3, flags: &[&str]) {
        server.create_bucket(BUCKET).unwrap();
        let url = format!("s3://{BUCKET}/{PREFIX}");
        self.flags = owned(&[&["--bucket", &url], flags].concat());
        self.server = Some(server);
    }

    /// The words of a verb of `kdc backup` on the bucket, with further words.
    pub(crate) fn words(&self, verb: &str, more: &[&str]) -> Vec<String> {
        let mut words = owned(&["backup", verb]);
        words.extend(self.flags.iter().cloned());
        words.extend(owned(more));
        words
    }

    /// Runs a verb on the bucket.
    pub(crate) fn run(&self, verb: &str, more: &[&str]) -> Run {
        self.run_words(&self.words(verb, more))
    }

    /// Runs a verb with the keyring.
    pub(crate) fn run_with_key(&self, verb: &str, more: &[&str]) -> Run {
        self.run(verb, &[&KEY, more].concat())
    }

    /// Runs a verb with the keyring on the cluster `prod`.
    pub(crate) fn on_prod(&self, verb: &str, more: &[&str]) -> Run {
        self.run_with_key(verb, &[&["--cluster", "prod"], more].concat())
    }

    pub(crate) fn run_words(&self, words: &[String]) -> Run {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.fixture.kdc(&words)
    }

    /// Makes the next version of the keyring the one that wraps.
    pub(crate) fn rotate(&self) {
        for step in ["add", "promote"] {
            self.fixture.kdc(&["keyring", step, "keyring"]).succeeds();
        }
    }

    /// The file that holds an object, or the folder of those below a key: of the bucket itself without one.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        match &self.server {
            None => self.fixture.path("bucket").join(key),
            Some(server) => server.bucket_folder(BUCKET).join(PREFIX).join(key),
        }
    }

    pub(crate) fn read(&self, key: &str) -> Vec<u8> {
        fs::read(self.file(key)).unwrap()
    }

    /// Whether there is an object, or any below the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        has_files(&self.file(key))
    }

    /// Where the S3 server is, if there is one.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.server.as_ref().map(S3::endpoint)
    }

    /// Uploads in parts that were begun and not ended, and their parts; none in a folder.
    pub(crate) fn unfinished_uploads(&self) -> (usize, usize) {
        let server = self.server.as_ref();
        server.map_or((0, 0), |server| server.unfinished_uploads().unwrap())
    }

    /// An etcd with encrypted and plain rows, some changed and one deleted.
    pub(crate) fn etcd_with_rows(&self) -> Etcd {
        let runtime = &self.runtime;
        let etcd = runtime.block_on(Etcd::start()).unwrap();
        let put = |key: &str, value: &[u8]| runtime.block_on(etcd.put(key, value)).unwrap();
        for number in 0..40 {
            let row = self.fixture.row(format!("secret {number}").as_bytes());
            put(&format!("{ETCD_KEY}{number}"), &row);
            put(&format!("{ETCD_KEY}{number}"), &row);
        }
        put("/registry/configmaps/default/plain", &vec![b'x'; 300_000]);
        put("/registry/secrets/default/gone", b"gone");
        runtime
            .block_on(etcd.delete("/registry/secrets/default/gone"))
            .unwrap();
        etcd
    }

    /// A snapshot of such an etcd in `saved.db`.
    pub(crate) fn save_snapshot(&self) {
        let etcd = self.etcd_with_rows();
        etcd.save_snapshot(&self.fixture.path("saved.db")).unwrap();
    }
}

/// S3 has no folders; an empty one is what the server of the tests leaves.
fn has_files(path: &Path) -> bool {
    match fs::read_dir(path) {
        Err(_) => path.exists(),
        Ok(entries) => entries
            .into_iter()
            .any(|entry| has_files(&entry.unwrap().path())),
    }
}

pub(crate) fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
