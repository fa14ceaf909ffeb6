//! The program `kms-plugin` with its key in OpenBao.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kdc_envelope_kms::client::KmsClient;
use kdc_testbed::{Process, programs};

/// A machine that compiles beside the tests needs longer than an idle one.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Makes the command that runs a program, to which its arguments are added.
pub(crate) type Launch<'l> = &'l dyn Fn(&Path) -> Command;

pub(crate) struct Plugin {
    pub(crate) process: Process,
    pub(crate) socket: PathBuf,
    pub(crate) client: KmsClient,
}

impl Plugin {
    /// Starts it in `folder` with further `arguments`, and its log in `log`.
    pub(crate) async fn start(folder: &Path, log: &Path, arguments: &[&str]) -> Self {
        Self::launch(&|program| Command::new(program), folder, log, arguments).await
    }

    /// The same with a command that runs the program.
    pub(crate) async fn launch(
        launch: Launch<'_>,
        folder: &Path,
        log: &Path,
        arguments: &[&str],
    ) -> Self {
        let socket = folder.join("kms.sock");
        let mut command = launch(&programs::build().unwrap().kms_plugin);
        command.arg("--socket").arg(&socket);
        command.args(["--bao-key", "etcd", "--bao-insecure-http"]);
        command.args(["--bao-poll-interval", "2s"]);
        command.args(["--log-format", "json", "--log-level", "debug"]);
        command.args(arguments);
        let mut process = Process::start("kms-plugin", &command, log).unwrap();
        let client = KmsClient::new(&socket.to_str().unwrap().parse().unwrap());
        let begin = Instant::now();
        while !socket.exists() {
            process.ensure_running().unwrap();
            assert!(begin.elapsed() < SOON, "the plugin does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            process,
            socket,
            client,
        }
    }

    /// Waits until it says that it works.
    pub(crate) async fn healthy(&self) -> Duration {
        let begin = Instant::now();
        loop {
            match self.client.status().await {
                Ok(_) => return begin.elapsed(),
                Err(error) if begin.elapsed() > SOON => {
                    panic!("not healthy: {error}\n{}", self.process.log_tail())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Puts a credential where the plugin reads it, in one step as kubelet does.
pub(crate) fn put(path: &Path, content: &str) {
    let scratch = path.with_extension("scratch");
    fs::write(&scratch, content).unwrap();
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&scratch, path).unwrap();
}
