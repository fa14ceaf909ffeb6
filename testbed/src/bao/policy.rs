//! The policies of `deploy/openbao`, so that tests and benches run under the policies that the documentation tells operators to write.

const KMS_PLUGIN: &str = include_str!("../../../deploy/openbao/policy.hcl");
/// The key that the file names.
const EXAMPLE_KEY: &str = "acme-shop-prod-etcd";

/// What `kms-plugin` may do with a key of the mount `transit`, and nothing more.
#[must_use]
pub fn kms_plugin_policy(key: &str) -> String {
    KMS_PLUGIN.replace(EXAMPLE_KEY, key)
}
