//! What is the same for every cluster of a platform.

use kdc_envelope::kmsv2::ProviderName;

use crate::rewrite::RequestBudget;

/// The settings of a controller of hosted control planes. [`Platform`](super::Platform) has the rest, which the platform itself
/// keeps.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Settings {
    /// `OPENBAO_URL`; takes the place of `openbao_url` of the platform.
    pub openbao_url: Option<String>,
    /// `KMS_PLUGIN_IMAGE`.
    pub plugin_image: Option<String>,
    /// An image with a shell, for the folder of the socket.
    pub init_image: String,
    /// Further flags of every plugin.
    pub plugin_flags: Vec<String>,
    /// The authority of OpenBao's certificate, in PEM.
    pub authority: Option<String>,
    /// Mount of OpenBao's Kubernetes auth method.
    pub auth_mount: String,
    /// The audience of the tokens with which plugins log in.
    pub audience: String,
    /// What the platform appends to the name of a cluster for its control plane.
    pub control_plane_suffix: String,
    /// Name of the provider in configurations and rows.
    pub provider: ProviderName,
    /// Namespace and name of the Secret with the platform's settings.
    pub platform_secret: (String, String),
    /// The most requests to all tenants at the same time.
    pub budget: Option<RequestBudget>,
}
