//! Kubeconfig files, taken as kubectl takes them (`tools/clientcmd` in client-go), or refused by naming file and field.
//!
//! Several files are merged: the first one that has a name, or a current context, wins. Relative paths are relative to the
//! file that has them. Credentials and certificates are used only where the server is https. What kubectl refuses is refused:
//! one name twice in a file, a certificate twice, more than one way to log in. Values are never quoted, since they may be secret.

mod address;
mod credentials;
mod exec;
mod memory;
mod proxy;
mod view;

use std::path::{Path, PathBuf};

use http::Uri;
use kube::Config;
use serde_json::Value;

pub(super) use address::address;
pub use memory::KubeconfigInMemory;
pub(super) use proxy::shown as shown_proxy;
use view::View;

/// Which kubeconfig to use, and which of its contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Kubeconfig {
    /// Where it is.
    pub source: KubeconfigSource,
    /// The context; without one, the current one.
    pub context: Option<String>,
}

/// Where the address of the cluster and the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers choose one")]
pub enum KubeconfigSource {
    /// This file, which must be there.
    File(PathBuf),
    /// These, as `KUBECONFIG` names them: those that are not there are skipped, but for the last one that is left.
    Files(Vec<PathBuf>),
    /// This text, such as that of a Secret. It may be of a stranger, so it must stand alone: a field that names a file or a
    /// program is refused.
    Memory(KubeconfigInMemory),
    /// The service account of the Pod that this runs in.
    InCluster,
}

/// What is wrong with a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kubeconfig `{}`: {what}", file.display())]
#[non_exhaustive]
pub struct KubeconfigError {
    /// Which file.
    pub file: PathBuf,
    /// Of which kind it is.
    pub fault: KubeconfigFault,
    /// The field, and what to do, on one line without values.
    pub what: Box<str>,
}

/// The kind of a [`KubeconfigError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KubeconfigFault {
    /// The file, or one that it names, is not there.
    Missing,
    /// It may not be read.
    Denied,
    /// It is damaged, or does not say what it has to.
    Wrong,
    /// It asks for what is not supported here.
    Unsupported,
    /// A credential plugin gave no credentials.
    Plugin,
}

impl KubeconfigError {
    fn new(file: &Path, fault: KubeconfigFault, what: impl Into<Box<str>>) -> Self {
        Self {
            file: file.to_owned(),
            fault,
            what: what.into(),
        }
    }

    fn wrong(file: &Path, what: impl Into<Box<str>>) -> Self {
        Self::new(file, KubeconfigFault::Wrong, what)
    }

    /// A file that is this kubeconfig, or that one of its fields names.
    fn unreadable(file: &Path, place: &str, error: &std::io::Error) -> Self {
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound => KubeconfigFault::Missing,
            std::io::ErrorKind::PermissionDenied => KubeconfigFault::Denied,
            _ => KubeconfigFault::Wrong,
        };
        Self::new(file, fault, format!("{place}cannot be read: {error}"))
    }
}

/// What a context means.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) config: Config,
}

impl Kubeconfig {
    /// The settings of a client, for `server` instead of the server of the cluster if there is one. May run a credential
    /// plugin, and wait for it.
    pub(super) fn target(&self, server: Option<&Uri>) -> Result<Target, KubeconfigError> {
        let environment = proxy::Environment::of_process();
        let files = match &self.source {
            KubeconfigSource::File(path) => vec![view::read(path)?],
            KubeconfigSource::Files(paths) => read_all(paths)?,
            KubeconfigSource::Memory(memory) => vec![memory.parse()?],
            KubeconfigSource::InCluster => return in_cluster(server, &environment),
        };
        Files(files).target(self.context.as_deref(), server, &environment)
    }
}

