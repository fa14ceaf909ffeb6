//! `backup/cronjob.yaml`: a sealed snapshot of the node's etcd in S3, and back.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use kdc_testbed::programs::Programs;
use kdc_testbed::{Bao, Node, Resource, S3};
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

/// A node with what the sample needs beside itself.
async fn prepared() -> (Node, &'static Programs, Bao, S3) {
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
    (node, programs, bao, s3)
}

/// The ServiceAccount of the sample, and its CronJob.
fn sample() -> [Value; 2] {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&deploy("backup/cronjob.yaml")).unwrap();
    documents.try_into().unwrap()
}

/// Runs the CronJob now, as `kubectl create job --from=cronjob/etcd-backup now` does, and gives its report.
async fn run(node: &Node, sample: &[Value; 2]) -> Value {
    for object in sample {
        node.apply(&object.to_string()).await.unwrap();
    }
    let now = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "now", "namespace": "kube-system"},
        "spec": sample[1]["spec"]["jobTemplate"]["spec"],
    });
    node.apply(&now.to_string()).await.unwrap();
    let start = Instant::now();
    loop {
        let job = job(node).await;
        if job["status"]["succeeded"] == 1 {
            break;
        }
        assert!(start.elapsed() < LIMIT, "{job:#}\n{}", said(node).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    serde_json::from_str(&said(node).await).unwrap()
}

// The S3 server is in this process, and goes on while `kdc` is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cron_job_seals_a_snapshot_that_opens() {
    let (node, programs, bao, s3) = prepared().await;
    let report = run(&node, &sample()).await;

    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened.db");
    let token = folder.path().join("token");
    fs::write(&token, bao.root_token()).unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
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

/// As the head of the sample says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cron_job_runs_in_a_restricted_namespace() {
    let (node, _, _bao, _s3) = prepared().await;
    let [account, mut cron] = sample();
    let read = |path: &str| fs::read_to_string(node.path(path)).unwrap();
    let etcd = "/etc/kubernetes/pki/etcd";
    for object in [
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": "kube-system",
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "etcd-client", "namespace": "kube-system"},
            "stringData": {
                "ca.crt": read(&format!("{etcd}/ca.crt")),
                "healthcheck-client.crt": read(&format!("{etcd}/healthcheck-client.crt")),
                "healthcheck-client.key": read(&format!("{etcd}/healthcheck-client.key")),
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "authorities", "namespace": "kube-system"},
            "data": {"ca-certificates.crt": read("/etc/ssl/certs/ca-certificates.crt")},
        }),
    ] {
        node.apply(&object.to_string()).await.unwrap();
    }
    let spec = &mut cron["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    spec.as_object_mut().unwrap().remove("hostNetwork").unwrap();
    spec["dnsPolicy"] = json!("ClusterFirst");
    spec["securityContext"]["fsGroup"] = json!(65532);
    let container = &mut spec["containers"][0];
    container["args"][2] = json!("--etcd-endpoints=https://10.99.0.1:2379");
    container["securityContext"]["runAsUser"] = json!(65532);
    container["securityContext"]["runAsNonRoot"] = json!(true);
    container["volumeMounts"][1]["subPath"] = json!("ca-certificates.crt");
    let volumes = &mut spec["volumes"];
    volumes[0] = json!({"name": "etcd-certificates", "secret": {"secretName": "etcd-client", "defaultMode": 0o440}});
    volumes[1] = json!({"name": "authorities", "configMap": {"name": "authorities"}});
    let report = run(&node, &[account, cron]).await;
    assert!(report["snapshot"].is_string(), "{report}");
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
