//! A process that ends right after a write: the write is done, and nothing comes after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kdc_envelope_k8s::crd::kms_key::Algorithm;
use kdc_envelope_k8s::keys::{
    Change, KeyLook, KeyPlace, KeyService, Role, ServiceError, StoredKey,
};
use kdc_manager::openbao::OpenBao;
use tokio::sync::Notify;

pub(crate) struct Dying {
    inner: OpenBao,
    left: AtomicUsize,
    died: Arc<Notify>,
}

impl Dying {
    pub(crate) fn after(inner: OpenBao, writes: usize) -> Self {
        Self {
            inner,
            left: AtomicUsize::new(writes),
            died: Arc::default(),
        }
    }

    pub(crate) fn died(&self) -> Arc<Notify> {
        Arc::clone(&self.died)
    }

    async fn wrote(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl KeyService for Dying {
    async fn look(&self, place: &KeyPlace) -> Result<KeyLook, ServiceError> {
        self.inner.look(place).await
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), ServiceError> {
        self.inner.create_namespace(namespace).await?;
        self.wrote().await;
        Ok(())
    }

    async fn create_mount(&self, namespace: &str, mount: &str) -> Result<(), ServiceError> {
        self.inner.create_mount(namespace, mount).await?;
        self.wrote().await;
        Ok(())
    }

    async fn create_key(
        &self,
        place: &KeyPlace,
        algorithm: Algorithm,
    ) -> Result<StoredKey, ServiceError> {
        let made = self.inner.create_key(place, algorithm).await?;
        self.wrote().await;
        Ok(made)
    }

    async fn protect_key(&self, place: &KeyPlace) -> Result<(), ServiceError> {
        self.inner.protect_key(place).await
    }

    async fn rotate_key(&self, place: &KeyPlace, from: u32) -> Result<StoredKey, ServiceError> {
        self.inner.rotate_key(place, from).await
    }

    async fn delete_key(&self, place: &KeyPlace) -> Result<(), ServiceError> {
        self.inner.delete_key(place).await
    }

    async fn role_namespaces(
        &self,
        namespace: &str,
        mount: &str,
        role: &str,
    ) -> Result<Option<Vec<String>>, ServiceError> {
        self.inner.role_namespaces(namespace, mount, role).await
    }

    async fn ensure_policy(&self, policy: &str, key: &KeyPlace) -> Result<Change, ServiceError> {
        self.inner.ensure_policy(policy, key).await
    }

    async fn ensure_role(&self, namespace: &str, role: &Role) -> Result<Change, ServiceError> {
        self.inner.ensure_role(namespace, role).await
    }
}
