//! The settings of a manager as flags, under environment variables with the prefix of the program, and in a file.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kdc_envelope_bao::settings::section::{
    MapAccess, Section, duration, list, path, plain, section, through, time,
};
use kdc_envelope_bao::settings::{FromEnvironment, VariablePrefix};
use kdc_envelope_k8s::controller::LeaderSettings;
use serde::de::{Deserialize, Deserializer, Visitor};
use tracing_subscriber::filter::Targets;

use crate::config_file::{self, FileError, each, unknown};
use crate::logging::{LogFormat, log_level};

/// All settings of one manager: those that all have, and `S`, its own.
#[derive(Debug, Args)]
pub struct ManagerOptions<P, S>
where
    P: VariablePrefix + Send + Sync + 'static,
    S: Args + Section + Send + Sync + 'static,
{
    /// The file that may hold more of them.
    #[command(flatten)]
    pub file: FromEnvironment<P, ConfigArgs>,
    /// Those that all managers have.
    #[command(flatten)]
    pub common: FromEnvironment<P, ManagerArgs>,
    /// Those of this one.
    #[command(flatten)]
    pub own: FromEnvironment<P, S>,
}

impl<P, S> ManagerOptions<P, S>
where
    P: VariablePrefix + Send + Sync + 'static,
    S: Args + Section + Send + Sync + 'static,
{
    /// Reads the file, if one is named, and puts what was given over it.
    ///
    /// # Errors
    /// [`ManagerSettingsError`]
    pub fn gather(self, default_lease: &str) -> Result<(ManagerSettings, S), ManagerSettingsError> {
        let file: InFile<S> = match &self.file.config {
            Some(path) => config_file::read(path)?,
            None => InFile::default(),
        };
        let common = self.common.into_inner().merge_over(file.common);
        let own = self.own.into_inner().merge_over(file.own);
        Ok((common.resolve(default_lease)?, own))
    }
}

/// Where the configuration file is.
#[derive(Debug, Default, Clone, Args)]
pub struct ConfigArgs {
    /// YAML file with any of these settings, under the same names without dashes in front;
    /// environment variables override it, flags override both.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The settings that all managers have, each given or not.
#[derive(Debug, Default, Clone, Args)]
pub struct ManagerArgs {
    /// Kubeconfig of the management cluster [default: the service account of the pod]
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = CLUSTER)]
    pub context: Option<String>,

    /// Watch these namespaces alone [default: all]
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', help_heading = CLUSTER)]
    pub watch_namespaces: Option<Vec<String>>,

    /// Namespace of the Lease [default: that of the pod, else kube-dc]
    #[arg(long, value_name = "NAMESPACE", help_heading = LEASE)]
    pub lease_namespace: Option<String>,

    /// Name of the Lease [default: that of the program]
    #[arg(long, value_name = "NAME", help_heading = LEASE)]
    pub lease_name: Option<String>,

    /// After how long another process may take a Lease that is not renewed, from 5s to 10m [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = LEASE)]
    pub lease_duration: Option<Duration>,

    /// Name of this process, which no other may have [default: that of the pod]
    #[arg(long, value_name = "NAME", help_heading = LEASE)]
    pub identity: Option<String>,

    /// Serve /livez, /readyz and /metrics on this address, for example 0.0.0.0:8080 [default: none]
    #[arg(long, value_name = "IP:PORT", help_heading = OBSERVE)]
    pub http_address: Option<SocketAddr>,

    /// Form of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = OBSERVE)]
    pub log_format: Option<LogFormat>,

    /// off, error, warn, info, debug or trace, also by module: info,h2=debug [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = log_level, help_heading = OBSERVE)]
    pub log_level: Option<Targets>,
}

const CLUSTER: &str = "Management cluster";
const LEASE: &str = "Leader election";
const OBSERVE: &str = "Observation";

section!(ManagerArgs {
    kubeconfig: "kubeconfig" by path,
    context: "context" by plain,
    watch_namespaces: "watch-namespaces" by list,
    lease_namespace: "lease-namespace" by plain,
    lease_name: "lease-name" by plain,
    lease_duration: "lease-duration" by time,
    identity: "identity" by plain,
    http_address: "http-address" by plain,
    log_format: "log-format" by plain,
    log_level: "log-level" by level,
});

fn level<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Targets>, A::Error> {
    through(map, log_level)
}

/// Settings that do not make sense, or a file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ManagerSettingsError {
    /// The configuration file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no name for this process.
    #[error(
        "no name for this process, by which a Lease tells it from others; add --identity NAME, or set POD_NAME to the name of the pod"
    )]
    NoIdentity,
    /// The name is too long.
    #[error("--identity must have 1 to 100 printable characters")]
    Identity,
    /// A Lease that is too short or too long.
    #[error("--lease-duration must be whole seconds from 5s to 10m")]
    LeaseDuration,
    /// A list without entries, or with an empty one.
    #[error("--watch-namespaces names no namespace, or an empty one; leave it away to watch all")]
    Namespaces,
}

/// The settings that all managers have, checked.
#[derive(Debug, Clone)]
pub struct ManagerSettings {
    /// The kubeconfig, unless the service account of the pod is used.
    pub kubeconfig: Option<PathBuf>,
    /// Its context.
    pub context: Option<String>,
    /// The namespaces to watch; `None` for all.
    pub watch_namespaces: Option<Vec<String>>,
    /// The Lease.
    pub leader: LeaderSettings,
    /// Where probes and scrapers come, if anywhere.
    pub http_address: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: Targets,
}

