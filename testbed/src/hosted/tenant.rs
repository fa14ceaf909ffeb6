//! What a control plane has beside its pods: certificates, Secrets, a place in the DataStore, a Service.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::datastore::DATA_STORE;
use super::runner::Shared;
use super::service::Service;
use super::template::{self, Facts, text};
use super::unexpected;
use crate::Error;
use crate::client::{Client, Resource};
use crate::pki::{self, TlsFiles};

/// A control plane that is set up.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) uid: String,
    pub(super) facts: Facts,
    pub(super) service: Service,
    name: String,
    /// `https://NAME.NAMESPACE.svc:PORT`.
    url: String,
    port: u16,
    user: String,
    masters: TlsFiles,
    bound: AtomicBool,
}

impl Tenant {
    /// Makes all of it, or takes what is there already.
    pub(super) async fn set_up(shared: &Shared, plane: &Value) -> Result<Self, Error> {
        let (namespace, name) = (
            text(plane, "/metadata/namespace"),
            text(plane, "/metadata/name"),
        );
        let uid = text(plane, "/metadata/uid");
        let or_uid = |pointer: &str| match text(plane, pointer) {
            "" => uid.to_owned(),
            given => given.to_owned(),
        };
        let schema = or_uid("/spec/dataStoreSchema");
        let user = or_uid("/spec/dataStoreUsername");
        shared.administrator.add_tenant(&schema, &user).await?;
        let port = template::port(plane);
        let address = SocketAddr::from((super::addresses::free(port)?, port));
        let folder = shared.folder.path().join(format!("tenant-{uid}"));
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let authority = pki::authority()?;
        let client_of =
            |name: &str, group: &str| authority.write_party_of(&folder, name, Some(group), &[]);
        let masters = client_of("kubernetes-super-admin", "system:masters")?;
        let tenant = Self {
            uid: uid.to_owned(),
            facts: Facts {
                schema,
                etcd_endpoint: shared.etcd_endpoint.clone(),
            },
            service: Service::start(address).await?,
            name: name.to_owned(),
            url: format!("https://{name}.{namespace}.svc:{port}"),
            port,
            user,
            masters,
            bound: AtomicBool::new(false),
        };
        let admin = client_of("kubernetes-admin", "kubeadm:cluster-admins")?;
        shared
            .client
            .ensure_service_account(namespace, "default")
            .await
            .map_err(|error| unexpected(&error))?;
        for secret in [
            tenant.server_secret(&folder, namespace)?,
            tenant.data_store_secret(&folder)?,
            tenant.config_secret(),
            tenant.kubeconfig_secret(&admin)?,
        ] {
            let stored = shared.client.apply(&named(secret, namespace)).await;
            stored.map_err(|error| unexpected(&error))?;
        }
        Ok(tenant)
    }

    /// As `system:masters`, through the Service or to one pod.
    pub(super) fn client(&self, pod: Option<Ipv4Addr>) -> Result<Client, Error> {
        let address = pod.map_or_else(
            || self.service.address(),
            |pod| SocketAddr::from((pod, self.port)),
        );
        let mut identity = read(&self.masters.cert)?;
        identity.extend(read(&self.masters.key)?);
        let ca = &pki::authority()?.ca_pem;
        Client::with_certificate(self.url.clone(), address, ca, &identity)
    }

