//! The port of the controllers, on the administrator's side of OpenBao.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kdc_envelope_bao::admin::{
    self, Admin, AdminError, InvalidName, KeyConfig, KeyKind, KubernetesRole, LowerName, MountPath,
    Trial, policy_for_plugin,
};
use kdc_envelope_bao::settings::BaoConnection;
use kdc_envelope_bao::{
    BaoError, BaoErrorClass, Client, CredentialError, InvalidKeyName, InvalidNamespace, Namespace,
    Session, TransitKey, TransitKeyName,
};
use kdc_envelope_k8s::crd::kms_key::Algorithm;
use kdc_envelope_k8s::keys::{
    Change, KeyLook, KeyPlace, KeyService, Role, ServiceError, ServiceErrorKind, StoredKey,
};

/// Making a mount or a version takes longer than using one.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// With the claim of a rotation, three calls have to end within its lifetime.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// OpenBao, with the namespaces of organizations below the one that the connection is in.
#[derive(Debug, Clone)]
pub struct OpenBao(Admin);

impl OpenBao {
    /// Reads certificates, and sends nothing.
    ///
    /// # Errors
    /// [`CredentialError`] if a certificate file cannot be used.
    pub fn connect(connection: &BaoConnection) -> Result<Self, CredentialError> {
        let mut config = connection.client_config();
        config.attempt_timeout = ATTEMPT_LIMIT;
        config.call_timeout = CALL_LIMIT;
        let client = Client::new(config)?;
        let session = Session::new(
            client,
            connection.login_method(),
            connection.login_namespace(),
        );
        Ok(Self(Admin::new(session)))
    }

    /// The session behind it, which has to be [maintained](Session::maintain).
    #[must_use]
    pub const fn session(&self) -> &Session {
        self.0.session()
    }

    /// The administrator of an organization.
    fn within(&self, organization: &str) -> Result<Admin, Fault> {
        let path = match self.0.namespace() {
            Some(above) => format!("{above}/{organization}"),
            None => organization.to_owned(),
        };
        Ok(self.0.in_namespace(Some(path.parse()?)))
    }
}

/// What can go wrong in one call.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    #[error(transparent)]
    KeyName(#[from] InvalidKeyName),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("the key is at version {found} and no longer at {from}")]
    Moved { from: u32, found: u32 },
    #[error("the key went from version {from} to {found} in one rotation")]
    Skipped { from: u32, found: u32 },
    #[error("there is no such key any more")]
    Gone,
}

impl Fault {
    fn kind(&self) -> ServiceErrorKind {
        match self {
            Self::Admin(error) => of_admin(error),
            Self::Namespace(_) | Self::KeyName(_) | Self::Name(_) => ServiceErrorKind::Refused,
            Self::Moved { .. } => ServiceErrorKind::Unavailable,
            Self::Skipped { .. } => ServiceErrorKind::Unverified,
            Self::Gone => ServiceErrorKind::Missing,
        }
    }
}

impl From<Fault> for ServiceError {
    fn from(fault: Fault) -> Self {
        Self {
            kind: fault.kind(),
            message: kdc_envelope::ErrorChain::new(&fault).to_string().into(),
        }
    }
}

fn of_admin(error: &AdminError) -> ServiceErrorKind {
    match error {
        AdminError::PhantomSuspected { .. }
        | AdminError::ConcurrentRotation { .. }
        | AdminError::Unproven { .. } => ServiceErrorKind::Unverified,
        // Also when OpenBao cannot ask the API server about a token, which passes.
        AdminError::Bao(BaoError::LoginRefused { .. }) => ServiceErrorKind::Denied,
        error => match error.class() {
            BaoErrorClass::Transient | BaoErrorClass::Unauthenticated => {
                ServiceErrorKind::Unavailable
            }
            BaoErrorClass::Denied => ServiceErrorKind::Denied,
            BaoErrorClass::Missing => ServiceErrorKind::Missing,
            _ => ServiceErrorKind::Refused,
        },
    }
}

fn key_name(place: &KeyPlace) -> Result<TransitKeyName, Fault> {
    Ok(TransitKeyName::new(&place.mount, &place.name)?)
}

/// What a read of a key in a place says that is not there itself.
fn missing_place(error: &AdminError) -> Option<KeyLook> {
    match error {
        AdminError::Bao(BaoError::NotFound { message, .. })
            if message.contains("namespace not found") =>
        {
            Some(KeyLook::NoNamespace)
        }
        AdminError::Bao(BaoError::NotFound { message, .. })
            if message.contains("no handler for route") =>
        {
            Some(KeyLook::NoMount)
        }
        _ => None,
    }
}

fn stored(key: TransitKey) -> StoredKey {
    let time = |(version, seconds): (u32, u64)| {
        let seconds = i64::try_from(seconds).ok()?;
        Some((version, Timestamp::from_second(seconds).ok()?))
    };
    StoredKey {
        kind: key.kind,
        latest_version: key.latest_version,
        created: key.versions.into_iter().filter_map(time).collect(),
        min_decryption_version: key.min_decryption_version,
        exportable: key.exportable,
        allow_plaintext_backup: key.allow_plaintext_backup,
        derived: key.derived,
        soft_deleted: key.soft_deleted,
        deletion_allowed: key.deletion_allowed,
        auto_rotate_period: Duration::from_secs(key.auto_rotate_period),
    }
}

fn changed(change: admin::Change) -> Change {
    match change {
        admin::Change::Created => Change::Created,
        admin::Change::Updated { fields } => Change::Repaired { fields },
        _ => Change::Unchanged,
    }
}

