//! The `kms` provider of a configuration.

use core::time::Duration;
use std::collections::BTreeMap;

use kdc_envelope::kmsv2::ProviderName;

use super::document::Node;
use super::{ConfigError, EndpointFault, Problem, duration, endpoint};

const KNOWN_FIELDS: &str = "apiVersion, name, endpoint, timeout, cachesize";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_CACHE_SIZE: i32 = 1000;

/// A KMS plugin as a configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KmsProvider {
    /// Stands in every row. Not empty, and without `:` under [`KmsApi::V2`].
    pub name: Box<str>,
    /// The API that the plugin speaks.
    pub api: KmsApi,
    /// A URL with the scheme `unix`.
    pub endpoint: Box<str>,
    /// How long kube-apiserver waits for one call; more than zero, 3 s unless given.
    pub timeout: Duration,
}

/// Version of the API between kube-apiserver and plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KmsApi {
    /// The default of the file format, although kube-apiserver refuses it since 1.29 unless a feature gate is set.
    V1 {
        /// How many DEKs are cached; not 0, negative for none, 1000 unless given.
        cache_size: i32,
    },
    /// The current one.
    V2,
}

impl KmsProvider {
    /// A KMS v2 plugin that must answer within `timeout`. [`Layout::render`](super::Layout::render) says whether
    /// kube-apiserver takes `endpoint` and `timeout`.
    #[must_use]
    pub fn v2(name: &ProviderName, endpoint: impl Into<Box<str>>, timeout: Duration) -> Self {
        Self {
            name: name.as_str().into(),
            api: KmsApi::V2,
            endpoint: endpoint.into(),
            timeout,
        }
    }
}

impl KmsProvider {
    /// What kube-apiserver dials: a path, or for an abstract socket `@` and its name.
    ///
    /// # Errors
    /// [`EndpointFault`] if it takes `endpoint` and can reach no plugin there.
    pub fn socket(&self) -> Result<String, EndpointFault> {
        endpoint::socket(&self.endpoint)
    }
}

impl KmsApi {
    /// What the file calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 { .. } => "v1",
            Self::V2 => "v2",
        }
    }
}

/// The names of earlier providers, with their places.
pub(super) type Names = BTreeMap<Box<str>, String>;

pub(super) fn parse(node: Node, names: &mut Names) -> Result<KmsProvider, ConfigError> {
    let place = node.place().to_owned();
    let mut fields = node.fields()?;
    let api_version = fields.take("apiVersion");
    let name = fields.take("name");
    let endpoint = fields.take("endpoint");
    let timeout = fields.take("timeout");
    let cache_size = fields.take("cachesize");
    fields.finish(KNOWN_FIELDS)?;

    let api = parse_api(&api_version, cache_size)?;
    let provider = KmsProvider {
        name: parse_name(&name, api, names)?,
        api,
        endpoint: parse_endpoint(&endpoint)?,
        timeout: parse_timeout(timeout)?,
    };
    names.entry(provider.name.clone()).or_insert(place);
    Ok(provider)
}

fn parse_api(api_version: &Node, cache_size: Node) -> Result<KmsApi, ConfigError> {
    let cache_size = cache_size.present();
    match (api_version.text()?, cache_size) {
        ("" | "v1", None) => Ok(KmsApi::V1 {
            cache_size: DEFAULT_CACHE_SIZE,
        }),
        ("" | "v1", Some(node)) => match i32::try_from(node.integer()?) {
            Ok(0) => Err(node.error(Problem::CacheSizeZero)),
            Ok(cache_size) => Ok(KmsApi::V1 { cache_size }),
            Err(_) => Err(node.error(Problem::Type {
                expected: "a whole number of 32 bits",
            })),
        },
        ("v2", None) => Ok(KmsApi::V2),
        ("v2", Some(node)) => Err(node.error(Problem::CacheSizeOfV2)),
        _ => Err(api_version.error(Problem::KmsApiVersion)),
    }
}

fn parse_name(node: &Node, api: KmsApi, names: &Names) -> Result<Box<str>, ConfigError> {
    let name = node.required_text()?;
    if api == KmsApi::V2 {
        if name.contains(':') {
            return Err(node.error(Problem::KmsNameColon));
        }
        if let Some(first) = names.get(name) {
            let first = first.clone();
            return Err(node.error(Problem::KmsNameTaken { first }));
        }
    }
    Ok(name.into())
}

fn parse_endpoint(node: &Node) -> Result<Box<str>, ConfigError> {
    let endpoint = node.required_text()?;
    match endpoint::parse(endpoint) {
        Some(_) => Ok(endpoint.into()),
        None => Err(node.error(Problem::Endpoint)),
    }
}

fn parse_timeout(node: Node) -> Result<Duration, ConfigError> {
    let Some(node) = node.present() else {
        return Ok(DEFAULT_TIMEOUT);
    };
    let text = node.text()?;
    if text.starts_with('-') {
        return Err(node.error(Problem::NotPositive));
    }
    match duration::parse(text) {
        Some(Duration::ZERO) => Err(node.error(Problem::NotPositive)),
        Some(timeout) => Ok(timeout),
        None => Err(node.error(Problem::Duration)),
    }
}
