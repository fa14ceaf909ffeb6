//! The files that a node is started with.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{ADDRESS, NODE};
use crate::apiserver::kubeconfig_text;
use crate::{Error, pki};

/// Parts of Kubernetes that are clients of kube-apiserver: file name, user and group.
const CLIENTS: [(&str, &str, &str); 4] = [
    ("kubelet", "system:node:node1", "system:nodes"),
    ("kube-proxy", "system:kube-proxy", ""),
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        "",
    ),
    ("kube-scheduler", "system:kube-scheduler", ""),
];

/// How soon kubelet notices changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Within a second or two.
    Short,
    /// As upstream has them: up to a minute.
    Upstream,
}

/// Writes certificates, kubeconfigs and settings into `folder`.
pub(super) fn write(folder: &Path, cgroup: &str, times: Times) -> Result<(), Error> {
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).map_err(Error::file("write", &path))
    };
    file("init.sh", include_str!("init.sh"))?;
    file("containerd.toml", include_str!("containerd.toml"))?;
    file("cni.conflist", include_str!("cni.conflist"))?;
    // JSON is YAML.
    file("kubelet.yaml", &kubelet(cgroup, times).to_string())?;
    write_pki(&folder.join("pki"))
}

fn write_pki(pki: &Path) -> Result<(), Error> {
    let etcd = pki.join("etcd");
    fs::create_dir_all(&etcd).map_err(Error::file("create", &etcd))?;
    let authority = pki::authority()?;
    let names: Vec<String> = [
        ADDRESS,
        NODE,
        "10.96.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .into();
    for server in ["kube-apiserver", "kubelet-server", "etcd-server"] {
        authority.write_party_of(pki, server, None, &names)?;
    }
    authority.write_party_of(pki, "kubelet-client", Some("system:masters"), &[])?;
    // The names that kubeadm gives them.
    authority.write_party(&etcd, "healthcheck-client")?;
    authority.write_service_account(pki)?;

    let mut tokens = format!("{},admin,admin,\"system:masters\"\n", authority.token);
    let url = format!("https://{ADDRESS}:6443");
    for (file, user, group) in CLIENTS {
        let token = pki::random_token()?;
        tokens.push_str(&format!("{token},{user},{user},\"{group}\"\n"));
        let ca = Path::new("/etc/kubernetes/pki/ca.crt");
        let kubeconfig = kubeconfig_text(&url, ca, &token);
        pki::write_private(&pki.join(format!("{file}.conf")), &kubeconfig)?;
    }
    pki::write_private(&pki.join("tokens.csv"), &tokens)
}

fn kubelet(cgroup: &str, times: Times) -> Value {
    let mut settings = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/pki/kubelet-server.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/pki/kubelet-server.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "staticPodPath": "/etc/kubernetes/manifests",
        "cgroupDriver": "cgroupfs",
        // Else kubelets side by side would keep house in the same groups.
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        // Stop rather than write a sysctl of the machine.
        "protectKernelDefaults": true,
        "resolvConf": "/etc/kubernetes/resolv.conf",
        "clusterDomain": "cluster.local",
        "clusterDNS": [ADDRESS],
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    });
    if let (Times::Short, Some(settings)) = (times, settings.as_object_mut()) {
        for (name, value) in [
            ("fileCheckFrequency", "1s"),
            ("syncFrequency", "2s"),
            ("nodeStatusUpdateFrequency", "5s"),
        ] {
            settings.insert(name.to_owned(), json!(value));
        }
    }
    settings
}