impl OpenBao {
    async fn find(&self, place: &KeyPlace) -> Result<KeyLook, Fault> {
        let admin = self.within(&place.namespace)?;
        match admin.keys().read(&key_name(place)?).await {
            Ok(Some(key)) => Ok(KeyLook::Found(stored(key))),
            Ok(None) => Ok(KeyLook::NoKey),
            Err(error) => missing_place(&error).ok_or(Fault::Admin(error)),
        }
    }

    async fn make_namespace(&self, organization: &str) -> Result<(), Fault> {
        let path: Namespace = organization.parse()?;
        self.0.namespaces().ensure(&path, &BTreeMap::new()).await?;
        Ok(())
    }

    async fn make_mount(&self, organization: &str, mount: &str) -> Result<(), Fault> {
        let admin = self.within(organization)?;
        let path: MountPath = mount.parse()?;
        admin.mounts().ensure_transit_alone(&path).await?;
        Ok(())
    }

    async fn make_key(&self, place: &KeyPlace, algorithm: Algorithm) -> Result<StoredKey, Fault> {
        let admin = self.within(&place.namespace)?;
        let kind = match algorithm {
            Algorithm::ChaCha20Poly1305 => KeyKind::ChaCha20Poly1305,
            _ => KeyKind::Aes256Gcm96,
        };
        let keys = admin.keys();
        let (_, key) = keys
            .ensure_of_kind(&key_name(place)?, kind, &KeyConfig::safe())
            .await?;
        Ok(stored(key))
    }

    async fn protect(&self, place: &KeyPlace) -> Result<(), Fault> {
        let admin = self.within(&place.namespace)?;
        admin
            .keys()
            .ensure_config(&key_name(place)?, &KeyConfig::safe())
            .await?;
        Ok(())
    }

    /// Without a trial, for which the token would need the rights to encrypt and to decrypt: whatever wraps with the new version proves it.
    async fn rotate(&self, place: &KeyPlace, from: u32) -> Result<StoredKey, Fault> {
        let (admin, name) = (self.within(&place.namespace)?, key_name(place)?);
        let before = admin.keys().read(&name).await?.ok_or(Fault::Gone)?;
        if before.latest_version != from {
            let found = before.latest_version;
            return Err(Fault::Moved { from, found });
        }
        let rotated = stored(admin.keys().rotate(&name, Trial::None).await?);
        match rotated.latest_version {
            found if found == from.saturating_add(1) => Ok(rotated),
            found => Err(Fault::Skipped { from, found }),
        }
    }

    async fn delete(&self, place: &KeyPlace) -> Result<(), Fault> {
        let (admin, name) = (self.within(&place.namespace)?, key_name(place)?);
        let mut allowed = KeyConfig::default();
        allowed.deletion_allowed = Some(true);
        admin.keys().ensure_config(&name, &allowed).await?;
        admin.keys().delete(&name).await?;
        Ok(())
    }

    async fn bound(
        &self,
        organization: &str,
        mount: &str,
        role: &str,
    ) -> Result<Option<Vec<String>>, Fault> {
        let admin = self.within(organization)?;
        let (mount, name): (MountPath, LowerName) = (mount.parse()?, role.parse()?);
        let role = admin.kubernetes(&mount).read_role(&name).await?;
        Ok(role.map(|role| role.bound_service_account_namespaces.into_iter().collect()))
    }

    async fn write_policy(&self, policy: &str, key: &KeyPlace) -> Result<Change, Fault> {
        let admin = self.within(&key.namespace)?;
        let name: LowerName = policy.parse()?;
        let text = policy_for_plugin(&key_name(key)?);
        Ok(changed(admin.policies().ensure(&name, &text).await?))
    }

    async fn write_role(&self, organization: &str, role: &Role) -> Result<Change, Fault> {
        let admin = self.within(organization)?;
        let (mount, name): (MountPath, LowerName) = (role.mount.parse()?, role.name.parse()?);
        let mut wanted = KubernetesRole::new(
            &role.namespace,
            &role.service_account,
            &role.audience,
            &name,
        );
        wanted.token_ttl = role.time_to_live;
        wanted.token_max_ttl = role.max_time_to_live;
        Ok(changed(
            admin.kubernetes(&mount).ensure_role(&name, &wanted).await?,
        ))
    }
}

#[async_trait]
impl KeyService for OpenBao {
    async fn look(&self, place: &KeyPlace) -> Result<KeyLook, ServiceError> {
        Ok(self.find(place).await?)
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), ServiceError> {
        Ok(self.make_namespace(namespace).await?)
    }

    async fn create_mount(&self, namespace: &str, mount: &str) -> Result<(), ServiceError> {
        Ok(self.make_mount(namespace, mount).await?)
    }

    async fn create_key(
        &self,
        place: &KeyPlace,
        algorithm: Algorithm,
    ) -> Result<StoredKey, ServiceError> {
        Ok(self.make_key(place, algorithm).await?)
    }

    async fn protect_key(&self, place: &KeyPlace) -> Result<(), ServiceError> {
        Ok(self.protect(place).await?)
    }

    async fn rotate_key(&self, place: &KeyPlace, from: u32) -> Result<StoredKey, ServiceError> {
        Ok(self.rotate(place, from).await?)
    }

    async fn delete_key(&self, place: &KeyPlace) -> Result<(), ServiceError> {
        Ok(self.delete(place).await?)
    }

    async fn role_namespaces(
        &self,
        namespace: &str,
        mount: &str,
        role: &str,
    ) -> Result<Option<Vec<String>>, ServiceError> {
        Ok(self.bound(namespace, mount, role).await?)
    }

    async fn ensure_policy(&self, policy: &str, key: &KeyPlace) -> Result<Change, ServiceError> {
        Ok(self.write_policy(policy, key).await?)
    }

    async fn ensure_role(&self, namespace: &str, role: &Role) -> Result<Change, ServiceError> {
        Ok(self.write_role(namespace, role).await?)
    }
}
