//! Builds the servers from source, pinned by a `go.mod` and `go.sum` of our
//! own, once for each content of these files.
//!
//! The cache lies outside `target/`, so that `cargo clean` costs no ten
//! minutes: `$KDC_TESTBED_CACHE`, else `$XDG_CACHE_HOME/kdc-envelope/servers`,
//! else `~/.cache/kdc-envelope/servers`.

mod build;
pub(crate) mod cache;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use build::prepare;
pub(crate) use build::prepare_in_background;

use crate::Error;

/// Names the API servers that tests run on, separated by commas.
pub const KUBE_MINORS: &str = "KDC_TESTBED_KUBE_MINORS";

/// Something that is built from source for the tests.
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
    /// Upstream's transformers and KMS server behind a small program of ours.
    Oracle,
}

impl Server {
    /// All that tests need: the newest API server alone, or with `matrix` each
    /// that is supported.
    #[must_use]
    pub fn all(matrix: bool) -> Vec<Self> {
        let minors: &[KubeMinor] = if matrix {
            &KubeMinor::ALL
        } else {
            &[KubeMinor::DEFAULT]
        };
        let mut servers = vec![Self::Etcd, Self::Etcdctl, Self::Etcdutl, Self::Oracle];
        servers.extend(minors.iter().copied().map(Self::KubeApiserver));
        servers
    }

    /// Name of the program, and of its folder in the cache.
    fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
            Self::KubeApiserver(_) => "kube-apiserver",
            Self::Oracle => "oracle",
        }
    }

    /// Folder of its Go module.
    fn module(self) -> PathBuf {
        let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
        match self {
            Self::Etcd | Self::Etcdctl | Self::Etcdutl => testbed.join("servers/etcd"),
            Self::KubeApiserver(minor) => testbed.join(format!("servers/kube-apiserver-{minor}")),
            Self::Oracle => testbed.join("oracle"),
        }
    }

    /// Go package to build.
    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Etcdctl => "go.etcd.io/etcd/etcdctl/v3",
            Self::Etcdutl => "go.etcd.io/etcd/etcdutl/v3",
            Self::KubeApiserver(_) => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::Oracle => ".",
        }
    }

    /// Flags of the linker. kube-apiserver learns its version from them alone.
    fn linker_flags(self) -> String {
        let Self::KubeApiserver(minor) = self else {
            return "-s -w".to_owned();
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
            Self::KubeApiserver(minor) => write!(f, "kube-apiserver {minor}"),
            other => f.write_str(other.program()),
        }
    }
}

/// A minor version of Kubernetes that is supported and tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KubeMinor {
    /// The oldest: earlier ones send an `:authority` that no HTTP/2 server in
    /// Rust accepts.
    V1_32,
    /// The newest.
    V1_36,
}

impl KubeMinor {
    /// All, oldest first.
    pub const ALL: [Self; 2] = [Self::V1_32, Self::V1_36];
    /// The one that tests use when nothing else is asked for.
    pub const DEFAULT: Self = Self::V1_36;

    /// The minors that tests shall run on: those in `$KDC_TESTBED_KUBE_MINORS`
    /// (such as `1.32,1.36`), else the default alone.
    ///
    /// # Errors
    /// [`Error::Environment`] when the variable holds anything else.
    pub fn selected() -> Result<Vec<Self>, Error> {
        let Ok(text) = std::env::var(KUBE_MINORS) else {
            return Ok(vec![Self::DEFAULT]);
        };
        text.split(',')
            .map(|minor| minor.trim().parse())
            .collect::<Result<_, UnknownMinor>>()
            .map_err(|error| Error::Environment {
                name: KUBE_MINORS,
                value: text.clone(),
                expected: error.to_string(),
            })
    }

    fn release(self) -> &'static str {
        match self {
            Self::V1_32 => "1.32.13",
            Self::V1_36 => "1.36.3",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::V1_32 => 32,
            Self::V1_36 => 36,
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
#[error("1.32 or 1.36, or both with a comma between")]
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

/// How a preparation comes along.
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
                std::fs::read_to_string(Server::KubeApiserver(minor).module().join("go.mod"))
                    .unwrap();
            assert!(
                text.contains(&format!("k8s.io/kubernetes v{}", minor.release())),
                "{minor}"
            );
        }
    }
}
