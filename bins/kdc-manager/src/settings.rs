//! What kdc-manager is told besides what all managers are.

use std::time::Duration;

use clap::Args;
use kdc_envelope_bao::admin::MountPath;
use kdc_envelope_bao::settings::section::{
    MapAccess, Section, duration, parsed, plain, section, time,
};
use kdc_envelope_bao::settings::{AddressGiven, BaoConnection, BaoSettingsError, ConnectionArgs};
use kdc_envelope_k8s::keys::{AccessSettings, KeyNames, KeysSettings, Snapshots, Tenancy};

/// The address of OpenBao as the platform gives it to its own controllers.
const PLATFORM_ADDRESS: &str = "OPENBAO_URL";

/// The settings, each given or not.
#[derive(Debug, Default, Clone, Args)]
#[non_exhaustive]
pub struct Given {
    /// How OpenBao is reached.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Keys and roles.
    #[command(flatten)]
    pub keys: KeysArgs,
}

/// Settings of keys and roles, each given or not.
#[derive(Debug, Default, Clone, Args)]
#[non_exhaustive]
pub struct KeysArgs {
    /// How often every key, policy and role is looked at when nothing changed, 10s to 24h [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = KEYS)]
    pub interval: Option<Duration>,

    /// Mount of the Transit engine in each organization's namespace [default: transit]
    #[arg(long, value_name = "PATH", help_heading = KEYS)]
    pub transit_mount: Option<String>,

    /// Names of keys in OpenBao, with {organization}, {project}, {namespace} and {key} in it
    /// [default: {organization}-{project}-{key}]
    #[arg(long, value_name = "TEMPLATE", help_heading = KEYS)]
    pub key_names: Option<KeyNames>,

    /// Label of a namespace that names its organization [default: kube-dc.com/organization]
    #[arg(long, value_name = "LABEL", help_heading = KEYS)]
    pub organization_label: Option<String>,

    /// Label of a namespace that names its project [default: kube-dc.com/project]
    #[arg(long, value_name = "LABEL", help_heading = KEYS)]
    pub project_label: Option<String>,

    /// Character at which the name of a namespace without these labels is split into organization and project, or
    /// `none` to require the labels [default: -]
    #[arg(long, value_name = "CHARACTER", help_heading = KEYS)]
    pub namespace_separator: Option<String>,

    /// State that no snapshots are encrypted with keys of purpose etcd or backup, so that these may be deleted at the
    /// end of their countdown; otherwise they stay.
    #[arg(long, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = KEYS)]
    pub no_snapshots: Option<bool>,

    /// Mount of the Kubernetes auth method in each organization's namespace [default: k8s-host]
    #[arg(long, value_name = "PATH", help_heading = ROLES)]
    pub role_mount: Option<String>,

    /// Audience that tokens of service accounts must have [default: openbao]
    #[arg(long, value_name = "AUDIENCE", help_heading = ROLES)]
    pub role_audience: Option<String>,

    /// How long a token of a plugin is good before it must be renewed, 1m to 24h [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = ROLES)]
    pub role_ttl: Option<Duration>,

    /// How long renewals can keep it, at least --role-ttl, at most 32 days [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = ROLES)]
    pub role_max_ttl: Option<Duration>,
}

const KEYS: &str = "Keys";
const ROLES: &str = "Roles of clusters";

section!(KeysArgs {
    interval: "interval" by time,
    transit_mount: "transit-mount" by plain,
    key_names: "key-names" by parsed,
    organization_label: "organization-label" by plain,
    project_label: "project-label" by plain,
    namespace_separator: "namespace-separator" by plain,
    no_snapshots: "no-snapshots" by plain,
    role_mount: "role-mount" by plain,
    role_audience: "role-audience" by plain,
    role_ttl: "role-ttl" by time,
    role_max_ttl: "role-max-ttl" by time,
});

impl Section for Given {
    fn set<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        Ok(self.connection.set(name, map)? || self.keys.set(name, map)?)
    }

    fn merge_over(self, lower: Self) -> Self {
        Self {
            connection: self.connection.merge_over(lower.connection),
            keys: self.keys.merge_over(lower.keys),
        }
    }

    fn first_given(&self) -> Option<&'static str> {
        let connection = self.connection.first_given();
        connection.or_else(|| self.keys.first_given())
    }
}

/// Settings that do not make sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// How OpenBao is reached.
    #[error(transparent)]
    Bao(#[from] BaoSettingsError),
    /// Another value.
    #[error("--{flag} {reason}")]
    Value {
        /// Which setting.
        flag: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

/// The settings, checked.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How OpenBao is reached.
    pub connection: BaoConnection,
    /// Keys and roles.
    pub keys: KeysSettings,
}

impl Settings {
    /// Checks settings for sense and completeness, without reading a file.
    ///
    /// # Errors
    /// [`SettingsError`]: the first that is wrong, in the order of `--help`.
    pub fn resolve(mut given: Given) -> Result<Self, SettingsError> {
        if given.connection.bao_address.is_none() {
            given.connection.bao_address = platform_address();
        }
        let connection = given.connection.resolve();
        let connection = connection.map_err(|faults| faults.into_iter().next());
        let keys = given.keys.resolve()?;
        match connection {
            Ok(connection) => Ok(Self { connection, keys }),
            Err(fault) => Err(fault.map_or_else(
                || value("bao-address", "is not usable".to_owned()),
                SettingsError::Bao,
            )),
        }
    }
}

fn platform_address() -> Option<Vec<AddressGiven>> {
    let address = std::env::var(PLATFORM_ADDRESS).ok()?;
    let Ok(address) = address.parse();
    Some(vec![address])
}

const INTERVALS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(24));
const TTLS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));
/// The longest that OpenBao keeps a token, unless it is configured otherwise.
const LONGEST_TTL: Duration = Duration::from_hours(32 * 24);

