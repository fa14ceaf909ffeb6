//! The settings of this manager, beside those that all managers have.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_bao::settings::VariablePrefix;
use kdc_envelope_bao::settings::section::{list, path, plain, section};
use kdc_envelope_k8s::crd::cluster_names::{AUDIENCE, AUTH_MOUNT};
use kdc_envelope_k8s::hosted;
use kdc_envelope_k8s::rewrite::RequestBudget;
use kdc_shared::manager::{ManagerOptions, ManagerSettings};
use kdc_shared::plugin::DEFAULT_NAME;

use crate::failure::Failure;

/// The program whose environment variables these are.
#[derive(Debug)]
pub(crate) struct K8Manager;

impl VariablePrefix for K8Manager {
    const PREFIX: &'static str = "K8_MANAGER_";
}

/// All settings.
pub(crate) type Options = ManagerOptions<K8Manager, Given>;

/// Those of this manager, each given or not.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Given {
    /// Address of OpenBao for plugins, or several separated by commas [default: $OPENBAO_URL, else openbao_url of the
    /// platform's Secret]
    #[arg(long, value_name = "URL", help_heading = PLUGIN)]
    pub(crate) openbao_url: Option<String>,

    /// File with the authority of OpenBao's certificate, which plugins get; read at the start
    #[arg(long, value_name = "FILE", help_heading = PLUGIN)]
    pub(crate) openbao_ca_file: Option<PathBuf>,

    /// Mount of OpenBao's Kubernetes auth method, in the namespace of each organization [default: k8s-host]
    #[arg(long, value_name = "PATH", help_heading = PLUGIN)]
    pub(crate) auth_mount: Option<String>,

    /// Audience of the tokens with which plugins log in [default: openbao]
    #[arg(long, value_name = "NAME", help_heading = PLUGIN)]
    pub(crate) audience: Option<String>,

    /// Image of kms-plugin [default: $KMS_PLUGIN_IMAGE]
    #[arg(long, value_name = "IMAGE", help_heading = PLUGIN)]
    pub(crate) kms_plugin_image: Option<String>,

    /// Image with a shell, which makes the folder of the socket [default: busybox:1.37]
    #[arg(long, value_name = "IMAGE", help_heading = PLUGIN)]
    pub(crate) init_image: Option<String>,

    /// Further flags of every plugin, separated by commas, such as --log-format=json
    #[arg(long, value_name = "FLAG", value_delimiter = ',', allow_hyphen_values = true, help_heading = PLUGIN)]
    pub(crate) plugin_flags: Option<Vec<String>>,

    /// Name of the provider in configurations and rows; never change it while anything is encrypted
    /// [default: kube-dc-kms-plugin]
    #[arg(long, value_name = "NAME", help_heading = PLUGIN)]
    pub(crate) provider_name: Option<String>,

    /// What the platform appends to the name of a cluster for its control plane [default: -cp]
    #[arg(long, value_name = "SUFFIX", allow_hyphen_values = true, help_heading = PLATFORM)]
    pub(crate) control_plane_suffix: Option<String>,

    /// Secret with the settings of the platform [default: kube-dc/master-config]
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = PLATFORM)]
    pub(crate) platform_secret: Option<String>,

    /// The most requests to the API servers of all tenants together while rows are rewritten [default: 64]
    #[arg(long, value_name = "COUNT", help_heading = PLATFORM)]
    pub(crate) max_requests: Option<NonZeroU32>,
}

const PLUGIN: &str = "Plugins";
const PLATFORM: &str = "Platform";

section!(Given {
    openbao_url: "openbao-url" by plain,
    openbao_ca_file: "openbao-ca-file" by path,
    auth_mount: "auth-mount" by plain,
    audience: "audience" by plain,
    kms_plugin_image: "kms-plugin-image" by plain,
    init_image: "init-image" by plain,
    plugin_flags: "plugin-flags" by list,
    provider_name: "provider-name" by plain,
    control_plane_suffix: "control-plane-suffix" by plain,
    platform_secret: "platform-secret" by plain,
    max_requests: "max-requests" by plain,
});

const MAX_REQUESTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

/// All settings, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) manager: ManagerSettings,
    pub(crate) hosted: hosted::Settings,
}

/// Puts flags, environment and file together, and reads the files that they name.
pub(crate) fn gather(options: Options) -> Result<Settings, Failure> {
    let (manager, given) = options.gather("k8-manager")?;
    Ok(Settings {
        manager,
        hosted: given.resolve()?,
    })
}

impl Given {
    fn resolve(self) -> Result<hosted::Settings, Failure> {
        let name = self
            .provider_name
            .unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let provider = ProviderName::new(name.as_str()).map_err(|_| Failure::Value {
            name: "--provider-name",
            given: name,
            fault: "it must not be empty, and have no colon",
        })?;
        let secret = self
            .platform_secret
            .unwrap_or_else(|| "kube-dc/master-config".to_owned());
        let platform_secret = secret
            .split_once('/')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        let platform_secret = platform_secret.ok_or_else(|| Failure::Value {
            name: "--platform-secret",
            given: secret.clone(),
            fault: "write NAMESPACE/NAME",
        })?;
        let authority = self.openbao_ca_file.map(|path| {
            std::fs::read_to_string(&path).map_err(|source| Failure::File { path, source })
        });
        let or = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
        Ok(hosted::Settings {
            openbao_url: self.openbao_url.or_else(|| variable("OPENBAO_URL")),
            plugin_image: self
                .kms_plugin_image
                .or_else(|| variable("KMS_PLUGIN_IMAGE")),
            init_image: or(self.init_image, "busybox:1.37"),
            plugin_flags: self.plugin_flags.unwrap_or_default(),
            authority: authority.transpose()?,
            auth_mount: or(self.auth_mount, AUTH_MOUNT),
            audience: or(self.audience, AUDIENCE),
            control_plane_suffix: or(self.control_plane_suffix, "-cp"),
            provider,
            platform_secret,
            budget: Some(RequestBudget::new(
                self.max_requests.unwrap_or(MAX_REQUESTS),
            )),
        })
    }
}

/// A variable that platforms set under this name; an empty one is none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_platform() {
        let settings = Given::default().resolve().unwrap();
        assert_eq!(settings.auth_mount, "k8s-host");
        assert_eq!(settings.control_plane_suffix, "-cp");
        assert_eq!(settings.provider.as_str(), "kube-dc-kms-plugin");
        let secret = ("kube-dc".to_owned(), "master-config".to_owned());
        assert_eq!(settings.platform_secret, secret);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        let name = |given: Given| given.resolve().unwrap_err().to_string();
        let colon = Given {
            provider_name: Some("a:b".to_owned()),
            ..Given::default()
        };
        assert!(name(colon).contains("--provider-name"));
        for secret in ["a", "/a", "a/"] {
            let secret = Given {
                platform_secret: Some(secret.to_owned()),
                ..Given::default()
            };
            assert!(name(secret).contains("--platform-secret"));
        }
        let missing = Given {
            openbao_ca_file: Some("/nowhere".into()),
            ..Given::default()
        };
        assert_eq!(
            missing.resolve().unwrap_err().exit(),
            kdc_shared::exit::Exit::NoInput
        );
    }
}
