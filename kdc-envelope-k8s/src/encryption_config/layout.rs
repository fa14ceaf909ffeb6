//! What a configuration means, apart from how it is written: for each resource, who writes and who reads.
//!
//! Files that mean the same have equal layouts, so two nodes may differ in comments, in quoting and in how they cut their
//! entries. A layout can be changed freely, and is written by [`Layout::render`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Chain, EncryptionConfiguration, GroupResource, LocalKey, LocalProvider, Provider, Transformer,
};

/// For each resource or wildcard that a configuration names, its chain.
///
/// The empty one is that of an API server without a configuration: everything is stored plain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Layout {
    rules: BTreeMap<GroupResource, Chain>,
}

impl Layout {
    /// What `config` means.
    #[must_use]
    pub fn of(config: &EncryptionConfiguration) -> Self {
        let mut all: BTreeMap<&GroupResource, Vec<Transformer>> = BTreeMap::new();
        for entry in config.entries() {
            let transformers: Vec<_> = entry.providers.iter().flat_map(transformers).collect();
            for name in &entry.resources {
                all.entry(name)
                    .or_default()
                    .extend(transformers.iter().cloned());
            }
        }
        let chains = all.into_iter().filter_map(|(name, transformers)| {
            Some((name.clone(), Chain::from_all(transformers)?))
        });
        chains.collect()
    }

    /// The names and wildcards with their chains, ordered by group.
    pub fn rules(&self) -> impl Iterator<Item = (&GroupResource, &Chain)> {
        self.rules.iter()
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.rules.is_empty()
    }

    /// The chain that kube-apiserver uses for `resource`: of its own name, else of `*.<group>`, else of `*.*`, else plain.
    ///
    /// Asked for a wildcard, it gives what applies to a resource that nothing narrower names.
    #[must_use]
    pub fn chain_of(&self, resource: &GroupResource) -> Chain {
        self.rules
            .get(resource)
            .or_else(|| self.wider_rule(resource))
            .cloned()
            .unwrap_or_else(Chain::plain)
    }

    /// What would apply to `resource` if it were not named.
    fn wider_rule(&self, resource: &GroupResource) -> Option<&Chain> {
        let wider = [resource.any_in_group(), GroupResource::any()];
        wider
            .iter()
            .filter(|wider| *wider != resource)
            .find_map(|wider| self.rules.get(wider))
    }

    /// Every local key that it names, once.
    #[must_use]
    pub fn local_keys(&self) -> Vec<&LocalKey> {
        let mut keys = Vec::new();
        for key in self.transformers().filter_map(Transformer::local) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// All transformers of all chains, with repetitions.
    pub fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        self.rules.values().flat_map(Chain::iter)
    }

    /// Without the names to which a wildcard gives the same chain anyway, so that they need not be written.
    fn without_redundant(mut self) -> Self {
        let redundant: Vec<_> = self
            .rules
            .iter()
            .filter(|(name, chain)| self.wider_rule(name).is_some_and(|wider| wider.is(chain)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in redundant {
            self.rules.remove(&name);
        }
        self
    }
}

impl FromIterator<(GroupResource, Chain)> for Layout {
    fn from_iter<I: IntoIterator<Item = (GroupResource, Chain)>>(rules: I) -> Self {
        let rules = rules.into_iter().collect();
        Self { rules }.without_redundant()
    }
}

/// The transformers of one provider, in order.
fn transformers(provider: &Provider) -> Vec<Transformer> {
    let local = |provider, name: &kdc_envelope::providers::KeyName, secret: &Arc<_>| {
        Transformer::Local(LocalKey::checked(
            provider,
            name.clone(),
            Arc::clone(secret),
        ))
    };
    match provider {
        Provider::Aesgcm(keys) => keys
            .iter()
            .map(|key| local(LocalProvider::Aesgcm, key.name(), key.secret()))
            .collect(),
        Provider::Aescbc(keys) => keys
            .iter()
            .map(|key| local(LocalProvider::Aescbc, key.name(), key.secret()))
            .collect(),
        Provider::Secretbox(keys) => keys
            .iter()
            .map(|key| local(LocalProvider::Secretbox, key.name(), key.secret()))
            .collect(),
        Provider::Identity => vec![Transformer::Identity],
        Provider::Kms(kms) => vec![Transformer::Kms(Arc::new(kms.clone()))],
    }
}
