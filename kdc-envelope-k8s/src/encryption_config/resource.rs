//! Names of resources and the wildcards over them.

use core::fmt;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Problem;

/// A resource and its API group, either of which may be `*` in a configuration.
///
/// Text form: `<resource>.<group>`, split at the first `.`; no group means the core group, so `secrets` and `secrets.` are
/// the same, and `*.` is everything in the core group (`schema.ParseGroupResource` in `k8s.io/apimachinery`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct GroupResource {
    group: Box<str>,
    resource: Box<str>,
}

impl GroupResource {
    /// A resource of a group; the core group is the empty one.
    #[must_use]
    pub fn new(resource: impl Into<Box<str>>, group: impl Into<Box<str>>) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }

    /// Reads the text form. Every text is one.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(resource, group)
    }

    /// The plural name in lower case.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// `*.*`.
    pub(crate) fn any() -> Self {
        Self::new("*", "*")
    }

    /// `*.<group>`.
    pub(crate) fn any_in_group(&self) -> Self {
        Self::new("*", self.group.clone())
    }

    /// 0 for a resource, 1 for a wildcard over a group, 2 for `*.*`.
    pub(super) fn width(&self) -> u8 {
        match (&*self.resource, &*self.group) {
            ("*", "*") => 2,
            ("*", _) => 1,
            _ => 0,
        }
    }

    fn is_wildcard_of(&self, other: &Self) -> bool {
        *self == Self::any() || (&*self.resource == "*" && self.group == other.group)
    }
}

impl From<String> for GroupResource {
    fn from(text: String) -> Self {
        Self::from_text(&text)
    }
}

impl From<GroupResource> for String {
    fn from(name: GroupResource) -> Self {
        name.to_string()
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() || &*self.resource == "*" {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// The rules on one name (`validateResourceNames` upstream), in its order.
pub(super) fn check_name(text: &str) -> Result<GroupResource, Problem> {
    if text.to_lowercase() != text {
        return Err(Problem::CapitalLetters);
    }
    match text {
        "*" => return Err(Problem::BareStar),
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            return Err(Problem::NoRestApi);
        }
        _ => {}
    }
    let name = GroupResource::from_text(text);
    match name.group() {
        "events.k8s.io" => Err(Problem::EventsGroup),
        "extensions" => Err(Problem::ExtensionsGroup),
        "*" if name.resource() != "*" => Err(Problem::ResourceAcrossGroups),
        _ => Ok(name),
    }
}

/// The rules on one list (`validateResourceOverlap` upstream).
pub(super) fn check_list(names: &[GroupResource]) -> Result<(), Problem> {
    for (index, name) in names.iter().enumerate() {
        for other in names.iter().skip(index + 1) {
            let (wildcard, resource) = if name == other {
                return Err(Problem::DuplicateResource(name.clone()));
            } else if name.is_wildcard_of(other) {
                (name, other)
            } else if other.is_wildcard_of(name) {
                (other, name)
            } else {
                continue;
            };
            return Err(Problem::OverlappingResources {
                wildcard: wildcard.clone(),
                resource: resource.clone(),
            });
        }
    }
    Ok(())
}

/// What an earlier entry says goes before a later one, so a wildcard leaves nothing for later names, nor for itself
/// (`getTransformerOverridesAndKMSPluginProbes` upstream).
pub(super) fn check_mask(
    earlier: &BTreeSet<GroupResource>,
    name: &GroupResource,
) -> Result<(), Problem> {
    let masks = [name.any_in_group(), GroupResource::any()];
    match masks.into_iter().find(|mask| earlier.contains(mask)) {
        Some(wildcard) => Err(Problem::Masked { wildcard }),
        None => Ok(()),
    }
}
