//! The exact set of pods of a control plane: who must have loaded a configuration before anything depends on it.
//!
//! A Deployment that is complete says nothing of pods that are ending, and those serve on, with what they have loaded. So the
//! pods are told apart by their UIDs, none may be ending, and there must be as many as replicas, before and after they are asked.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::control_plane::{PortError, ServerSet, UnlistedServer};
use crate::crd::kamaji::NAME_LABEL;

/// The configuration that a pod was told to look for. A change of it makes kubelet bring the Secret at once.
pub const CONFIG_HASH: &str = "k8s.kube-dc.com/encryption-config-hash";

/// What counts of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct PodView {
    /// Its name.
    pub name: Box<str>,
    /// Differs from that of every other pod, also of one with the same name.
    pub uid: Box<str>,
    /// Its address, once it has one.
    pub address: Option<Box<str>>,
    /// Whether it was told to end. It serves until it is gone.
    pub is_ending: bool,
    /// Its annotation [`CONFIG_HASH`].
    pub config_hash: Option<Box<str>>,
}

impl PodView {
    /// `None` for a pod that has ended for good, such as one that was evicted.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Failed" | "Succeeded")) {
            return None;
        }
        let annotations = pod.metadata.annotations.as_ref();
        let hash = annotations.and_then(|annotations| annotations.get(CONFIG_HASH));
        let address = status.and_then(|status| status.pod_ip.as_deref());
        Some(Self {
            name: pod.metadata.name.as_deref().unwrap_or_default().into(),
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            address: address
                .filter(|address| !address.is_empty())
                .map(Into::into),
            is_ending: pod.metadata.deletion_timestamp.is_some(),
            config_hash: hash.map(|hash| hash.as_str().into()),
        })
    }
}

/// Why `pods` are not exactly `replicas` API servers that can be asked, each as a clause; nothing if they are.
#[must_use]
pub fn unsettled(pods: &[PodView], replicas: u32) -> Vec<String> {
    let mut reasons = Vec::new();
    for pod in pods {
        let name = &pod.name;
        if pod.is_ending {
            reasons.push(format!(
                "the pod {name} is ending and serves until it is gone"
            ));
        } else if pod.address.is_none() {
            reasons.push(format!("the pod {name} has no address yet"));
        }
    }
    let count = pods.len();
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    if reasons.is_empty() && count != wanted {
        reasons.push(format!("there are {count} pods and should be {wanted}"));
    }
    reasons
}

/// The pods of `control_plane`, by name.
pub(super) async fn list(api: &Api<Pod>, control_plane: &str) -> Result<Vec<PodView>, kube::Error> {
    let selector = format!("{NAME_LABEL}={control_plane}");
    let found = api.list(&ListParams::default().labels(&selector)).await?;
    let mut pods: Vec<_> = found.items.iter().filter_map(PodView::of).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pods)
}

/// The pods of a control plane as they were when they were asked.
pub(super) struct PodSet {
    pub(super) api: Api<Pod>,
    pub(super) control_plane: Box<str>,
    pub(super) replicas: u32,
    /// Those that are asked.
    pub(super) asked: Vec<PodView>,
}

impl core::fmt::Debug for PodSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the pods of {}", self.control_plane)
    }
}

#[async_trait]
impl ServerSet for PodSet {
    async fn unlisted(&self) -> Result<Vec<UnlistedServer>, PortError> {
        let now = list(&self.api, &self.control_plane).await;
        let now = now.map_err(|source| PortError::Object {
            action: "list",
            place: format!("the pods of the control plane {}", self.control_plane).into(),
            source: source.into(),
        })?;
        Ok(changed(&self.asked, &now, self.replicas))
    }
}

/// The differences between the pods that were asked and those that are there `now`.
fn changed(asked: &[PodView], now: &[PodView], replicas: u32) -> Vec<UnlistedServer> {
    let is_asked = |pod: &&PodView| asked.iter().any(|asked| asked.uid == pod.uid);
    let came = now
        .iter()
        .filter(|pod| !is_asked(pod))
        .map(|pod| UnlistedServer {
            name: format!("the pod {}", pod.name).into(),
            why: "it came while the others were asked".into(),
        });
    let mut servers: Vec<_> = came.collect();
    let reasons = unsettled(now, replicas).into_iter();
    servers.extend(reasons.map(|why| UnlistedServer {
        name: "the control plane".into(),
        why: why.into(),
    }));
    servers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str) -> PodView {
        PodView {
            name: name.into(),
            uid: format!("uid of {name}").into(),
            address: Some("10.0.0.1".into()),
            is_ending: false,
            config_hash: None,
        }
    }

    #[test]
    fn a_pod_that_is_ending_counts_until_it_is_gone() {
        let ending = PodView {
            is_ending: true,
            ..pod("old")
        };
        let reasons = unsettled(&[pod("a"), pod("b"), ending], 2);
        assert_eq!(
            reasons,
            ["the pod old is ending and serves until it is gone"]
        );
        assert!(unsettled(&[pod("a"), pod("b")], 2).is_empty());
    }

    #[test]
    fn there_must_be_as_many_pods_as_replicas_each_with_an_address() {
        assert_eq!(
            unsettled(&[pod("a")], 2),
            ["there are 1 pods and should be 2"]
        );
        assert_eq!(unsettled(&[pod("a"), pod("b")], 1).len(), 1);
        let new = PodView {
            address: None,
            ..pod("b")
        };
        assert_eq!(
            unsettled(&[pod("a"), new], 2),
            ["the pod b has no address yet"]
        );
    }

    #[test]
    fn a_pod_that_comes_while_others_are_asked_stops_what_depends_on_them() {
        let asked = [pod("a"), pod("b")];
        assert!(changed(&asked, &asked, 2).is_empty());
        let others = changed(&asked, &[pod("a"), pod("b"), pod("c")], 2);
        assert_eq!(&*others[0].name, "the pod c");
        // Under the same name.
        let again = PodView {
            uid: "another".into(),
            ..pod("b")
        };
        assert_eq!(
            &*changed(&asked, &[pod("a"), again], 2)[0].name,
            "the pod b"
        );
        let gone = changed(&asked, &[pod("a")], 2);
        assert!(gone[0].why.contains("should be 2"), "{gone:?}");
    }

    #[test]
    fn a_pod_that_was_evicted_is_no_api_server() {
        let of = |pod| PodView::of(&serde_json::from_value(pod).unwrap());
        let meta = json!({"name": "a", "uid": "1", "annotations": {CONFIG_HASH: "h"}});
        assert_eq!(
            of(json!({"metadata": meta, "status": {"phase": "Failed"}})),
            None
        );
        let running =
            json!({"metadata": meta, "status": {"phase": "Running", "podIP": "10.0.0.9"}});
        let view = of(running).unwrap();
        assert_eq!(view.address.as_deref(), Some("10.0.0.9"));
        assert_eq!(view.config_hash.as_deref(), Some("h"));
        assert!(!view.is_ending);
    }
}
