//! `backup/cronjob.yaml`: a sealed snapshot of the node's etcd in S3, and back.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use kdc_testbed::{Node, Resource, S3};
use serde_json::{Value, json};

use crate::fixture::{LIMIT, deploy, node};
use crate::openbao::{openbao, set_up};

const S3_NAME: &str = "s3.example.com";

async fn job(node: &Node) -> Value {
    let jobs = Resource::new("batch/v1", "jobs");
    node.client()
        .read(jobs, "kube-system", "now")
        .await
        .unwrap()
}

// The S3 server is in this process, and goes on while `kdc` is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cron_job_seals_a_snapshot_that_opens() {
    let (mut node, programs) = node().await;
    node.image("kdc:0.1.0", &programs.kdc).unwrap();
    let bao = openbao(&mut node).await;
    set_up(&node, &bao, "backup").await;
    let s3 = S3::start_with_tls_as(&[S3_NAME.to_owned()]).await.unwrap();
    s3.create_bucket("backups").unwrap();
    let address = s3.endpoint().strip_prefix("https://").unwrap();
    node.lend(S3_NAME, 443, address.parse().unwrap()).unwrap();
    // The authorities of the node.
    let bundle = node.path("/etc/ssl/certs");
    fs::create_dir_all(&bundle).unwrap();
    fs::copy(node.ca_file(), bundle.join("ca-certificates.crt")).unwrap();
    // As kubeadm has it.
    let ca = node.path("/etc/kubernetes/pki/etcd/ca.crt");
    assert!(ca.exists());
    for object in [
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "etcd-backup-s3", "namespace": "kube-system"},
            "stringData": {
                "AWS_ACCESS_KEY_ID": kdc_testbed::s3::ACCESS_KEY_ID,
                "AWS_SECRET_ACCESS_KEY": kdc_testbed::s3::SECRET_ACCESS_KEY,
                "AWS_ENDPOINT_URL_S3": format!("https://{S3_NAME}"),
            },
        }),
    ] {
        node.apply(&object.to_string()).await.unwrap();
    }
    let sample = deploy("backup/cronjob.yaml");
    node.apply(&sample).await.unwrap();

    // `kubectl create job --from=cronjob/etcd-backup now`
    let cron: Value = serde_saphyr::from_str(sample.split_once("\n---\n").unwrap().1).unwrap();
    let now = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "now", "namespace": "kube-system"},
        "spec": cron["spec"]["jobTemplate"]["spec"],
    });
    node.apply(&now.to_string()).await.unwrap();
    let start = Instant::now();
    loop {
        let job = job(&node).await;
        if job["status"]["succeeded"] == 1 {
            break;
        }
        assert!(start.elapsed() < LIMIT, "{job:#}\n{}", said(&node).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let report = said(&node).await;

    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened.db");
    let token = folder.path().join("token");
    fs::write(&token, bao.root_token()).unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let id = report["snapshot"].as_str().unwrap();
    let open = Command::new(&programs.kdc)
        .args([
            "backup",
            "open",
            "--bucket=s3://backups/etcd",
            "--cluster=prod",
            "--snapshot",
            id,
        ])
        .args([
            "--s3-endpoint",
            s3.endpoint(),
            "--bao-address",
            bao.address(),
        ])
        .arg("--s3-ca-file")
        .arg(s3.ca_file().unwrap())
        .arg("--bao-ca-file")
        .arg(bao.ca_file().unwrap())
        .args([
            "--bao-namespace=acme",
            "--bao-key=etcd-prod",
            "--bao-auth=token",
            "--bao-token-file",
        ])
        .arg(&token)
        .arg("--out")
        .arg(&opened)
        .env("AWS_ACCESS_KEY_ID", kdc_testbed::s3::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", kdc_testbed::s3::SECRET_ACCESS_KEY)
        .output()
        .unwrap();
    assert!(open.status.success(), "{open:?}");
    // The name of a Secret that is in it as a row, and shows that it is this etcd.
    let bytes = fs::read(opened).unwrap();
    let key = b"/registry/secrets/kube-system/etcd-backup-s3";
    assert!(bytes.windows(key.len()).any(|window| window == key));
}

/// What the pods of the Job print.
async fn said(node: &Node) -> String {
    let pods = Resource::new("v1", "pods");
    let pods = node.client().list(pods, "kube-system").await.unwrap();
    let mut said = String::new();
    for pod in pods["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        if name.starts_with("now-") {
            match node.logs("kube-system", name, "kdc").await {
                Ok(log) => said.push_str(&log),
                Err(error) => said.push_str(&format!("{error:?}\n{:#}", pod["status"])),
            }
        }
    }
    said
}
