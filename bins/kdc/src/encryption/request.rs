//! From what somebody asks for to a change: who shall write what, with the keys that it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
use kdc_envelope_k8s::encryption_config::{
    EndpointFault, KmsProvider, LocalKey, LocalProvider, Transformer,
};
use kdc_envelope_k8s::rotation::Change;
use kdc_envelope_k8s::rotation::change::{self, ChangeError, ChangeKind};
use kdc_envelope_k8s::rotation::dry_run::{DryRun, dry_run};

use super::{lacking, refusal};
use crate::failure::{Exit, Failure};
use crate::output::note;

/// Length of a new key of any local provider in bytes.
const KEY_LEN: usize = 32;

/// Which resources, and by whom.
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
    /// A key that is made here and stands in the configuration: aesgcm, secretbox or aescbc.
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
    resources: Vec<GroupResource>,
}

fn parse_provider(text: &str) -> Result<LocalProvider, String> {
    LocalProvider::from_name(text).ok_or_else(|| "write aesgcm, secretbox or aescbc".to_owned())
}

/// What is asked for, before it is compared with what there is.
#[derive(Debug, Clone)]
pub(super) enum ChangeRequest {
    Enable(EnableFlags),
    Rotate(SubsetFlags),
    Disable(SubsetFlags),
    Abort,
    Resume,
}

/// A change, and what it needs in the keyring.
pub(super) struct Prepared {
    pub(super) change: Change,
    pub(super) new: Vec<Transformer>,
}

impl Prepared {
    /// How it would go in the cluster as it was seen.
    pub(super) fn dry_run(&self, observation: &Observation) -> Result<DryRun, Failure> {
        let mut known = observation.transformers();
        known.extend(&self.new);
        let desired = self.change.desired(&known);
        let desired = desired.map_err(|error| refusal::of_change(&error))?;
        Ok(dry_run(&observation.observed, &desired, observation.now))
    }
}

/// The change that `request` comes to in this cluster.
pub(super) fn prepare(
    request: &ChangeRequest,
    control_plane: &ControlPlane,
    observation: &Observation,
) -> Result<Prepared, Failure> {
    let last = control_plane.state.change();
    let last = last.map_err(|error| refusal::of_files(&error))?;
    let under_way = last.as_ref().filter(|change| change.done.is_none());
    let old = |change: &Change| {
        let (change, new) = (change.clone(), Vec::new());
        Prepared { change, new }
    };
    match (request, under_way) {
        (ChangeRequest::Abort, None) => Err(nothing_to_abort(last.as_ref())),
        (ChangeRequest::Abort, Some(change)) => Ok(old(&change.aborted(observation.now))),
        (ChangeRequest::Resume, _) => {
            let last = last.as_ref().map(old).or_else(|| as_recorded(observation));
            last.ok_or_else(|| refusal::of_change(&ChangeError::NothingUnderWay))
        }
        (_, Some(change)) => {
            if is_for(request, change) {
                note(&format!(
                    "going on with the {} that is under way",
                    change.kind.as_str()
                ));
                return Ok(old(change));
            }
            let change = change.kind.as_str();
            Err(refusal::of_change(&ChangeError::UnderWay { change }))
        }
        (_, None) => {
            lacking::check(control_plane, observation)?;
            begin(request, observation)
        }
    }
}

/// Why there is nothing to turn around.
fn nothing_to_abort(last: Option<&Change>) -> Failure {
    refusal::of_change(&match last {
        Some(change) => ChangeError::Finished {
            change: change.kind.as_str(),
        },
        None => ChangeError::NothingUnderWay,
    })
}

/// The change that the newest revision was made for, if the state has lost the change itself.
fn as_recorded(observation: &Observation) -> Option<Prepared> {
    let revision = observation.observed.keyring.revision.as_ref()?;
    let files = observation.layouts();
    let (writers, now) = (&revision.writers, observation.now);
    let change = Change::new(ChangeKind::Enable, writers, &files, Some(revision), now);
    let new = Vec::new();
    Some(Prepared { change, new })
}

/// Whether `change` came of such a request.
fn is_for(request: &ChangeRequest, change: &Change) -> bool {
    let asked: Vec<&GroupResource> = change.writers.keys().collect();
    let all = |given: &[GroupResource]| {
        given.is_empty()
            || (given.len() == asked.len() && given.iter().all(|name| asked.contains(&name)))
    };
    match request {
        ChangeRequest::Enable(wanted) => {
            let writes = |writer: &change::Writer| match writer {
                change::Writer::Key { provider, .. } => wanted
                    .provider
                    .is_some_and(|wanted| wanted.as_str() == provider),
                change::Writer::Kms { name } => wanted.kms_name.as_ref() == Some(name),
                _ => false,
            };
            change.kind == ChangeKind::Enable
                && all(&wanted.resources)
                && change.writers.values().all(writes)
        }
        ChangeRequest::Rotate(subset) => {
            change.kind == ChangeKind::Rotate && all(&subset.resources)
        }
        ChangeRequest::Disable(subset) => {
            change.kind == ChangeKind::Disable && all(&subset.resources)
        }
        ChangeRequest::Abort | ChangeRequest::Resume => false,
    }
}

