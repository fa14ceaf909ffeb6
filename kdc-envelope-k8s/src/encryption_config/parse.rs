//! From the tree of a file to a valid configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::{InvalidKey, KeyName, aescbc, aesgcm, secretbox};

use super::document::{Fields, Node};
use super::resource::{check_list, check_mask, check_name};
use super::secret::decode;
use super::{
    ConfigError, ConfiguredKey, EncryptionConfiguration, GroupResource, Problem, Provider,
    ResourceConfiguration, kms,
};

pub(super) fn configuration(root: Node) -> Result<EncryptionConfiguration, ConfigError> {
    let mut fields = root.fields()?;
    check_kind(&mut fields)?;
    let resources = fields.take("resources");
    fields.finish("apiVersion, kind, resources")?;
    let mut kms_names = kms::Names::new();
    let mut earlier = BTreeSet::new();
    let entries = resources
        .elements("entry with `resources` and `providers`")?
        .into_iter()
        .map(|node| entry(node, &mut kms_names, &mut earlier))
        .collect::<Result<_, _>>()?;
    Ok(EncryptionConfiguration { entries })
}

fn check_kind(fields: &mut Fields) -> Result<(), ConfigError> {
    let api_version = fields.take("apiVersion");
    let kind = fields.take("kind");
    match (api_version.text()?, kind.text()?) {
        // The second is what early documentation said, and is still accepted.
        ("apiserver.config.k8s.io/v1", "EncryptionConfiguration")
        | ("v1" | "/v1", "EncryptionConfig") => Ok(()),
        _ => Err(api_version.error(Problem::Kind)),
    }
}

fn entry(
    node: Node,
    kms_names: &mut kms::Names,
    earlier: &mut BTreeSet<GroupResource>,
) -> Result<ResourceConfiguration, ConfigError> {
    let mut fields = node.fields()?;
    let resources = fields.take("resources");
    let providers = fields.take("providers");
    fields.finish("resources, providers")?;
    Ok(ResourceConfiguration {
        resources: names(resources, earlier)?,
        providers: providers
            .elements("provider")?
            .into_iter()
            .map(|node| provider(node, kms_names))
            .collect::<Result<_, _>>()?,
    })
}

fn names(
    node: Node,
    earlier: &mut BTreeSet<GroupResource>,
) -> Result<Vec<GroupResource>, ConfigError> {
    let place = node.place().to_owned();
    let mut names = Vec::new();
    for element in node.elements("resource, such as `secrets`")? {
        let name = check_name(element.text()?).map_err(|problem| element.error(problem))?;
        check_mask(earlier, &name).map_err(|problem| element.error(problem))?;
        names.push(name);
    }
    check_list(&names).map_err(|problem| ConfigError::Field { place, problem })?;
    earlier.extend(names.iter().cloned());
    Ok(names)
}

fn provider(node: Node, kms_names: &mut kms::Names) -> Result<Provider, ConfigError> {
    const NAMES: [&str; 5] = ["aesgcm", "aescbc", "secretbox", "identity", "kms"];
    let mut fields = node.fields()?;
    let mut given = Vec::new();
    for name in NAMES {
        given.extend(fields.take(name).present().map(|node| (name, node)));
    }
    let several = fields.error(Problem::SeveralProviders);
    let none = fields.error(Problem::NoProvider);
    fields.finish("aesgcm, aescbc, secretbox, identity, kms")?;
    let mut given = given.into_iter();
    let (name, node) = given.next().ok_or(none)?;
    if given.next().is_some() {
        return Err(several);
    }
    match name {
        "aesgcm" => keys(node, aesgcm::Key::new).map(Provider::Aesgcm),
        "aescbc" => keys(node, aescbc::Key::new).map(Provider::Aescbc),
        "secretbox" => keys(node, secretbox::Key::new).map(Provider::Secretbox),
        "kms" => kms::parse(node, kms_names).map(Provider::Kms),
        _ => node.fields()?.finish("none").map(|()| Provider::Identity),
    }
}

fn keys<K>(
    node: Node,
    make: impl Fn(KeyName, &SecretBytes) -> Result<K, InvalidKey>,
) -> Result<Vec<ConfiguredKey<K>>, ConfigError> {
    let mut fields = node.fields()?;
    let keys = fields.take("keys");
    fields.finish("keys")?;
    keys.elements("key with `name` and `secret`")?
        .into_iter()
        .map(|node| key(node, &make))
        .collect()
}

fn key<K>(
    node: Node,
    make: impl Fn(KeyName, &SecretBytes) -> Result<K, InvalidKey>,
) -> Result<ConfiguredKey<K>, ConfigError> {
    let mut fields = node.fields()?;
    let name = fields.take("name");
    let secret = fields.take("secret");
    fields.finish("name, secret")?;
    let key_name =
        KeyName::new(name.required_text()?).map_err(|problem| name.error(Problem::Key(problem)))?;
    let bytes =
        decode(secret.required_text()?).map_err(|fault| secret.error(Problem::Base64(fault)))?;
    match make(key_name, &bytes) {
        Ok(cipher) => Ok(ConfiguredKey::new(cipher, Arc::new(bytes))),
        Err(problem) => Err(secret.error(Problem::Key(problem))),
    }
}
