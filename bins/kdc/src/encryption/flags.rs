//! Where the cluster is, where its nodes' files are, and how rows are rewritten.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use kdc_envelope_k8s::cluster::{
    ClusterError, Kubeconfig, KubeconfigSource, Overrides, connect_kubeconfig, ping,
};
use kdc_envelope_k8s::control_plane::{ControlPlane, FolderTargets, Node, Observation};
use kdc_envelope_k8s::files::{NodeFolder, StateFolder};
use kdc_envelope_k8s::rewrite::RewriteOptions;
use kdc_envelope_k8s::rotation::Timestamp;
use kube::Client;

use super::refusal;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::output::note;

/// Where `kubeadm` puts the credentials of an administrator.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// Names kubeconfigs, separated by colons.
const KUBECONFIG: &str = "KUBECONFIG";
/// Is set in a Pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// What people call the only node.
const ONLY_NODE: &str = "the API server";

/// How to reach the cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterFlags {
    /// Kubeconfig file [default: the files that KUBECONFIG names, ~/.kube/config, /etc/kubernetes/admin.conf, or the service
    /// account of the Pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context in it, if not the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The API servers with their configuration files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Nodes")]
pub(super) struct NodeFlags {
    /// EncryptionConfiguration of the API server that the kubeconfig names. Mount its folder into the API server, not the
    /// file alone.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/kubernetes/encryption-provider.conf"
    )]
    pub(super) config: PathBuf,
    /// With more API servers than one: the address of each, and its EncryptionConfiguration as it is seen from here.
    /// Repeat it for every one; --config is not used then.
    #[arg(long = "node", value_name = "URL=FILE", value_parser = parse_node)]
    pub(super) nodes: Vec<(String, PathBuf)>,
    /// Folder of the keyring and of the state of changes; back it up with the nodes' keys [default: kdc-encryption beside the
    /// first configuration]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

/// How rows are rewritten.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rows")]
pub(super) struct RewriteFlags {
    /// Maximum rows per second [default: as many as the API server sustains]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Maximum requests in flight; fewer when the API server slows down.
    #[arg(long, value_name = "N", default_value = "16")]
    in_flight: NonZeroU32,
    /// Objects per page of a list.
    #[arg(long, value_name = "N", default_value = "500")]
    page_size: NonZeroU32,
}

/// What people call the node at `url`.
fn name_of(url: &str) -> String {
    let name = url.trim_start_matches("https://").trim_end_matches('/');
    name.to_owned()
}

fn parse_node(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((url, file)) if url.starts_with("https://") && !file.is_empty() => {
            Ok((url.to_owned(), file.into()))
        }
        _ => Err("write it as https://HOST:6443=/path/of/encryption-provider.conf".to_owned()),
    }
}

impl ClusterFlags {
    fn kubeconfig(&self) -> Kubeconfig {
        Kubeconfig {
            source: self.source(),
            context: self.context.clone().filter(|name| !name.is_empty()),
        }
    }

    /// As kubectl looks for it, and where kubeadm puts one.
    fn source(&self) -> KubeconfigSource {
        if let Some(path) = &self.kubeconfig {
            return KubeconfigSource::File(path.clone());
        }
        let named = named_by_environment();
        if !named.is_empty() {
            return KubeconfigSource::Files(named);
        }
        let home = std::env::var_os("HOME").unwrap_or_default();
        let of_user = Path::new(&home).join(".kube/config");
        let admin = PathBuf::from(ADMIN);
        let is_pod = std::env::var_os(IN_CLUSTER).is_some();
        if of_user.exists() {
            KubeconfigSource::File(of_user)
        } else if is_pod && !admin.exists() {
            KubeconfigSource::InCluster
        } else {
            KubeconfigSource::Files(vec![of_user, admin])
        }
    }

    /// Where the kubeconfig was named, for messages.
    fn place(&self) -> &'static str {
        match &self.kubeconfig {
            Some(_) => "--kubeconfig",
            None if !named_by_environment().is_empty() => KUBECONFIG,
            None => "no --kubeconfig is given",
        }
    }

    /// A client for the cluster, which answers.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let client = self.client_of(None).await?;
        let pinged = ping(&client).await;
        pinged.map_err(|error| refusal::of_cluster(&error))?;
        Ok(client)
    }

    /// A client for one API server, or for the one that the kubeconfig names.
    async fn client_of(&self, server: Option<&str>) -> Result<Client, Failure> {
        let client = connect_kubeconfig(&self.kubeconfig(), Overrides::server(server)).await;
        client.map_err(|error| match &error {
            ClusterError::Kubeconfig(_) => {
                let exit = refusal::of_cluster(&error).exit();
                Failure::at(exit, self.place(), &error)
            }
            _ => refusal::of_cluster(&error),
        })
    }
}

/// The files that KUBECONFIG names; empty names count for nothing.
fn named_by_environment() -> Vec<PathBuf> {
    let paths = std::env::var_os(KUBECONFIG).unwrap_or_default();
    let paths = std::env::split_paths(&paths);
    paths.filter(|path| !path.as_os_str().is_empty()).collect()
}