/// Those that are there.
fn read_all(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Value)>, KubeconfigError> {
    let mut files: Vec<(PathBuf, Value)> = Vec::new();
    let mut missing = None;
    for path in paths {
        if path.as_os_str().is_empty() || files.iter().any(|(known, _)| known == path) {
            continue;
        }
        match view::read(path) {
            Ok(file) => files.push(file),
            Err(error) if error.fault == KubeconfigFault::Missing => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (files.is_empty(), missing) {
        (true, Some(error)) => Err(error),
        _ => Ok(files),
    }
}

fn in_cluster(
    server: Option<&Uri>,
    environment: &proxy::Environment,
) -> Result<Target, KubeconfigError> {
    let of_pod = Path::new("service account of the Pod");
    let config = Config::incluster_env().map_err(|error| {
        KubeconfigError::new(of_pod, KubeconfigFault::Missing, error.to_string())
    })?;
    Target::new(config, server, None, environment)
        .map_err(|what| KubeconfigError::wrong(of_pod, what))
}

impl Target {
    fn new(
        mut config: Config,
        server: Option<&Uri>,
        proxy: Option<Uri>,
        environment: &proxy::Environment,
    ) -> Result<Self, String> {
        if let Some(server) = server {
            config.cluster_url = server.clone();
        }
        config.proxy_url = match proxy {
            // As kubectl does, a proxy that is named in the file is used whatever NO_PROXY says.
            Some(proxy) => Some(proxy),
            None => environment.proxy_of(&config.cluster_url)?,
        };
        Ok(Self { config })
    }
}

/// All files, in the order in which they count.
struct Files(Vec<(PathBuf, Value)>);

impl Files {
    fn target(
        &self,
        context: Option<&str>,
        server: Option<&Uri>,
        environment: &proxy::Environment,
    ) -> Result<Target, KubeconfigError> {
        let context = self.context(context)?;
        let name = self.required(&context, "cluster")?;
        let cluster = self.entry("clusters", "cluster", &name)?;
        let cluster = cluster.ok_or_else(|| {
            let known = self.names("clusters");
            context.wrong(format!(".cluster: there is no cluster `{name}`{known}"))
        })?;
        let url = self.required(&cluster, "server")?;
        let url = address(&url).map_err(|what| cluster.wrong(format!(".server: {what}")))?;
        let proxy = cluster.text("proxy-url")?;
        let proxy = proxy.map(|text| proxy::named(&text)).transpose();
        let proxy = proxy.map_err(|what| cluster.wrong(format!(".proxy-url: {what}")))?;
        let mut config = Config::new(server.cloned().unwrap_or(url));
        if config.cluster_url.scheme_str() == Some("https") {
            credentials::trust(&cluster, &mut config)?;
        }
        if let Some(name) = context.text("user")? {
            // kubectl sends no credentials for a user that is nowhere.
            if let Some(user) = self.entry("users", "user", &name)? {
                credentials::log_in(&user, &cluster, &mut config)?;
            }
        }
        Target::new(config, server, proxy, environment)
            .map_err(|what| cluster.wrong(format!(": {what}")))
    }

    fn context(&self, wanted: Option<&str>) -> Result<View<'_>, KubeconfigError> {
        let name = match wanted {
            Some(name) => name.to_owned(),
            None => self.current()?,
        };
        let known = || self.names("contexts");
        let found = self.entry("contexts", "context", &name)?;
        found.ok_or_else(|| {
            let what = match wanted {
                Some(_) => format!("there is no context `{name}`{}", known()),
                None => format!("current-context: there is no context `{name}`{}", known()),
            };
            KubeconfigError::wrong(self.first(), what)
        })
    }

    /// The name of the current context: of the first file that has one.
    fn current(&self) -> Result<String, KubeconfigError> {
        for (path, value) in &self.0 {
            if let Some(name) = View::root(path, value).text("current-context")? {
                return Ok(name);
            }
        }
        let what = format!(
            "current-context is missing; name a context with --context{}",
            self.names("contexts")
        );
        Err(KubeconfigError::wrong(self.first(), what))
    }

    /// The first file, for messages about all of them.
    fn first(&self) -> &Path {
        let first = self.0.first();
        first.map_or_else(|| Path::new(""), |(path, _)| path)
    }

    /// The entry of this name: of the first file that has one.
    fn entry(
        &self,
        list: &'static str,
        field: &'static str,
        name: &str,
    ) -> Result<Option<View<'_>>, KubeconfigError> {
        for (path, value) in &self.0 {
            let mut found = None;
            for entry in View::root(path, value).list(list)? {
                if entry.text("name")?.unwrap_or_default() != name {
                    continue;
                }
                if found.is_some() {
                    let what = format!("{list}: `{name}` is there twice; remove one");
                    return Err(KubeconfigError::wrong(path, what));
                }
                found = Some(entry.into_field(field, format!("{list}[{name}].{field}"))?);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// For messages.
    fn names(&self, list: &'static str) -> String {
        let entries = self.0.iter().flat_map(|(path, value)| {
            let root = View::root(path, value);
            root.list(list).unwrap_or_default()
        });
        let names = entries.filter_map(|entry| entry.text("name").ok().flatten());
        let names: Vec<_> = names.take(10).map(|name| format!("`{name}`")).collect();
        match names.is_empty() {
            true => format!(" (it has no {list} at all)"),
            false => format!(" (there is {})", names.join(", ")),
        }
    }

    fn required(&self, view: &View<'_>, field: &'static str) -> Result<String, KubeconfigError> {
        let text = view.text(field)?;
        text.ok_or_else(|| view.wrong(format!(".{field} is missing")))
    }
}

#[cfg(test)]
mod tests;
