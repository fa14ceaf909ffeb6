//! What a control plane gets so that its API servers can encrypt: the plugin beside each of them, and what both share.

use serde_json::{Value, json};

use super::{Attachment, Flag};

/// The socket of the plugin, in the pods of API servers.
pub const SOCKET: &str = "/run/kms/plugin/kms.sock";
/// The data of the Secret in which API servers find their configuration.
pub const CONFIG_FILE: &str = "config.yaml";
/// The data of the same Secret in which plugins find the authority of OpenBao's certificate.
pub const CA_FILE: &str = "openbao-ca.crt";

const SOCKET_FOLDER: &str = "/run/kms/plugin";
const SOCKET_VOLUME: &str = "kdc-kms-socket";
const SOCKET_MOUNT: &str = "/run/kms";
const CONFIG_VOLUME: &str = "kdc-encryption-config";
const CONFIG_MOUNT: &str = "/etc/kubernetes/encryption";
const TOKEN_VOLUME: &str = "kdc-openbao-token";
const TOKEN_MOUNT: &str = "/var/run/secrets/tokens";
const CA_VOLUME: &str = "kdc-openbao-ca";
const CA_MOUNT: &str = "/etc/openbao";
/// How long a token lives, in seconds. kubelet replaces it after 80 % of that.
const TOKEN_LIFETIME: u32 = 3600;
/// Of the probes of kube-apiserver, every 10 s: its readiness includes the plugin's, and an outage of OpenBao must neither take a
/// whole control plane out of its Service nor keep a new API server from starting.
const FAILURE_THRESHOLD: u64 = 60;
/// How long an API server goes on to accept connections after it was told to end, so that a rollout refuses none.
const SHUTDOWN_DELAY: &str = "8s";

/// The plugin of one cluster.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Sidecar<'s> {
    /// Name of the cluster, to which wrapped keys are bound.
    pub cluster: &'s str,
    /// The ServiceAccount by which it logs in.
    pub service_account: &'s str,
    /// The Secret with [`CONFIG_FILE`] and [`CA_FILE`].
    pub config_secret: &'s str,
    /// Image of kms-plugin.
    pub image: &'s str,
    /// An image with a shell, which makes the folder of the socket. That of kms-plugin has none.
    pub init_image: &'s str,
    /// Addresses of OpenBao, separated by commas.
    pub bao_address: &'s str,
    /// The namespace of the organization; empty for none.
    pub bao_namespace: &'s str,
    /// Mount of the Transit engine.
    pub bao_mount: &'s str,
    /// Name of the Transit key.
    pub bao_key: &'s str,
    /// Mount of the Kubernetes auth method.
    pub auth_mount: &'s str,
    /// The role of the login.
    pub role: &'s str,
    /// Whom the token is for.
    pub audience: &'s str,
    /// Whether the Secret has [`CA_FILE`].
    pub has_authority: bool,
    /// Further flags of the plugin.
    pub flags: &'s [String],
}

impl Sidecar<'_> {
    /// Everything that is added to the control plane.
    #[must_use]
    pub fn attachment(&self) -> Attachment {
        let config = json!({"name": CONFIG_VOLUME, "mountPath": CONFIG_MOUNT, "readOnly": true});
        Attachment {
            init_containers: vec![self.folder(), self.plugin()],
            volumes: self.volumes(),
            mounts: vec![socket_mount(), config],
            flags: flags(),
            service_account: self.service_account.to_owned(),
            failure_threshold: FAILURE_THRESHOLD,
        }
    }

    /// A memory volume is writable by every user until a folder in it has an owner, and the plugin refuses such a folder.
    fn folder(&self) -> Value {
        json!({
            "name": "kms-socket-folder",
            "image": self.init_image,
            "command": ["sh", "-c", format!("mkdir -m 0750 -p {SOCKET_FOLDER}")],
            "securityContext": restricted(),
            "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "32Mi"}},
            "volumeMounts": [socket_mount()],
        })
    }

    fn plugin(&self) -> Value {
        let health = |failures: u32, period: u32| {
            json!({
                "httpGet": {"path": "/livez", "port": "kms-health", "scheme": "HTTP"},
                "periodSeconds": period,
                "failureThreshold": failures,
            })
        };
        json!({
            "name": "kms-plugin",
            "image": self.image,
            "restartPolicy": "Always",
            "args": self.arguments(),
            "securityContext": restricted(),
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "ports": [{"name": "kms-health", "containerPort": 8082, "protocol": "TCP"}],
            "startupProbe": health(60, 1),
            "livenessProbe": health(3, 10),
            "volumeMounts": self.mounts(),
        })
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--socket={SOCKET}"),
            format!("--cluster={}", self.cluster),
            format!("--bao-address={}", self.bao_address),
            format!("--bao-mount={}", self.bao_mount),
            format!("--bao-key={}", self.bao_key),
            "--bao-auth=kubernetes".to_owned(),
            format!("--bao-auth-mount={}", self.auth_mount),
            format!("--bao-role={}", self.role),
            format!("--bao-jwt-file={TOKEN_MOUNT}/openbao"),
            "--http-address=0.0.0.0:8082".to_owned(),
        ];
        if !self.bao_namespace.is_empty() {
            arguments.push(format!("--bao-namespace={}", self.bao_namespace));
        }
        if self.has_authority {
            arguments.push(format!("--bao-ca-file={CA_MOUNT}/{CA_FILE}"));
        }
        arguments.extend_from_slice(self.flags);
        arguments
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![
            socket_mount(),
            json!({"name": TOKEN_VOLUME, "mountPath": TOKEN_MOUNT, "readOnly": true}),
        ];
        if self.has_authority {
            mounts.push(json!({"name": CA_VOLUME, "mountPath": CA_MOUNT, "readOnly": true}));
        }
        mounts
    }

    fn volumes(&self) -> Vec<Value> {
        let of_secret = |name: &str, file: &str, mode: u32| {
            let secret = json!({
                "secretName": self.config_secret,
                "defaultMode": mode,
                "items": [{"key": file, "path": file}],
            });
            json!({"name": name, "secret": secret})
        };
        let token = json!({
            "audience": self.audience,
            "expirationSeconds": TOKEN_LIFETIME,
            "path": "openbao",
        });
        let mut volumes = vec![
            json!({"name": SOCKET_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
            of_secret(CONFIG_VOLUME, CONFIG_FILE, 0o440),
            json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}),
        ];
        if self.has_authority {
            volumes.push(of_secret(CA_VOLUME, CA_FILE, 0o444));
        }
        volumes
    }
}

fn flags() -> Vec<Flag> {
    let flag = |text: String, is_optional| Flag { text, is_optional };
    vec![
        flag(
            format!("--encryption-provider-config={CONFIG_MOUNT}/{CONFIG_FILE}"),
            false,
        ),
        flag(
            "--encryption-provider-config-automatic-reload=true".to_owned(),
            false,
        ),
        flag(format!("--shutdown-delay-duration={SHUTDOWN_DELAY}"), true),
    ]
}

fn socket_mount() -> Value {
    json!({"name": SOCKET_VOLUME, "mountPath": SOCKET_MOUNT})
}

/// kube-apiserver keeps the user that it has; these containers need no right at all.
fn restricted() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}
