//! What a change of configuration does, in words.

use core::fmt;

use super::{GroupResource, Layout, Transformer};

/// One thing that differs for one resource or wildcard. Names keys and never shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The resource or wildcard.
    pub resource: GroupResource,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The configuration names it only now.
    Named,
    /// The configuration names it no longer.
    Unnamed,
    /// Another one writes.
    Writer {
        /// The earlier one.
        from: Transformer,
        /// The later one.
        to: Transformer,
    },
    /// It can read rows of one more.
    Added {
        /// Which one.
        transformer: Transformer,
        /// Where it stands, counted from 1.
        position: usize,
    },
    /// It cannot read rows of one any longer.
    Removed(Transformer),
    /// It is tried at another place in the order.
    Moved {
        /// Which one.
        transformer: Transformer,
        /// Where it stood, counted from 1.
        from: usize,
        /// Where it stands.
        to: usize,
    },
    /// A KMS provider keeps its name, but not its endpoint, timeout or cache size.
    Reconfigured(Transformer),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.change)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => f.write_str("named by the configuration"),
            Self::Unnamed => f.write_str("no longer named by the configuration"),
            Self::Writer { from, to } => write!(f, "written by {to} instead of {from}"),
            Self::Added {
                transformer,
                position,
            } => write!(f, "{transformer} added at place {position}"),
            Self::Removed(transformer) => write!(f, "{transformer} removed"),
            Self::Moved {
                transformer,
                from,
                to,
            } => write!(f, "{transformer} moved from place {from} to {to}"),
            Self::Reconfigured(transformer) => {
                write!(
                    f,
                    "{transformer} has another endpoint, timeout or cache size"
                )
            }
        }
    }
}

/// What differs from `before` to `after`, by resource; nothing if they mean the same.
#[must_use]
pub fn differences(before: &Layout, after: &Layout) -> Vec<Difference> {
    let mut resources: Vec<_> = before
        .rules()
        .chain(after.rules())
        .map(|(name, _)| name)
        .collect();
    resources.sort_unstable();
    resources.dedup();
    resources
        .into_iter()
        .flat_map(|resource| {
            changes(before, after, resource)
                .into_iter()
                .map(|change| Difference {
                    resource: resource.clone(),
                    change,
                })
        })
        .collect()
}

fn changes(before: &Layout, after: &Layout, resource: &GroupResource) -> Vec<Change> {
    let is_named = |layout: &Layout| layout.rules().any(|(name, _)| name == resource);
    let mut changes = Vec::new();
    match (is_named(before), is_named(after)) {
        (false, true) => changes.push(Change::Named),
        (true, false) => changes.push(Change::Unnamed),
        _ => {}
    }
    let (old, new) = (before.chain_of(resource), after.chain_of(resource));
    if !old.writer().is_same(new.writer()) {
        changes.push(Change::Writer {
            from: old.writer().clone(),
            to: new.writer().clone(),
        });
    }
    let removed = old.iter().filter(|known| !new.reads(known));
    changes.extend(removed.cloned().map(Change::Removed));
    // The place among those that stay, so that one key more does not move all that follow.
    let old_stay: Vec<_> = old.iter().filter(|known| new.reads(known)).collect();
    let new_stay: Vec<_> = new.iter().filter(|known| old.reads(known)).collect();
    for (index, transformer) in new.iter().enumerate() {
        let place = |all: &[&Transformer]| all.iter().position(|known| known.is_same(transformer));
        let transformer = transformer.clone();
        match (place(&old_stay), place(&new_stay)) {
            (Some(from), Some(to)) if from != to => changes.push(Change::Moved {
                transformer,
                from: from + 1,
                to: to + 1,
            }),
            (Some(from), _) => {
                if old_stay
                    .get(from)
                    .is_some_and(|known| **known != transformer)
                {
                    changes.push(Change::Reconfigured(transformer));
                }
            }
            (None, _) => changes.push(Change::Added {
                transformer,
                position: index + 1,
            }),
        }
    }
    changes
}