fn begin(request: &ChangeRequest, observation: &Observation) -> Result<Prepared, Failure> {
    let layouts = observation.layouts();
    let mut new = Vec::new();
    let (change, writers) = match request {
        ChangeRequest::Enable(wanted) => {
            let writers = enabled(wanted, observation, &mut new)?;
            (ChangeKind::Enable, writers)
        }
        ChangeRequest::Rotate(subset) => {
            let mut writers = BTreeMap::new();
            let local = change::written_locally(&layouts);
            let local = local.map_err(|error| refusal::of_change(&error))?;
            let number = change::next_key_number(&observation.transformers());
            for (provider, names) in local {
                let chosen: Vec<_> = names.into_iter().filter(|name| subset.has(name)).collect();
                if !chosen.is_empty() {
                    let key = Transformer::Local(new_key(provider, number)?);
                    new.push(key.clone());
                    writers.extend(chosen.into_iter().map(|name| (name, key.clone())));
                }
            }
            (ChangeKind::Rotate, writers)
        }
        ChangeRequest::Disable(subset) => {
            let names = layouts
                .first()
                .into_iter()
                .flat_map(|layout| layout.rules());
            let names = names
                .map(|(name, _)| name.clone())
                .filter(|name| subset.has(name));
            let writers = names.map(|name| (name, Transformer::Identity)).collect();
            (ChangeKind::Disable, writers)
        }
        ChangeRequest::Abort | ChangeRequest::Resume => (ChangeKind::Abort, BTreeMap::new()),
    };
    if writers.is_empty() {
        let line = "the configuration names no such resource, so there is nothing to change";
        return Err(Failure::new(Exit::Negative, line));
    }
    let revision = observation.observed.keyring.revision.as_ref();
    let change = Change::new(change, &writers, &layouts, revision, observation.now);
    Ok(Prepared { change, new })
}

impl SubsetFlags {
    fn has(&self, name: &GroupResource) -> bool {
        self.resources.is_empty() || self.resources.contains(name)
    }
}

/// Who shall write what: a key that writes already if there is one of the provider, else a new one.
fn enabled(
    wanted: &EnableFlags,
    observation: &Observation,
    new: &mut Vec<Transformer>,
) -> Result<BTreeMap<GroupResource, Transformer>, Failure> {
    let layouts = observation.layouts();
    let names = wanted.resources.iter().cloned();
    let writer = match (wanted.provider, kms(wanted)?) {
        (Some(provider), _) => {
            let rules = layouts
                .first()
                .into_iter()
                .flat_map(|layout| layout.rules());
            let is_of = |writer: &&Transformer| {
                writer.local().is_some_and(|key| key.provider() == provider)
            };
            let known = rules.map(|(_, chain)| chain.writer()).find(is_of).cloned();
            known.map_or_else(
                || {
                    let number = change::next_key_number(&observation.transformers());
                    new_key(provider, number).map(Transformer::Local)
                },
                Ok,
            )?
        }
        (None, Some(kms)) => Transformer::Kms(kms.into()),
        (None, None) => {
            return Err(Failure::new(
                Exit::Usage,
                "--provider or --kms-name is missing",
            ));
        }
    };
    if !observation
        .transformers()
        .iter()
        .any(|known| known.is_same(&writer))
    {
        new.push(writer.clone());
    }
    Ok(names.map(|name| (name, writer.clone())).collect())
}

fn kms(wanted: &EnableFlags) -> Result<Option<KmsProvider>, Failure> {
    let (Some(name), Some(endpoint)) = (&wanted.kms_name, &wanted.kms_endpoint) else {
        return Ok(None);
    };
    let name = ProviderName::new(name.as_str());
    let name = name.map_err(|error| Failure::at(Exit::Usage, "--kms-name", &error))?;
    let provider = KmsProvider::v2(&name, endpoint.as_str(), wanted.kms_timeout);
    match provider.socket() {
        Err(fault @ (EndpointFault::Host { .. } | EndpointFault::NoSlash { .. })) => {
            Err(Failure::at(Exit::Usage, "--kms-endpoint", &fault))
        }
        // What is no URL of a socket at all is refused with the file that would hold it.
        _ => Ok(Some(provider)),
    }
}

fn new_key(provider: LocalProvider, number: u64) -> Result<LocalKey, Failure> {
    let mut secret = vec![0; KEY_LEN];
    let filled = getrandom::fill(&mut secret);
    let secret = SecretBytes::new(secret);
    filled.map_err(|error| Failure::at(Exit::Io, "no random bytes for a key", &error))?;
    let name = KeyName::new(format!("key{number}"));
    let key = name.and_then(|name| LocalKey::new(provider, name, secret));
    key.map_err(|error| Failure::of(Exit::Io, &error))
}