impl NodeFlags {
    /// The folder of the state.
    fn state_path(&self) -> PathBuf {
        if let Some(path) = &self.state {
            return path.clone();
        }
        let config = self.nodes.first().map_or(&self.config, |(_, file)| file);
        let folder = config.parent().unwrap_or_else(|| Path::new("."));
        folder.join("kdc-encryption")
    }

    /// All of it, to read, and what is seen of it.
    pub(super) async fn observe(
        &self,
        cluster: &ClusterFlags,
    ) -> Result<(ControlPlane, Observation), Failure> {
        let state = StateFolder::read_only(self.state_path());
        self.observe_with(cluster, state, RewriteOptions::default())
            .await
    }

    /// All of it, to change, and what is seen of it.
    pub(super) async fn lock_and_observe(
        &self,
        cluster: &ClusterFlags,
        rewrite: RewriteOptions,
    ) -> Result<(ControlPlane, Observation), Failure> {
        self.check()?;
        self.observe_with(cluster, self.hold()?, rewrite).await
    }

    async fn observe_with(
        &self,
        cluster: &ClusterFlags,
        state: StateFolder,
        rewrite: RewriteOptions,
    ) -> Result<(ControlPlane, Observation), Failure> {
        let control_plane = self.control_plane(cluster, state, rewrite).await?;
        let observation = control_plane.observe().await;
        let observation = observation.map_err(|error| refusal::of_observe(&error))?;
        Ok((control_plane, observation))
    }

    /// The state and the configurations, to change.
    fn hold(&self) -> Result<StateFolder, Failure> {
        let hold = || {
            let mut state = StateFolder::hold(self.state_path())?;
            for (_, folder) in self.folders() {
                state.hold_node(&folder)?;
            }
            Ok(state)
        };
        hold().map_err(|error| refusal::of_files(&error))
    }

    /// What people call each node, and its folder.
    fn folders(&self) -> Vec<(String, NodeFolder)> {
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|(url, file)| (name_of(url), NodeFolder::of(file)));
        match self.nodes.is_empty() {
            true => vec![(ONLY_NODE.to_owned(), NodeFolder::of(&self.config))],
            false => nodes.collect(),
        }
    }

    /// Says before anything is done which configuration cannot be replaced, and who will not be able to read one any more.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for (name, folder) in self.folders() {
            let replaceable = folder.check_replaceable();
            replaceable.map_err(|error| {
                refusal::of_files(&error)
                    .hint(&format!("it is the configuration of {name}"))
                    .hint("nothing was changed")
            })?;
            let open = folder.open_to_others();
            if let Some(open) = open.map_err(|error| refusal::of_files(&error))? {
                let (path, mode) = (folder.config().display(), open.mode & 0o770);
                let (owner, group) = (open.owner, open.group);
                note(&format!(
                    "`{path}` of {name} has mode {:04o} and becomes {mode:04o} with the first step, for user {owner} and group {group} \
                     alone; if the API server runs as another user, give the file a group of that user first",
                    open.mode
                ));
            }
        }
        Ok(())
    }

    /// All of it.
    async fn control_plane(
        &self,
        cluster: &ClusterFlags,
        state: StateFolder,
        rewrite: RewriteOptions,
    ) -> Result<ControlPlane, Failure> {
        let client = cluster.client().await?;
        let mut nodes = Vec::new();
        for (url, _) in &self.nodes {
            nodes.push(Node {
                name: name_of(url).into(),
                client: cluster.client_of(Some(url)).await?,
            });
        }
        if nodes.is_empty() {
            nodes.push(Node {
                name: ONLY_NODE.into(),
                client: client.clone(),
            });
        }
        let folders = self.folders().into_iter();
        let targets = folders.map(|(name, folder)| (name.into(), folder));
        Ok(ControlPlane {
            nodes,
            client,
            targets: Arc::new(FolderTargets::new(targets)),
            store: Arc::new(state),
            members: None,
            backups: None,
            rewrite,
            clock: now.into(),
        })
    }
}

impl RewriteFlags {
    pub(super) fn options(&self) -> RewriteOptions {
        RewriteOptions {
            page_size: self.page_size,
            max_in_flight: self.in_flight,
            max_per_second: self.rate,
            ..RewriteOptions::default()
        }
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(clock::now())
}

/// How long to wait for what passes by itself.
#[derive(Debug, Args)]
pub(super) struct TimeoutFlag {
    /// How long to wait for an API server to load its file, to come back, or for KMS plugins to agree. The run then ends;
    /// `resume` goes on.
    #[arg(long, alias = "patience", value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
}

/// A script is not asked.
#[derive(Debug, Args)]
pub(super) struct YesFlag {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl YesFlag {
    /// Asks `question` on the terminal, unless `--yes` answers it.
    pub(super) fn confirm(&self, question: &str) -> Result<(), Failure> {
        use std::io::{BufRead as _, IsTerminal as _, Write as _};
        if self.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            let line = "no terminal to confirm the change on; check it with `kdc encryption plan`, then give --yes";
            return Err(Failure::new(Exit::Usage, line));
        }
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{question} Type yes to continue: ");
        let _ = stderr.flush();
        let mut answer = String::new();
        let read = stdin.lock().read_line(&mut answer);
        match read {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            _ => Err(Failure::new(
                Exit::Negative,
                "not confirmed; nothing was changed",
            )),
        }
    }
}