    /// Gives the administrators of the kubeconfig their rights in the tenant, as kubeadm does.
    pub(super) async fn bind_administrators(&self) -> Result<(), Error> {
        if self.bound.load(Ordering::Relaxed) {
            return Ok(());
        }
        let bindings = Resource::new("rbac.authorization.k8s.io/v1", "clusterrolebindings");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "kubeadm:cluster-admins"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "kubeadm:cluster-admins"}],
        });
        let client = self.client(None)?;
        let made = client.ensure(bindings, "", &binding).await;
        made.map_err(|error| unexpected(&error))?;
        self.bound.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The status of the object.
    pub(super) fn status(&self, plane: &Value, version: &Value, deployment: &Value) -> Value {
        let mut deployment = deployment.clone();
        deployment["name"] = json!(self.name);
        deployment["namespace"] = plane["metadata"]["namespace"].clone();
        deployment["selector"] = json!(format!("kamaji.clastix.io/name={}", self.name));
        if let Some(fields) = deployment.as_object_mut() {
            fields.remove("terminatingReplicas");
            fields.remove("conditions");
            fields.remove("observedGeneration");
        }
        json!({
            "observedGeneration": plane["metadata"]["generation"],
            "controlPlaneEndpoint": self.service.address().to_string(),
            "kubeconfig": {"admin": {"secretName": format!("{}-admin-kubeconfig", self.name)}},
            "kubernetesResources": {"version": version, "deployment": deployment},
            "storage": {
                "driver": "etcd",
                "dataStoreName": DATA_STORE,
                "setup": {"schema": self.facts.schema, "user": self.user},
                "config": {"secretName": format!("{}-datastore-config", self.name)},
                "certificate": {"secretName": format!("{}-datastore-certificate", self.name)},
            },
        })
    }

    /// All files of kube-apiserver. No address of a pod is in its certificate.
    fn server_secret(&self, folder: &Path, namespace: &str) -> Result<Value, Error> {
        let name = &self.name;
        let mut names = vec![self.service.address().ip().to_string()];
        names.extend(
            [
                name.as_str(),
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ]
            .map(str::to_owned),
        );
        names.push(format!("{name}.{namespace}.svc"));
        names.push(format!("{name}.{namespace}.svc.cluster.local"));
        let authority = pki::authority()?;
        let server = authority.write_party_of(folder, "kube-apiserver", None, &names)?;
        let etcd = authority.write_party(folder, &self.user)?;
        let (private, public) = authority.write_service_account(folder)?;
        secret(
            format!("{name}-api-server-certificate"),
            &[
                ("ca.crt", &server.ca),
                ("apiserver.crt", &server.cert),
                ("apiserver.key", &server.key),
                ("etcd-ca.crt", &etcd.ca),
                ("etcd-client.crt", &etcd.cert),
                ("etcd-client.key", &etcd.key),
                ("sa.pub", &public),
                ("sa.key", &private),
            ],
        )
    }

    /// The certificate for the rows of this tenant, and of no other.
    fn data_store_secret(&self, folder: &Path) -> Result<Value, Error> {
        let (cert, key) = (
            folder.join(format!("{}.crt", self.user)),
            folder.join(format!("{}.key", self.user)),
        );
        secret(
            format!("{}-datastore-certificate", self.name),
            &[
                ("ca.crt", &folder.join("ca.crt")),
                ("server.crt", &cert),
                ("server.key", &key),
            ],
        )
    }

    fn config_secret(&self) -> Value {
        let values = json!({
            "DB_SCHEMA": self.facts.schema, "DB_USER": self.user, "DB_CONNECTION_STRING": "",
        });
        json!({
            "metadata": {"name": format!("{}-datastore-config", self.name)}, "stringData": values,
        })
    }

    fn kubeconfig_secret(&self, admin: &TlsFiles) -> Result<Value, Error> {
        let direct = format!("https://{}", self.service.address());
        let mut data = json!({});
        for (key, party, url) in [
            ("admin.conf", admin, &direct),
            ("admin.svc", admin, &self.url),
            ("super-admin.conf", &self.masters, &direct),
            ("super-admin.svc", &self.masters, &self.url),
        ] {
            data[key] = json!(kubeconfig(url, party)?);
        }
        Ok(json!({
            "metadata": {"name": format!("{}-admin-kubeconfig", self.name)}, "stringData": data,
        }))
    }
}

fn kubeconfig(url: &str, party: &TlsFiles) -> Result<String, Error> {
    let base64 = |path: &Path| Ok::<_, Error>(BASE64.encode(read(path)?));
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tenant", "cluster": {
            "server": url, "certificate-authority-data": base64(&party.ca)?,
        }}],
        "users": [{"name": "admin", "user": {
            "client-certificate-data": base64(&party.cert)?, "client-key-data": base64(&party.key)?,
        }}],
        "contexts": [{"name": "tenant", "context": {"cluster": "tenant", "user": "admin"}}],
        "current-context": "tenant",
    });
    Ok(text.to_string())
}

fn secret(name: String, files: &[(&str, &PathBuf)]) -> Result<Value, Error> {
    let mut data = json!({});
    for (key, path) in files {
        data[*key] = json!(BASE64.encode(read(path)?));
    }
    Ok(json!({"metadata": {"name": name}, "data": data}))
}

fn named(mut secret: Value, namespace: &str) -> Value {
    secret["apiVersion"] = json!("v1");
    secret["kind"] = json!("Secret");
    secret["metadata"]["namespace"] = json!(namespace);
    secret
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}
