//! What is known of the cluster, from watches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;

use crate::controller::{Controller, Object, ObjectKey, Store};
use crate::crd::{KdcCluster, KmsKey};
use crate::keys::access::{self, Namesake};
use crate::keys::plan::PlaceError;
use crate::keys::tenant::{KeyPlace, Tenant, TenantError};

use super::KeysSettings;

/// The objects of a kind in all namespaces that are watched.
#[derive(Debug)]
pub(super) struct Stores<K>(Vec<Arc<Store<K>>>);

impl<K: Object> Stores<K> {
    /// Watches each of these namespaces, or all.
    pub(super) fn watch(
        controller: &mut Controller,
        namespaces: Option<&[String]>,
        due: impl Fn(&K) -> Vec<ObjectKey> + Send + Sync + Clone + 'static,
    ) -> Self {
        let stores = match namespaces {
            None => vec![controller.watch(None, due)],
            Some(all) => {
                let watch = |namespace: &String| controller.watch(Some(namespace), due.clone());
                all.iter().map(watch).collect()
            }
        };
        Self(stores)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.iter().find_map(|store| store.get(key))
    }

    pub(super) fn list(&self) -> impl Iterator<Item = Arc<K>> {
        self.0.iter().flat_map(|store| store.list())
    }

    /// Why the object cannot be read, if so.
    pub(super) fn unreadable(&self, key: &ObjectKey) -> Option<Box<str>> {
        self.0.iter().find_map(|store| store.unreadable(key))
    }
}

/// Keys, clusters and namespaces as they were last seen.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) keys: Stores<KmsKey>,
    pub(super) clusters: Stores<KdcCluster>,
    pub(super) namespaces: Arc<Store<Namespace>>,
}

impl Lookup {
    fn tenant(&self, settings: &KeysSettings, namespace: &str) -> Result<Tenant, TenantError> {
        let found = self.namespaces.get(&ObjectKey::new("", namespace));
        let labels = found
            .as_ref()
            .and_then(|found| found.metadata.labels.as_ref());
        let none = BTreeMap::new();
        settings.tenancy.tenant(namespace, labels.unwrap_or(&none))
    }

    /// Where the key of this KMSKey is. If others have the same place, that is where the first of them is.
    pub(super) fn place(
        &self,
        settings: &KeysSettings,
        key: &KmsKey,
    ) -> Result<KeyPlace, PlaceError> {
        let own = ObjectKey::of(key);
        let tenant = self.tenant(settings, &own.namespace)?;
        let name = settings.names.name(&tenant, &own.namespace, &own.name)?;
        let place = KeyPlace::new(&tenant.organization, &settings.mount, &name);
        match self.rival(settings, key, &tenant, &name) {
            Some(rival) => Err(PlaceError::Taken { rival, place }),
            None => Ok(place),
        }
    }

    /// Another KMSKey of the organization with this name in OpenBao, which came first.
    fn rival(
        &self,
        settings: &KeysSettings,
        key: &KmsKey,
        tenant: &Tenant,
        name: &str,
    ) -> Option<ObjectKey> {
        let own = ObjectKey::of(key);
        let mut tenants: HashMap<Box<str>, Option<Tenant>> = HashMap::new();
        self.keys.list().find_map(|other| {
            let found = ObjectKey::of(&*other);
            if found.namespace == own.namespace {
                return None;
            }
            let theirs = tenants
                .entry(found.namespace.clone())
                .or_insert_with(|| self.tenant(settings, &found.namespace).ok());
            let theirs = theirs.as_ref();
            let theirs = theirs.filter(|theirs| theirs.organization == tenant.organization)?;
            let their_name = settings
                .names
                .name(theirs, &found.namespace, &found.name)
                .ok()?;
            (their_name == name && precedence(&other) < precedence(key)).then_some(found)
        })
    }

    /// Other clusters of the name of this one, in its organization, that want access too.
    pub(super) fn namesakes(&self, settings: &KeysSettings, cluster: &KdcCluster) -> Vec<Namesake> {
        let own = ObjectKey::of(cluster);
        let Ok(tenant) = self.tenant(settings, &own.namespace) else {
            return Vec::new();
        };
        let others = self.clusters.list().filter(|other| {
            let found = ObjectKey::of(&**other);
            found.name == own.name
                && found.namespace != own.namespace
                && access::wants_access(other)
                && self
                    .tenant(settings, &found.namespace)
                    .is_ok_and(|theirs| theirs.organization == tenant.organization)
        });
        others
            .map(|other| Namesake {
                namespace: ObjectKey::of(&*other).namespace,
                age: access::age(&other),
            })
            .collect()
    }
}

/// Which of two KMSKeys a key belongs to: one whose key was made already, then the older one.
fn precedence(key: &KmsKey) -> (bool, Option<Timestamp>, &str) {
    let ObjectMeta {
        creation_timestamp,
        uid,
        ..
    } = &key.metadata;
    let is_new = key.status.current_version.is_none();
    let created = creation_timestamp.as_ref().map(|time| time.0);
    (is_new, created, uid.as_deref().unwrap_or_default())
}
