//! From names and wildcards to what is listed and patched. Pure; [`discovery`](super::discovery) asks the server.

use std::collections::BTreeSet;

use super::error::RewriteError;
use super::report::{SkipReason, Skipped};
use crate::encryption_config::GroupResource;

/// What a list of names and wildcards stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolution {
    /// What can be covered, each once.
    pub resources: Vec<ServedResource>,
    /// What cannot.
    pub skipped: Vec<Skipped>,
}

/// A resource that an API server lists and patches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ServedResource {
    /// Its name.
    pub resource: GroupResource,
    /// The version that the server prefers.
    pub version: Box<str>,
}

/// An object as a page of a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Empty for what lies in no namespace.
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    /// Empty if it has none.
    pub(super) uid: Box<str>,
    pub(super) version: Box<str>,
}

/// A group of resources as the server describes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) name: Box<str>,
    /// The preferred one first.
    pub(super) versions: Vec<Version>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Version {
    pub(super) name: Box<str>,
    /// Namespace and name of the service of the aggregated API server behind it.
    pub(super) service: Option<Box<str>>,
    /// None for an aggregated API server, which is not asked: it may be away, and its rows are not here.
    pub(super) resources: Vec<Resource>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Resource {
    /// The plural; `/` for subresources.
    pub(super) name: Box<str>,
    pub(super) verbs: Vec<Box<str>>,
    /// Whether it has a hash of its storage version.
    pub(super) is_stored: bool,
}

impl Resource {
    fn is_passable(&self) -> bool {
        self.has("list") && self.has("patch")
    }

    fn has(&self, wanted: &str) -> bool {
        self.verbs.iter().any(|verb| **verb == *wanted)
    }
}

impl Resolution {
    /// The names under which nothing is served.
    pub fn not_served(&self) -> impl Iterator<Item = &Skipped> {
        let skipped = self.skipped.iter();
        skipped.filter(|skipped| skipped.reason == SkipReason::NotServed)
    }

    /// That each of these names, which an operator typed, has rows that can be covered. In a configuration it may stand for
    /// what is not installed yet.
    ///
    /// # Errors
    /// [`RewriteError::NoSuchResource`] and [`RewriteError::Aggregated`], of the first one that has not.
    pub fn require(&self, typed: &[GroupResource]) -> Result<(), RewriteError> {
        for skipped in &self.skipped {
            let resource = skipped.resource.clone();
            if !typed.contains(&resource) {
                continue;
            }
            match skipped.reason {
                SkipReason::NotServed => return Err(RewriteError::NoSuchResource { resource }),
                SkipReason::Aggregated if resource.resource() != "*" => {
                    let service = skipped.service.clone().unwrap_or_default();
                    return Err(RewriteError::Aggregated { resource, service });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Looks the names and wildcards up in what is served.
pub(super) fn resolve_in(groups: &[Group], wanted: &[GroupResource]) -> Resolution {
    let mut resolver = Resolver {
        groups,
        found: Resolution::default(),
        seen: BTreeSet::new(),
    };
    for name in wanted {
        if name.resource() == "*" {
            resolver.add_wildcard(name);
        } else {
            resolver.add(name);
        }
    }
    resolver.found
}

/// Whether a group can matter for these names. The core group always can: it has the rows of all events.
pub(super) fn concerns(group: &str, wanted: &[GroupResource]) -> bool {
    group.is_empty()
        || wanted
            .iter()
            .any(|name| name.group() == "*" || name.group() == group)
}

struct Resolver<'a> {
    groups: &'a [Group],
    found: Resolution,
    seen: BTreeSet<GroupResource>,
}

impl<'a> Resolver<'a> {
    fn add(&mut self, wanted: &GroupResource) {
        let name = canonical(wanted);
        let group = self
            .groups
            .iter()
            .find(|group| *group.name == *name.group());
        if let Some((version, resource)) = group.and_then(|group| group.best(name.resource())) {
            self.push(name, version, resource);
            return;
        }
        match group.and_then(Group::service) {
            Some(service) => {
                self.skip_of(wanted.clone(), SkipReason::Aggregated, Some(service));
            }
            None => self.skip(wanted.clone(), SkipReason::NotServed),
        }
    }

    fn add_wildcard(&mut self, wildcard: &GroupResource) {
        let groups = self.groups.iter();
        let groups: Vec<_> = groups
            .filter(|group| wildcard.group() == "*" || *group.name == *wildcard.group())
            .collect();
        if groups.is_empty() {
            self.skip(wildcard.clone(), SkipReason::EmptyGroup);
        }
        for group in groups {
            if let Some(service) = group.service() {
                let name = GroupResource::new("*", group.name.clone());
                self.skip_of(name, SkipReason::Aggregated, Some(service));
            }
            let resources = group.versions.iter().flat_map(|version| &version.resources);
            let names: BTreeSet<_> = resources
                .map(|resource| &resource.name)
                .filter(|name| !name.contains('/'))
                .collect();
            for name in names {
                self.add_found(group, name);
            }
        }
    }

    fn add_found(&mut self, group: &'a Group, name: &str) {
        let name = GroupResource::new(name, group.name.clone());
        let canonical = canonical(&name);
        if canonical != name {
            // The core group has the rows, and every API server serves it.
            self.add(&canonical);
            return;
        }
        match group.best(name.resource()) {
            // Such as `tokenreviews`, which are only ever created.
            Some((_, resource)) if !resource.has("list") && !resource.is_stored => {}
            Some((version, resource)) => self.push(name, version, resource),
            None => {}
        }
    }

    fn push(&mut self, name: GroupResource, version: &Version, resource: &Resource) {
        if resource.is_passable() {
            if self.seen.insert(name.clone()) {
                self.found.resources.push(ServedResource {
                    resource: name,
                    version: version.name.clone(),
                });
            }
        } else if resource.is_stored {
            self.skip(name, SkipReason::NotPatchable);
        } else {
            self.skip(name, SkipReason::NotStored);
        }
    }

    fn skip(&mut self, name: GroupResource, reason: SkipReason) {
        self.skip_of(name, reason, None);
    }

    fn skip_of(&mut self, name: GroupResource, reason: SkipReason, service: Option<Box<str>>) {
        if self.seen.insert(name.clone()) {
            self.found.skipped.push(Skipped {
                resource: name,
                reason,
                service,
            });
        }
    }
}

impl Group {
    /// The most preferred version in which the resource can be covered, else the most preferred one that has it.
    fn best(&self, name: &str) -> Option<(&Version, &Resource)> {
        let versions = || {
            self.versions.iter().filter_map(|version| {
                let mut resources = version.resources.iter();
                let resource = resources.find(|resource| *resource.name == *name)?;
                Some((version, resource))
            })
        };
        versions()
            .find(|(_, resource)| resource.is_passable())
            .or_else(|| versions().next())
    }

    /// The service of the aggregated API server behind some version of it.
    fn service(&self) -> Option<Box<str>> {
        self.versions
            .iter()
            .find_map(|version| version.service.clone())
    }
}

/// Events have one set of rows and two names; upstream's configuration takes the core group's alone.
fn canonical(name: &GroupResource) -> GroupResource {
    if name.resource() == "events" && name.group() == "events.k8s.io" {
        GroupResource::new("events", "")
    } else {
        name.clone()
    }
}

#[cfg(test)]
mod tests;
