//! Running the program, and watching that no key ever leaves it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::kmsv2::{ProviderName, RowSealer, Seed, seed_aad};
use kdc_envelope::local::{LocalKek, keyring_file};
use kdc_envelope::{Aad, KeyEncryptionKey};
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{BoundServer, Server, SocketAddress, SocketOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A row's place in etcd, which is part of what is authenticated.
pub(crate) const ETCD_KEY: &str = "/registry/secrets/default/demo";

/// A folder for one test.
pub(crate) struct Fixture {
    folder: TempDir,
    /// What the program finds in its environment beside what the tests have.
    environment: Vec<(String, String)>,
}

/// What a run of the program came to.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// One with a keyring of one version in `keyring`.
    pub(crate) fn with_keyring() -> Self {
        let fixture = Self::new();
        fixture.kdc(&["keyring", "init", "keyring"]).succeeds();
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdc"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .env("TERM", "xterm-256color")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn kdc(&self, arguments: &[&str]) -> Run {
        self.kdc_with_input(arguments, b"")
    }

    /// Runs with everything piped. Whatever comes out must be free of terminal commands and of keys.
    pub(crate) fn kdc_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that has its answer need not read on.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let run = Run {
            code: output
                .status
                .code()
                .unwrap_or_else(|| panic!("{arguments:?}: {}", output.status)),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
        self.assert_no_keys(&run);
        run
    }

    /// Looks for every key of every keyring in the folder, raw, in hexadecimal and in base64.
    fn assert_no_keys(&self, run: &Run) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let Ok(text) = fs::read_to_string(entry.unwrap().path()) else {
                continue;
            };
            for line in text.lines().filter(|line| line.starts_with("version ")) {
                let Ok(key) = STANDARD.decode(line.rsplit(' ').next().unwrap()) else {
                    continue;
                };
                let forms = [
                    key.clone(),
                    hex::encode(&key).into_bytes(),
                    STANDARD.encode(&key).into_bytes(),
                ];
                for form in forms.iter().filter(|form| !form.is_empty()) {
                    for output in [run.stdout.as_slice(), run.stderr.as_bytes()] {
                        assert!(
                            !output.windows(form.len()).any(|window| window == form),
                            "a key leaked"
                        );
                    }
                }
            }
        }
    }

    /// A row with `plaintext`, as kube-apiserver writes it through a plugin with the file `keyring` and no cluster name.
    pub(crate) fn row(&self, plaintext: &[u8]) -> Vec<u8> {
        self.row_of_cluster(plaintext, "")
    }

    pub(crate) fn row_of_cluster(&self, plaintext: &[u8], cluster: &str) -> Vec<u8> {
        let kek = LocalKek::new(keyring_file::load(&self.path("keyring")).unwrap()).unwrap();
        seal(&kek, plaintext, cluster)
    }

    /// Serves the file `keyring` on `kms.sock` for as long as the result lives.
    pub(crate) fn serve(&self) -> Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let bound = runtime.block_on(self.bind());
        runtime.spawn(bound.run(std::future::pending()));
        runtime
    }

    /// A server of the file `keyring` on `kms.sock`.
    pub(crate) async fn bind(&self) -> BoundServer {
        let kek = LocalKek::new(keyring_file::load(&self.path("keyring")).unwrap()).unwrap();
        let address: SocketAddress = self.socket().parse().unwrap();
        let kek: Arc<dyn KeyEncryptionKey> = Arc::new(kek);
        let server = Server::of_one_key(kek, "", SocketOptions::new(address), Metrics::new("test"));
        server.bind().await.unwrap()
    }

    pub(crate) fn socket(&self) -> String {
        format!("unix://{}", self.path("kms.sock").display())
    }

    /// What is in the folder: names and content.
    pub(crate) fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
            .collect();
        files.sort();
        files
    }
}

/// A row under `kek`, at [`ETCD_KEY`].
pub(crate) fn seal(kek: &LocalKek, plaintext: &[u8], cluster: &str) -> Vec<u8> {
    let seed = Seed::random().unwrap();
    let aad = seed_aad(cluster);
    let wrapped = block_on(kek.wrap(seed.expose(), Aad::new(&aad))).unwrap();
    let provider = ProviderName::new("local").unwrap();
    let sealer = RowSealer::new(&provider, seed, &wrapped).unwrap();
    sealer.seal(plaintext, ETCD_KEY.as_bytes()).unwrap()
}

/// A runtime for servers that outlive a call.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

impl Run {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Self {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert_eq!(self.code, 0, "{}{stdout}", self.stderr);
        assert_eq!(self.stderr, "");
        self
    }

    /// Ends with `code` and exactly one line on standard error that contains `words`.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &str) -> &Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.stderr.starts_with("kdc: error: "), "{:?}", self.stderr);
        assert!(
            self.stderr.ends_with('\n') && self.stderr.lines().count() == 1,
            "{:?}",
            self.stderr
        );
        assert!(
            self.stderr.contains(words),
            "`{words}` is not in {:?}",
            self.stderr
        );
        self
    }
}

/// The text of a keyring with the file's checksum made right again after `change`.
pub(crate) fn forged(text: &[u8], change: impl FnOnce(String) -> String) -> String {
    use sha2::{Digest as _, Sha256};
    let text = std::str::from_utf8(text).unwrap();
    let body = &text[..text.find("sha256 ").unwrap()];
    let body = change(body.to_owned());
    format!("{body}sha256 {}\n", hex::encode(Sha256::digest(&body)))
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
