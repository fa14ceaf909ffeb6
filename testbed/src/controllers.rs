//! A real kube-controller-manager, with the controllers that a test asks for.

use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::servers::{KubeMinor, Server, prepare_in_background};
use crate::{ApiServer, Error};

/// A running kube-controller-manager of the newest version. Ends when dropped.
#[derive(Debug)]
pub struct ControllerManager {
    process: Process,
    _folder: TempDir,
}

impl ControllerManager {
    /// Starts it for `server` with these controllers alone. It serves nothing itself; what it does shows in its objects.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub async fn start(server: &ApiServer, controllers: &[&str]) -> Result<Self, Error> {
        let program =
            prepare_in_background(Server::KubeControllerManager(KubeMinor::NEWEST)).await?;
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let mut command = Command::new(program);
        command
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .arg(format!("--controllers={}", controllers.join(",")))
            .args(["--leader-elect=false", "--secure-port=0"]);
        let log = folder.path().join("kube-controller-manager.log");
        let process = Process::start_owning(
            Some(folder.path()),
            "kube-controller-manager",
            &command,
            &log,
        )?;
        Ok(Self {
            process,
            _folder: folder,
        })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
