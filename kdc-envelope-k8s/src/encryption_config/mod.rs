//! EncryptionConfiguration files, as kube-apiserver takes them with `--encryption-provider-config`.
//!
//! Accepts what kube-apiserver 1.31 and later accept, and refuses what they refuse, with one line that names the place
//! and the cure. Sources: `pkg/apis/apiserver/{v1,validation}` and `pkg/server/options/encryptionconfig` of `k8s.io/apiserver`.
//! Upstream's own reader judges thousands of changed files in the tests. This one is stricter, and never laxer: a file has at
//! most 1 MiB, few YAML aliases, and one document, since kube-apiserver never looks at what follows the first; it is UTF-8, with
//! no line breaks but those of ASCII; and a few notations of YAML must be put in quotes that not all parsers read alike.
//!
//! Two keys of one name in a list are no error there, and none here: both are tried. Two KMS v1 providers of one
//! name are an error there only with automatic reload, so they are none here.
//!
//! No message contains a key or a part of one. Keys are wiped on drop; the text of the file is the caller's to wipe, and
//! the YAML parser may leave copies of it in freed memory.

mod difference;
mod document;
mod duration;
mod endpoint;
mod entries;
mod error;
mod etcd_prefix;
mod kms;
mod layout;
mod local_key;
mod parse;
mod render;
mod resource;
mod secret;
mod transformer;

use core::fmt;

use kdc_envelope::providers::{aescbc, aesgcm, secretbox};

pub use difference::{Change, Difference, differences};
pub use endpoint::EndpointFault;
pub use error::{ConfigError, Problem};
pub use etcd_prefix::etcd_prefix;
pub use kms::{KmsApi, KmsProvider};
pub use layout::Layout;
pub use local_key::{ConfiguredKey, LocalKey, LocalProvider};
pub use render::{RenderError, render_kms_v2};
pub use resource::GroupResource;
pub use secret::Base64Fault;
pub(crate) use secret::go_base64;
pub use transformer::{Chain, Transformer};

/// The longest file that is read, in bytes.
pub const MAX_LEN: usize = 1 << 20;

/// A valid EncryptionConfiguration.
#[derive(Debug)]
pub struct EncryptionConfiguration {
    entries: Vec<ResourceConfiguration>,
}

/// One entry of `resources`.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResourceConfiguration {
    /// What the entry applies to; not empty.
    pub resources: Vec<GroupResource>,
    /// Who writes and reads it; not empty. The first one writes.
    pub providers: Vec<Provider>,
}

/// One entry of `providers`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Provider {
    /// AES-GCM; not empty, the first key writes.
    Aesgcm(Vec<ConfiguredKey<aesgcm::Key>>),
    /// AES-CBC; not empty, the first key writes.
    Aescbc(Vec<ConfiguredKey<aescbc::Key>>),
    /// XSalsa20-Poly1305; not empty, the first key writes.
    Secretbox(Vec<ConfiguredKey<secretbox::Key>>),
    /// No encryption.
    Identity,
    /// A KMS plugin.
    Kms(KmsProvider),
}

/// Where a provider stands in the file; displayed as `resources[0].providers[1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Place {
    /// Index of the entry of `resources`, from 0.
    pub entry: usize,
    /// Index of the provider in it, from 0.
    pub provider: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resources[{}].providers[{}]", self.entry, self.provider)
    }
}

/// The providers of a resource.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResourceProviders<'c> {
    /// The resource or wildcard of the file that decided; `None` if none fits, so that the resource is stored plain.
    pub matched: Option<&'c GroupResource>,
    /// In the order in which they are tried; the first one writes. Empty if nothing matched.
    pub providers: Vec<(Place, &'c Provider)>,
}

impl EncryptionConfiguration {
    /// Parses a file in YAML or JSON.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong.
    pub fn parse(file: &[u8]) -> Result<Self, ConfigError> {
        parse::configuration(document::parse(file)?)
    }

    /// The entries in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[ResourceConfiguration] {
        &self.entries
    }

    /// All providers in the order of the file.
    pub fn providers(&self) -> impl Iterator<Item = (Place, &Provider)> {
        self.entries.iter().enumerate().flat_map(|(entry, config)| {
            let place = move |provider| Place { entry, provider };
            let providers = config.providers.iter().enumerate();
            providers.map(move |(index, provider)| (place(index), provider))
        })
    }

    /// The providers of `resource`: those of its own name, else of `*.<group>`, else of `*.*`.
    ///
    /// A name that stands in several entries has the providers of all of them, in order.
    #[must_use]
    pub fn providers_of(&self, resource: &GroupResource) -> ResourceProviders<'_> {
        let candidates = [
            resource.clone(),
            resource.any_in_group(),
            GroupResource::any(),
        ];
        candidates
            .iter()
            .map(|candidate| self.providers_of_rule(candidate))
            .find(|found| found.matched.is_some())
            .unwrap_or(ResourceProviders {
                matched: None,
                providers: Vec::new(),
            })
    }

    fn providers_of_rule(&self, rule: &GroupResource) -> ResourceProviders<'_> {
        let names = self.entries.iter().flat_map(|entry| &entry.resources);
        let has_rule = |place: &Place| {
            let entry = self.entries.get(place.entry);
            entry.is_some_and(|entry| entry.resources.contains(rule))
        };
        ResourceProviders {
            matched: names.into_iter().find(|name| *name == rule),
            providers: self
                .providers()
                .filter(|(place, _)| has_rule(place))
                .collect(),
        }
    }
}

impl Provider {
    /// The field that configures it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Aesgcm(_) => "aesgcm",
            Self::Aescbc(_) => "aescbc",
            Self::Secretbox(_) => "secretbox",
            Self::Identity => "identity",
            Self::Kms(_) => "kms",
        }
    }
}
