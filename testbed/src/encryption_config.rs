//! EncryptionConfiguration files, as an administrator would write them.

use std::path::Path;

use serde_json::{Value, json};

/// A configuration with one entry: `resources`, written and read by the KMS v2
/// plugin on `socket`, and readable as plaintext too.
#[must_use]
pub fn kms_v2(resources: &[&str], provider: &str, socket: &Path) -> String {
    let kms = json!({"kms": {
        "apiVersion": "v2",
        "name": provider,
        "endpoint": format!("unix://{}", socket.display()),
        "timeout": "3s",
    }});
    with_providers(resources, &[kms, json!({"identity": {}})])
}

/// A configuration with one entry: `resources` under `providers`, of which the
/// first writes. The text is JSON, and so YAML.
#[must_use]
pub fn with_providers(resources: &[&str], providers: &[Value]) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": resources, "providers": providers}],
    })
    .to_string()
}
