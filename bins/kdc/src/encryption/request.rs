//! What the flags of a change request.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::control_plane::Observation;
use kdc_envelope_k8s::encryption_config::{EndpointFault, KmsProvider, LocalProvider};
use kdc_envelope_k8s::rotation::key_source::RandomKeys;
use kdc_envelope_k8s::rotation::request::{ChangeRequest, Prepared, RequestedWriter};

use super::{lacking, refusal};
use crate::failure::{Exit, Failure};
use crate::output::note;

/// Which resources, and what shall write them.
#[derive(Debug, Clone, Args)]
pub(super) struct EnableFlags {
    /// Resources and wildcards, as in an EncryptionConfiguration.
    #[arg(
        long,
        value_name = "RESOURCE",
        value_delimiter = ',',
        default_value = "secrets,configmaps"
    )]
    resources: Vec<GroupResource>,
    /// Generate a key and put it into the configuration: aesgcm, secretbox or aescbc.
    #[arg(long, value_name = "PROVIDER", value_parser = parse_provider, required_unless_present = "kms_name", conflicts_with = "kms_name")]
    provider: Option<LocalProvider>,
    /// A KMS v2 plugin, by the name that rows will carry.
    #[arg(long, value_name = "NAME", requires = "kms_endpoint")]
    kms_name: Option<String>,
    /// Its socket.
    #[arg(long, value_name = "unix:///PATH", requires = "kms_name")]
    kms_endpoint: Option<String>,
    /// How long the API server waits for one call of it.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    kms_timeout: Duration,
}

/// Which of the resources that the configuration names.
#[derive(Debug, Clone, Args)]
pub(super) struct SubsetFlags {
    /// Only these resources and wildcards of the configuration [default: all]
    #[arg(long, value_name = "RESOURCE", value_delimiter = ',')]
    pub(super) resources: Vec<GroupResource>,
}

fn parse_provider(text: &str) -> Result<LocalProvider, String> {
    LocalProvider::from_name(text).ok_or_else(|| "write aesgcm, secretbox or aescbc".to_owned())
}

impl EnableFlags {
    pub(super) fn request(&self) -> Result<ChangeRequest, Failure> {
        let writer = match (self.provider, kms(self)?) {
            (Some(provider), _) => RequestedWriter::Local(provider),
            (None, Some(kms)) => RequestedWriter::Kms(Arc::new(kms)),
            (None, None) => {
                let line = "--provider or --kms-name is missing";
                return Err(Failure::new(Exit::Usage, line));
            }
        };
        Ok(ChangeRequest::Enable {
            resources: self.resources.clone(),
            writer,
        })
    }
}

impl SubsetFlags {
    pub(super) fn rotate(&self) -> ChangeRequest {
        ChangeRequest::Rotate {
            resources: self.resources.clone(),
        }
    }

    pub(super) fn disable(&self) -> ChangeRequest {
        ChangeRequest::Disable {
            resources: self.resources.clone(),
        }
    }
}

/// The change that `request` comes to in this cluster.
pub(super) fn prepare(
    request: &ChangeRequest,
    observation: &Observation,
) -> Result<Prepared, Failure> {
    let prepared = observation.prepare(request, &RandomKeys);
    let prepared = prepared.map_err(|error| {
        lacking::failure(&error, observation).unwrap_or_else(|| refusal::of_change(&error))
    })?;
    if prepared.is_under_way {
        let change = prepared.change.kind.as_str();
        note(&format!("going on with the {change} that is under way"));
    }
    Ok(prepared)
}

fn kms(flags: &EnableFlags) -> Result<Option<KmsProvider>, Failure> {
    let (Some(name), Some(endpoint)) = (&flags.kms_name, &flags.kms_endpoint) else {
        return Ok(None);
    };
    let name = ProviderName::new(name.as_str());
    let name = name.map_err(|error| Failure::at(Exit::Usage, "--kms-name", &error))?;
    let provider = KmsProvider::v2(&name, endpoint.as_str(), flags.kms_timeout);
    match provider.socket() {
        Err(fault @ (EndpointFault::Host { .. } | EndpointFault::NoSlash { .. })) => {
            Err(Failure::at(Exit::Usage, "--kms-endpoint", &fault))
        }
        // What is no URL of a socket at all is refused with the file that would hold it.
        _ => Ok(Some(provider)),
    }
}
