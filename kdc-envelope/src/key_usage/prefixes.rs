//! Where API servers keep their objects in an etcd, as far as its keys tell.
//!
//! kube-apiserver writes an object to `<prefix>/<resource>/…`. The prefix is its `--etcd-prefix`: `/registry` unless it was told
//! otherwise, as OpenShift does (`/kubernetes.io`) and whoever lets several API servers share one etcd. Nothing in
//! etcd says which prefixes there are; the names of the resources do.

use std::collections::BTreeSet;

/// The most prefixes that are told apart.
const MAX_PREFIXES: usize = 64;
/// The longest prefix that is kept, in bytes.
const MAX_PREFIX_LEN: usize = 256;
/// Where kube-apiserver keeps all objects, unless its `--etcd-prefix` says otherwise.
pub(super) const REGISTRY: &[u8] = b"/registry/";

/// The prefixes under which API servers keep objects, found among the keys of an etcd.
///
/// Some keys are written by every kube-apiserver when it starts, and by nobody else: a prefix with one of them is certain.
/// A key that only has the name of a resource in it makes its prefix likely; it counts unless it lies below a certain one,
/// as the rows of custom resources may have any name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixes {
    certain: BTreeSet<Box<str>>,
    likely: BTreeSet<Box<str>>,
}

impl Prefixes {
    /// Looks at one more key.
    pub fn add(&mut self, key: &[u8]) {
        let Some(place) = Place::of(key) else {
            return;
        };
        let found = match place.is_certain {
            true => &mut self.certain,
            false => &mut self.likely,
        };
        let is_kept = found.len() < MAX_PREFIXES && place.prefix.len() <= MAX_PREFIX_LEN;
        if is_kept && !found.contains(place.prefix) {
            found.insert(place.prefix.into());
        }
    }

    /// Those that were found, in order, as `--etcd-prefix` takes them: with a `/` in front and none at the end, but for `/`
    /// itself. At most 128.
    #[must_use]
    pub fn found(&self) -> Vec<&str> {
        let is_below = |likely: &str, certain: &str| {
            likely
                .strip_prefix(certain)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_own = |likely: &&str| !self.certain.iter().any(|one| is_below(likely, one));
        let likely = self.likely.iter().map(|prefix| &**prefix).filter(is_own);
        let certain = self.certain.iter().map(|prefix| &**prefix);
        let found: BTreeSet<&str> = certain.chain(likely).collect();
        let shown = |prefix| match prefix {
            "" => "/",
            _ => prefix,
        };
        found.into_iter().map(shown).collect()
    }
}

/// What a key tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'k> {
    /// Without a `/` at the end; empty for `/` itself.
    pub(super) prefix: &'k str,
    /// Whether nobody but kube-apiserver writes such a key.
    pub(super) is_certain: bool,
}

impl<'k> Place<'k> {
    /// The place of a key with the name of a resource that kube-apiserver serves in it. The first such name counts: an object
    /// may be called `secrets`.
    pub(super) fn of(key: &'k [u8]) -> Option<Self> {
        let key = core::str::from_utf8(key).ok()?;
        let mut slashes = key.match_indices('/').map(|(at, _)| at);
        if slashes.next() != Some(0) {
            return None;
        }
        let at = core::iter::once(0)
            .chain(slashes)
            .find(|at| is_resource(key.get(at + 1..).unwrap_or_default()))?;
        let (prefix, rest) = key.split_at_checked(at)?;
        Some(match before_group(prefix) {
            Some(prefix) => Self {
                prefix,
                is_certain: false,
            },
            None => Self {
                prefix,
                is_certain: is_written_at_start(rest.get(1..).unwrap_or_default()),
            },
        })
    }
}

/// The resource of the object at a key, for people: the first word after the prefix, and the second one after an API group, which
/// has a dot.
pub(super) fn resource_of(key: &[u8]) -> Option<&str> {
    if let Some(rest) = key.strip_prefix(REGISTRY) {
        return resource(rest);
    }
    if let Some(place) = Place::of(key) {
        return resource(key.get(place.prefix.len() + 1..)?);
    }
    // A custom resource under a prefix of one word.
    let key = core::str::from_utf8(key).ok()?;
    let (_, rest) = key.strip_prefix('/')?.split_once('/')?;
    let (group, below) = rest.split_once('/')?;
    let is_custom = group.contains('.') && below.contains('/');
    is_custom.then(|| resource(rest.as_bytes())).flatten()
}

/// The resource in what follows a prefix and its `/`.
pub(super) fn resource(rest: &[u8]) -> Option<&str> {
    let len = |text: &[u8]| {
        text.iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(text.len())
    };
    let mut end = len(rest);
    let (first, after) = rest.split_at_checked(end)?;
    if first.contains(&b'.') {
        end += after.strip_prefix(b"/").map_or(0, |after| 1 + len(after));
    }
    let text = core::str::from_utf8(rest.get(..end)?).ok()?;
    (!text.is_empty()).then_some(text)
}

/// What stands before the API group of a custom resource. A prefix such as `/kubernetes.io` looks like one, but comes first.
fn before_group(prefix: &str) -> Option<&str> {
    let starts = prefix.match_indices('/').map(|(at, _)| at);
    let mut starts = starts.skip(1);
    let at = starts.find(|at| {
        let word = prefix.get(at + 1..).unwrap_or_default();
        let word = word.split('/').next().unwrap_or_default();
        word.contains('.')
    })?;
    prefix.get(..at)
}

