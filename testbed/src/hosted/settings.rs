//! How fast a [`TenantRunner`](super::TenantRunner) is, and what it can run.

use std::path::PathBuf;
use std::time::Duration;

/// The delays of kubelet and Kamaji.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at all objects.
    pub(super) tick: Duration,
    /// Between two probes; else as each says.
    pub(super) probe_period: Option<Duration>,
    /// The longest time until a changed Secret is in a volume.
    pub(super) secrets: Duration,
    /// Between the deletion of a pod and SIGTERM.
    pub(super) before_end: Duration,
    /// Between the end of a container and its next start.
    pub(super) back_off: Duration,
    /// How many times its time a start-up probe has.
    pub(super) startup_factor: u32,
}

/// The programs of images, found by the last part of their name without its tag: `kube-apiserver`, one that ends in `kms-plugin`, and
/// `busybox` for tools of the machine. No other image can be pulled.
#[derive(Debug, Clone)]
pub(super) struct Images {
    server: PathBuf,
    kms_plugin: PathBuf,
}

impl Images {
    pub(super) fn new(server: PathBuf, kms_plugin: PathBuf) -> Self {
        Self { server, kms_plugin }
    }

    /// `Some(None)` for the machine's own tools, `None` for an image that is not there.
    pub(super) fn program(&self, image: &str) -> Option<Option<PathBuf>> {
        let name = image.rsplit('/').next().unwrap_or(image);
        let name = name.split([':', '@']).next().unwrap_or(name);
        match name {
            "kube-apiserver" => Some(Some(self.server.clone())),
            "busybox" => Some(None),
            name if name.ends_with("kms-plugin") => Some(Some(self.kms_plugin.clone())),
            _ => None,
        }
    }
}
