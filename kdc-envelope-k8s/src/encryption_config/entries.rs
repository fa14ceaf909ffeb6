//! From a layout to the entries of a file.
//!
//! Mostly each chain becomes one entry with all resources that have it. The exception are KMS v2 providers, of which
//! kube-apiserver takes each name only once in a file. Resources that share one but differ otherwise are cut into several
//! entries around it, since kube-apiserver joins the providers of all entries that name a resource. The order of such
//! providers must then be the same for all, and wildcards cannot be cut: after a wildcard, its names are masked.

use super::{Chain, GroupResource, Layout, Transformer};

/// An entry of `resources`.
pub(super) struct Entry {
    pub(super) resources: Vec<GroupResource>,
    pub(super) transformers: Vec<Transformer>,
}

/// All resources that have one chain.
struct Group<'l> {
    resources: Vec<&'l GroupResource>,
    chain: &'l Chain,
    /// How many transformers stand in entries already.
    written: usize,
}

/// The entries, or the name of the KMS v2 provider that would have to stand in two places.
pub(super) fn of(layout: &Layout) -> Result<Vec<Entry>, Box<str>> {
    let mut groups = groups(layout);
    let mut entries = Vec::new();
    while let Some(shared) = next_shared(&groups)? {
        let has = |group: &Group<'_>| {
            group.chain.reads(&shared) && group.written < place(group, &shared) + 1
        };
        for group in groups.iter_mut().filter(|group| has(group)) {
            entries.extend(segment(group, place(group, &shared)));
        }
        let sharing: Vec<_> = groups.iter_mut().filter(|group| has(group)).collect();
        let mut resources = Vec::new();
        for group in sharing {
            resources.extend(group.resources.iter().copied().cloned());
            group.written += 1;
        }
        entries.push(Entry {
            resources,
            transformers: vec![shared],
        });
    }
    entries.extend(
        groups
            .iter_mut()
            .filter_map(|group| segment(group, group.chain.count())),
    );
    Ok(entries)
}

/// Narrow names before the wildcards that would mask them.
fn groups(layout: &Layout) -> Vec<Group<'_>> {
    let mut rules: Vec<_> = layout.rules().collect();
    rules.sort_by_key(|(name, _)| name.width());
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (name, chain) in rules {
        let has_kms = chain
            .iter()
            .any(|transformer| transformer.kms_v2().is_some());
        let fits = |group: &Group<'_>| {
            let is_as_wide = group
                .resources
                .iter()
                .all(|other| other.width() == name.width());
            group.chain.is(chain) && (has_kms || is_as_wide)
        };
        match groups.iter_mut().find(|group| fits(group)) {
            Some(group) => group.resources.push(name),
            None => groups.push(Group {
                resources: vec![name],
                chain,
                written: 0,
            }),
        }
    }
    // One that also has wildcards goes where its widest name must.
    groups.sort_by_key(|group| group.resources.iter().map(|name| name.width()).max());
    groups
}

/// The next KMS v2 provider that several groups still need, and that none of them needs after another such.
fn next_shared(groups: &[Group<'_>]) -> Result<Option<Transformer>, Box<str>> {
    let pending = |group: &Group<'_>| -> Vec<Transformer> {
        let rest = group.chain.iter().skip(group.written);
        rest.filter(|transformer| transformer.kms_v2().is_some())
            .cloned()
            .collect()
    };
    let all: Vec<_> = groups.iter().map(pending).collect();
    let is_shared = |transformer: &Transformer| {
        let having = all
            .iter()
            .filter(|kms| kms.iter().any(|known| known.is_same(transformer)));
        having.count() > 1
    };
    let shared: Vec<Vec<&Transformer>> = all
        .iter()
        .map(|kms| {
            kms.iter()
                .filter(|transformer| is_shared(transformer))
                .collect()
        })
        .collect();
    let is_first_everywhere = |transformer: &Transformer| {
        shared.iter().all(|kms| {
            let place = kms.iter().position(|known| known.is_same(transformer));
            place.is_none_or(|place| place == 0)
        })
    };
    let mut heads = shared.iter().filter_map(|kms| kms.first()).peekable();
    let Some(some) = heads.peek().map(|head| (**head).clone()) else {
        return Ok(None);
    };
    match heads.find(|head| is_first_everywhere(head)) {
        Some(head) => Ok(Some((*head).clone())),
        None => Err(some
            .kms_v2()
            .map(|kms| kms.name.clone())
            .unwrap_or_default()),
    }
}

fn place(group: &Group<'_>, transformer: &Transformer) -> usize {
    let place = group
        .chain
        .iter()
        .position(|known| known.is_same(transformer));
    place.unwrap_or(usize::MAX - 1)
}

/// What `group` has up to `end` and no entry has yet.
fn segment(group: &mut Group<'_>, end: usize) -> Option<Entry> {
    let skip = group.written;
    group.written = end;
    let transformers: Vec<_> = group.chain.iter().take(end).skip(skip).cloned().collect();
    (!transformers.is_empty()).then(|| Entry {
        resources: group.resources.iter().copied().cloned().collect(),
        transformers,
    })
}