impl KeysArgs {
    fn resolve(self) -> Result<KeysSettings, SettingsError> {
        let default = KeysSettings::default();
        let interval = within("interval", self.interval, default.interval, INTERVALS)?;
        let mount = mount("transit-mount", self.transit_mount, default.mount)?;
        let tenancy = Tenancy {
            organization_label: label(
                "organization-label",
                self.organization_label,
                default.tenancy.organization_label,
            )?,
            project_label: label(
                "project-label",
                self.project_label,
                default.tenancy.project_label,
            )?,
            separator: separator(
                self.namespace_separator.as_deref(),
                default.tenancy.separator,
            )?,
        };
        let usual = default.access;
        let ttl = within("role-ttl", self.role_ttl, usual.time_to_live, TTLS)?;
        let longest = (ttl, LONGEST_TTL);
        let max_ttl = within(
            "role-max-ttl",
            self.role_max_ttl,
            usual.max_time_to_live.max(ttl),
            longest,
        )?;
        let audience = self.role_audience.map_or(usual.audience, Into::into);
        if audience.is_empty() {
            return Err(value(
                "role-audience",
                "is empty; a role without an audience takes tokens that were made for others"
                    .to_owned(),
            ));
        }
        Ok(KeysSettings {
            tenancy,
            names: self.key_names.unwrap_or_default(),
            mount,
            interval,
            snapshots: match self.no_snapshots {
                Some(true) => Snapshots::None,
                _ => Snapshots::Unknown,
            },
            access: AccessSettings {
                auth_mount: self::mount("role-mount", self.role_mount, usual.auth_mount)?,
                audience,
                time_to_live: ttl,
                max_time_to_live: max_ttl,
            },
            namespaces: None,
        })
    }
}

fn value(flag: &'static str, reason: String) -> SettingsError {
    SettingsError::Value { flag, reason }
}

fn within(
    flag: &'static str,
    given: Option<Duration>,
    default: Duration,
    (least, most): (Duration, Duration),
) -> Result<Duration, SettingsError> {
    match given.unwrap_or(default) {
        given if given < least || given > most => {
            let (least, most) = (least.as_secs(), most.as_secs());
            Err(value(flag, format!("must be from {least}s to {most}s")))
        }
        given => Ok(given),
    }
}

fn mount(
    flag: &'static str,
    given: Option<String>,
    default: Box<str>,
) -> Result<Box<str>, SettingsError> {
    let Some(given) = given else {
        return Ok(default);
    };
    let path: Result<MountPath, _> = given.parse();
    match path {
        Ok(path) => Ok(path.as_str().into()),
        Err(error) => Err(value(flag, format!("is wrong: {error}"))),
    }
}

fn label(
    flag: &'static str,
    given: Option<String>,
    default: String,
) -> Result<String, SettingsError> {
    let is_label = |text: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        !text.is_empty() && text.len() <= 317 && text.bytes().all(is_allowed)
    };
    match given {
        Some(given) if !is_label(&given) => {
            Err(value(flag, "is not the name of a label".to_owned()))
        }
        Some(given) => Ok(given),
        None => Ok(default),
    }
}

fn separator(given: Option<&str>, default: Option<char>) -> Result<Option<char>, SettingsError> {
    let Some(given) = given else {
        return Ok(default);
    };
    let mut characters = given.chars();
    match (given, characters.next(), characters.next()) {
        ("none", ..) => Ok(None),
        (_, Some(one), None) => Ok(Some(one)),
        _ => Err(value(
            "namespace-separator",
            "must be one character, or `none`".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl FnOnce(&mut KeysArgs)) -> Result<KeysSettings, SettingsError> {
        let mut given = KeysArgs::default();
        change(&mut given);
        given.resolve()
    }

    #[test]
    fn what_is_not_given_has_the_defaults_of_the_controllers() {
        assert_eq!(keys(|_| {}).unwrap(), KeysSettings::default());
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        type Change = fn(&mut KeysArgs);
        let cases: [(&str, Change); 8] = [
            ("--interval", |given| {
                given.interval = Some(Duration::from_secs(9))
            }),
            ("--transit-mount", |given| {
                given.transit_mount = Some("../sys".to_owned())
            }),
            ("--organization-label", |given| {
                given.organization_label = Some(String::new())
            }),
            ("--namespace-separator", |given| {
                given.namespace_separator = Some("--".to_owned())
            }),
            ("--role-mount", |given| {
                given.role_mount = Some("a b".to_owned())
            }),
            ("--role-audience", |given| {
                given.role_audience = Some(String::new())
            }),
            ("--role-ttl", |given| given.role_ttl = Some(Duration::ZERO)),
            ("--role-max-ttl", |given| {
                given.role_max_ttl = Some(Duration::from_mins(30))
            }),
        ];
        for (flag, change) in cases {
            let error = keys(change).unwrap_err().to_string();
            assert!(error.starts_with(flag), "{error}");
        }
        let none = keys(|given| given.namespace_separator = Some("none".to_owned()));
        assert_eq!(none.unwrap().tenancy.separator, None);
    }

    #[test]
    fn only_the_operator_can_say_that_there_are_no_snapshots() {
        assert_eq!(keys(|_| {}).unwrap().snapshots, Snapshots::Unknown);
        let stated = keys(|given| given.no_snapshots = Some(true)).unwrap();
        assert_eq!(stated.snapshots, Snapshots::None);
    }
}
