//! Several API servers on one etcd, each under a prefix of its own, and rows outside of all prefixes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use kdc_testbed::{ApiServer, Etcd, Resource, programs};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{Cluster, Ran, config, run, secret};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// An API server beside others on an etcd.
struct Tenant {
    api: ApiServer,
    folder: TempDir,
}

/// A configuration that writes with `aescbc` and reads plain rows.
fn encrypted(resources: &[&str]) -> String {
    let writer = json!({"aescbc": {"keys": [{"name": "key1", "secret": KEY}]}});
    config(resources, &[writer, json!({"identity": {}})])
}

impl Tenant {
    async fn start(etcd: &Etcd, prefix: &str, flags: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("encryption-provider.conf");
        fs::write(&file, encrypted(&["secrets"])).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut options = ApiServer::options()
            .encryption_config(&file)
            .automatic_reload()
            .flag(format!("--etcd-prefix={prefix}"));
        for flag in flags {
            options = options.flag(flag);
        }
        let api = options.start(etcd).await.unwrap();
        wait_for_namespace(etcd, prefix).await;
        Self { api, folder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("encryption-provider.conf")
    }

    /// A verb on this API server, with an etcd.
    async fn run(&self, verb: &str, etcd: &str, more: &[&str]) -> Ran {
        let mut command = Command::new(&programs::build().unwrap().kdc);
        command.args(["encryption", verb]);
        command.arg("--kubeconfig").arg(self.api.kubeconfig());
        command.arg("--config").arg(self.config());
        command.args(["--etcd-endpoints", etcd]);
        command.args(more).stdin(Stdio::null());
        run(command).await
    }

    async fn create_secret(&self, name: &str) {
        let object = secret(name, name);
        let made = self
            .api
            .client()
            .create(Resource::SECRETS, "default", &object);
        made.await.unwrap();
    }
}

/// kube-apiserver makes it soon after its start, but later than it is ready.
async fn wait_for_namespace(etcd: &Etcd, prefix: &str) {
    let key = format!("{prefix}/namespaces/kube-system");
    while etcd.row(&key).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_looked_for_where_the_api_server_keeps_them() {
    let cluster = Cluster::start(1, &encrypted(&["secrets"])).await;
    wait_for_namespace(&cluster.etcd, "/registry").await;
    cluster.create_secrets(2).await;
    let etcd = cluster.etcd.endpoint();
    let tenant = Tenant::start(&cluster.etcd, "/tenant_a", &[]).await;
    let plain = "/tenant_a/secrets/default/plain";
    let object = secret("plain", "value").to_string();
    cluster.etcd.put(plain, object.as_bytes()).await.unwrap();

    // The other API server's rows are on the newest key; these are not.
    for more in [
        &[][..],
        &["--etcd-prefix", "/tenant_a"],
        &["--etcd-prefix", "tenant_a/"],
    ] {
        let verified = tenant.run("verify", etcd, more).await;
        assert_eq!(verified.code, Some(1), "{verified:?}");
        let words = format!("not every row is on the newest key, first the one at `{plain}`");
        assert!(verified.stdout.contains(&words), "{verified:?}");
        assert!(
            verified
                .stdout
                .contains("1 rows of these resources under /tenant_a in etcd"),
            "{verified:?}"
        );
    }
    refuses_others(&tenant, etcd).await;
    proves_nothing(&cluster).await;

    cluster.etcd.delete(plain).await.unwrap();
    let nothing = tenant.run("verify", etcd, &["--output", "json"]).await;
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    let json: serde_json::Value = serde_json::from_str(&nothing.stdout).unwrap();
    assert_eq!(
        (&json["verified"], &json["conclusion"]),
        (&false.into(), &"unknown".into())
    );
    assert_eq!(json["etcdPrefix"], "/tenant_a");
    tenant.create_secret("own").await;
    let verified = tenant.run("verify", etcd, &[]).await.done();
    assert!(
        verified.contains("\nevery row is on the newest key"),
        "{verified}"
    );
    let status = tenant
        .run("status", etcd, &["--output", "json"])
        .await
        .json();
    assert_eq!(status["rowsFrom"]["etcdPrefix"], "/tenant_a");
    assert_eq!(status["rows"][0]["rows"], 1);
    let theirs = cluster.verify_rows().await.json();
    assert_eq!(
        (&theirs["verified"], &theirs["etcdPrefix"]),
        (&true.into(), &"/registry".into())
    );
}

/// Rows that do not belong to the API server prove nothing.
async fn refuses_others(tenant: &Tenant, etcd: &str) {
    let root = tenant.run("verify", etcd, &["--etcd-prefix", "/"]).await;
    let (code, line) = root.refusal();
    assert_eq!(code, 66, "{line}");
    assert!(line.contains("rows under /registry, /tenant_a"), "{line}");
    let other = tenant
        .run("verify", etcd, &["--etcd-prefix", "/registry"])
        .await;
    let (code, line) = other.refusal();
    assert_eq!(code, 1, "{line}");
    assert!(
        line.contains("the rows of another cluster under `/registry`"),
        "{line}"
    );
    let empty = tenant.run("verify", etcd, &["--etcd-prefix", ""]).await;
    assert_eq!(empty.refusal().0, 64);

    let stranger = Etcd::start().await.unwrap();
    stranger.put("/app/state", b"anything").await.unwrap();
    let wrong = tenant.run("verify", stranger.endpoint(), &[]).await;
    let (code, line) = wrong.refusal();
    assert_eq!(code, 66, "{line}");
    assert!(line.contains("has no row of an API server"), "{line}");
}

/// Neither do no objects, nor rows that cannot be read.
async fn proves_nothing(cluster: &Cluster) {
    let etcd = cluster.etcd.endpoint();
    let none = cluster.run(&["verify", "--resources", "jobs.batch"]).await;
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(
        none.stdout.contains("it is not known whether every row"),
        "{none:?}"
    );
    let broken = "/registry/secrets/default/broken";
    cluster
        .etcd
        .put(broken, b"k8s:enc:aescbc:v1:key1:x")
        .await
        .unwrap();
    let damaged = cluster.run(&["verify", "--etcd-endpoints", etcd]).await;
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    let words = format!("1 could not be read, among them `{broken}`");
    assert!(damaged.stdout.contains(&words), "{damaged:?}");
    cluster.etcd.delete(broken).await.unwrap();
}

/// The namespaces are encrypted, so no row shows the uid that identifies the cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_encrypts_its_namespaces_is_found_too() {
    let cluster = Cluster::start(1, &encrypted(&["secrets", "namespaces"])).await;
    wait_for_namespace(&cluster.etcd, "/registry").await;
    cluster.create_secrets(1).await;
    let tenant = Tenant::start(&cluster.etcd, "/tenant_a", &[]).await;
    tenant.create_secret("own").await;
    let theirs = cluster.verify_rows().await.json();
    assert_eq!(
        (&theirs["verified"], &theirs["etcdPrefix"]),
        (&true.into(), &"/registry".into())
    );
    let etcd = cluster.etcd.endpoint();
    let own = tenant
        .run("verify", etcd, &["--output", "json"])
        .await
        .json();
    assert_eq!(own["etcdPrefix"], "/tenant_a");
    let other = tenant
        .run("verify", etcd, &["--etcd-prefix", "/registry"])
        .await;
    let (code, line) = other.refusal();
    assert_eq!(code, 1, "{line}");
    assert!(
        line.contains("the rows of another cluster under `/registry`"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_where_the_api_server_has_objects_proves_nothing() {
    let etcd = Etcd::start().await.unwrap();
    let secrets = Etcd::start().await.unwrap();
    let elsewhere = format!("--etcd-servers-overrides=/secrets#{}", secrets.endpoint());
    let tenant = Tenant::start(&etcd, "/registry", &[elsewhere]).await;
    tenant.create_secret("a").await;
    let words = "nothing was found in `/registry/secrets/`, where 1 should be";
    let verified = tenant.run("verify", etcd.endpoint(), &[]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(verified.stdout.contains(words), "{verified:?}");
    let status = tenant.run("status", etcd.endpoint(), &[]).await.done();
    assert!(status.contains(words), "{status}");
}