const SHORTEST_LEASE: Duration = Duration::from_secs(5);
const LONGEST_LEASE: Duration = Duration::from_mins(10);
const LONGEST_IDENTITY: usize = 100;
/// Where the pod's own namespace is.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where managers are if nothing says otherwise.
const DEFAULT_NAMESPACE: &str = "kube-dc";

impl ManagerArgs {
    fn resolve(self, default_lease: &str) -> Result<ManagerSettings, ManagerSettingsError> {
        let identity = self.identity.or_else(|| std::env::var("POD_NAME").ok());
        let identity = identity.ok_or(ManagerSettingsError::NoIdentity)?;
        let is_printable = identity.chars().all(|c| c.is_ascii_graphic());
        if !(1..=LONGEST_IDENTITY).contains(&identity.len()) || !is_printable {
            return Err(ManagerSettingsError::Identity);
        }
        let namespaces = self.watch_namespaces.as_ref();
        if namespaces.is_some_and(|all| all.is_empty() || all.iter().any(String::is_empty)) {
            return Err(ManagerSettingsError::Namespaces);
        }
        let namespace = self.lease_namespace.or_else(pod_namespace);
        let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let name = self.lease_name.unwrap_or_else(|| default_lease.to_owned());
        let mut leader = LeaderSettings::new(namespace, name, identity);
        if let Some(duration) = self.lease_duration {
            let is_whole = duration.subsec_nanos() == 0;
            if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&duration) || !is_whole {
                return Err(ManagerSettingsError::LeaseDuration);
            }
            leader = leader.lasting(duration);
        }
        Ok(ManagerSettings {
            kubeconfig: self.kubeconfig,
            context: self.context,
            watch_namespaces: self.watch_namespaces,
            leader,
            http_address: self.http_address,
            log_format: self.log_format.unwrap_or_default(),
            log_level: self
                .log_level
                .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO)),
        })
    }
}

fn pod_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(POD_NAMESPACE).ok()?;
    Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// The settings of a file.
#[derive(Debug, Default)]
struct InFile<S> {
    common: ManagerArgs,
    own: S,
}

impl<'de, S: Section> Deserialize<'de> for InFile<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top<S>(PhantomData<S>);
        impl<'de, S: Section> Visitor<'de> for Top<S> {
            type Value = InFile<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            /// A file of comments alone.
            fn visit_unit<E>(self) -> Result<InFile<S>, E> {
                Ok(InFile::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InFile<S>, A::Error> {
                let mut given = InFile::<S>::default();
                each(&mut map, |name, map| {
                    match given.common.set(name, map)? || given.own.set(name, map)? {
                        true => Ok(()),
                        false => Err(unknown(name)),
                    }
                })?;
                Ok(given)
            }
        }
        deserializer.deserialize_map(Top(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    struct Test;
    impl VariablePrefix for Test {
        const PREFIX: &'static str = "KDC_SHARED_TEST_";
    }

    #[derive(Debug, Default, Clone, Args)]
    struct Own {
        /// An address.
        #[arg(long)]
        openbao_url: Option<String>,
    }
    section!(Own { openbao_url: "openbao-url" by plain, });

    fn options(arguments: &[&str]) -> ManagerOptions<Test, Own> {
        let command = ManagerOptions::<Test, Own>::augment_args(Command::new("manager"));
        let matches = command.try_get_matches_from(std::iter::once(&"manager").chain(arguments));
        ManagerOptions::from_arg_matches(&matches.unwrap()).unwrap()
    }

    fn gather(arguments: &[&str]) -> Result<(ManagerSettings, Own), ManagerSettingsError> {
        options(arguments).gather("manager")
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_file_has_the_settings_of_all_managers_and_of_this_one() {
        let file = file(
            "openbao-url: https://bao\nidentity: a\nlog-format: json\nwatch-namespaces: [x, y]\n",
        );
        let path = file.path().to_str().unwrap();
        let (settings, own) = gather(&["--config", path, "--identity", "b"]).unwrap();
        assert_eq!(own.openbao_url.as_deref(), Some("https://bao"));
        assert_eq!(&*settings.leader.identity, "b", "flags override the file");
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(
            settings.watch_namespaces,
            Some(vec!["x".to_owned(), "y".to_owned()])
        );
    }

    #[test]
    fn what_is_unknown_twice_or_no_setting_is_refused_with_its_line() {
        for (text, expected) in [
            (
                "identity: a\nleese-name: b\n",
                "line 2: unknown field `leese-name`",
            ),
            ("identity: a\nidentity: b\n", "`identity` is given twice"),
            ("lease-duration: soon\n", "`soon` is not a duration"),
        ] {
            let file = file(text);
            let error = gather(&["--config", file.path().to_str().unwrap()]).unwrap_err();
            let chain = kdc_envelope::ErrorChain::new(&error).to_string();
            assert!(chain.contains(expected), "{chain}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        for (arguments, name) in [
            (["--lease-duration", "1s"], "--lease-duration"),
            (["--lease-duration", "11m"], "--lease-duration"),
            (["--lease-duration", "5500ms"], "--lease-duration"),
            (["--watch-namespaces", "a,,b"], "--watch-namespaces"),
        ] {
            let arguments = [&arguments[..], &["--identity", "a"]].concat();
            let error = gather(&arguments).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = gather(&["--identity", "a b"]).unwrap_err().to_string();
        assert!(error.contains("--identity"), "{error}");
    }

    #[test]
    fn the_holder_writes_for_less_than_the_lease_lasts() {
        for seconds in ["5s", "15s", "10m"] {
            let (settings, _) = gather(&["--identity", "a", "--lease-duration", seconds]).unwrap();
            let leader = settings.leader;
            assert!(leader.writing < leader.duration && leader.interval < leader.writing / 2);
        }
    }
}