/// Whether what follows a prefix is the name of a resource and something below it.
fn is_resource(rest: &str) -> bool {
    let Some((name, below)) = rest.split_once('/') else {
        return false;
    };
    match name {
        "services" => below.starts_with("specs/") || below.starts_with("endpoints/"),
        "apiregistration.k8s.io" => below.starts_with("apiservices/"),
        "apiextensions.k8s.io" => below.starts_with("customresourcedefinitions/"),
        _ => !below.is_empty() && BUILT_IN.contains(&name),
    }
}

/// Rows that kube-apiserver writes when it starts, whatever it is used for.
fn is_written_at_start(rest: &str) -> bool {
    matches!(
        rest,
        "namespaces/default"
            | "namespaces/kube-system"
            | "ranges/serviceips"
            | "ranges/servicenodeports"
    ) || rest.starts_with("apiregistration.k8s.io/apiservices/v1.")
}

/// The names under which kube-apiserver stores what it serves itself (`pkg/kubeapiserver/default_storage_factory_builder.go` and
/// the registries in `kubernetes/kubernetes`).
const BUILT_IN: [&str; 54] = [
    "certificatesigningrequests",
    "clusterrolebindings",
    "clusterroles",
    "clustertrustbundles",
    "configmaps",
    "controllerrevisions",
    "controllers",
    "cronjobs",
    "csidrivers",
    "csinodes",
    "csistoragecapacities",
    "daemonsets",
    "deployments",
    "deviceclasses",
    "endpointslices",
    "events",
    "flowschemas",
    "horizontalpodautoscalers",
    "ingress",
    "ingressclasses",
    "ipaddresses",
    "jobs",
    "leases",
    "limitranges",
    "masterleases",
    "minions",
    "mutatingwebhookconfigurations",
    "namespaces",
    "networkpolicies",
    "persistentvolumeclaims",
    "persistentvolumes",
    "poddisruptionbudgets",
    "pods",
    "podtemplates",
    "priorityclasses",
    "prioritylevelconfigurations",
    "ranges",
    "replicasets",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourcequotas",
    "resourceslices",
    "rolebindings",
    "roles",
    "runtimeclasses",
    "secrets",
    "serviceaccounts",
    "servicecidrs",
    "statefulsets",
    "storageclasses",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "volumeattachments",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &[&str]) -> Vec<String> {
        let mut prefixes = Prefixes::default();
        for key in keys {
            prefixes.add(key.as_bytes());
        }
        prefixes.found().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn prefixes_are_told_by_the_resources_below_them() {
        let keys = [
            "/registry/secrets/default/a",
            "/kubernetes.io/secrets/default/a",
            "/tenants/a/services/specs/default/x",
            "compact_rev_key",
            "/calico/ipam/v2/host/node",
            "/locks/services/x",
        ];
        assert_eq!(found(&keys), ["/kubernetes.io", "/registry", "/tenants/a"]);
        assert_eq!(found(&["/secrets/default/a"]), ["/"]);
        assert_eq!(
            found(&["secrets/default/a", "/secrets", "/secrets/"]),
            [""; 0]
        );
    }

    #[test]
    fn names_of_namespaces_objects_and_custom_resources_are_no_prefixes() {
        let keys = [
            "/registry/configmaps/secrets/pods/x",
            "/registry/crd.projectcalico.org/networkpolicies/a/b",
            "/registry/cilium.io/ciliumendpoints/secrets/x",
        ];
        assert_eq!(found(&keys), ["/registry"]);
    }

    #[test]
    fn a_key_of_every_api_server_counts_more_than_a_name() {
        let custom = "/cilium.io/ciliumendpoints/secrets/x";
        assert_eq!(found(&[custom]), ["/cilium.io/ciliumendpoints"]);
        assert_eq!(found(&[custom, "/namespaces/kube-system"]), ["/"]);
        let nested = [
            "/registry/namespaces/default",
            "/registry/a/namespaces/default",
        ];
        assert_eq!(found(&nested), ["/registry", "/registry/a"]);
        let like = [
            "/registry/namespaces/default",
            "/registry2/secrets/default/a",
        ];
        assert_eq!(found(&like), ["/registry", "/registry2"]);
    }

    #[test]
    fn memory_is_bounded_whatever_the_keys_say() {
        let mut prefixes = Prefixes::default();
        for number in 0..1000 {
            prefixes.add(format!("/{number}/secrets/a/b").as_bytes());
            prefixes.add(format!("/s{number}/namespaces/default").as_bytes());
        }
        prefixes.add(format!("/{}/secrets/a/b", "x".repeat(1000)).as_bytes());
        assert_eq!(prefixes.found().len(), 2 * MAX_PREFIXES);
    }

    #[test]
    fn plain_rows_are_told_apart_by_resource() {
        let of = |key: &str| resource_of(key.as_bytes()).map(str::to_owned);
        assert_eq!(of("/registry/secrets/default/a").unwrap(), "secrets");
        assert_eq!(of("/registry/namespaces/default").unwrap(), "namespaces");
        assert_eq!(
            of("/registry/cilium.io/policies/a/b").unwrap(),
            "cilium.io/policies"
        );
        assert_eq!(of("/registry/ranges").unwrap(), "ranges");
        assert_eq!(of("/registry/a.b").unwrap(), "a.b");
        assert_eq!(of("/registry/"), None);
        assert_eq!(resource_of(b"/registry/\xff/a"), None);
        assert_eq!(of("/t/a/services/specs/a/b").unwrap(), "services");
        assert_eq!(of("/t/cilium.io/policies/a").unwrap(), "cilium.io/policies");
        assert_eq!(of("/t/crd.x.org/pods/a/b").unwrap(), "crd.x.org/pods");
        assert_eq!(of("/t/else/policies/a"), None);
        assert_eq!(of("compact_rev_key"), None);
    }
}
