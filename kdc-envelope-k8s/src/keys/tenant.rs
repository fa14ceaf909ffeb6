//! Whose key a KMSKey is, and what it is called in OpenBao.
//!
//! A namespace of the cluster belongs to a project of an organization. Its labels say to which, or its name does.

use core::fmt;
use std::collections::BTreeMap;

/// The label of a namespace that names the organization, unless another one is configured.
pub const ORGANIZATION_LABEL: &str = "kube-dc.com/organization";
/// The label of a namespace that names the project, unless another one is configured.
pub const PROJECT_LABEL: &str = "kube-dc.com/project";

/// How organization and project are read from a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Tenancy {
    /// The label that names the organization.
    pub organization_label: String,
    /// The label that names the project.
    pub project_label: String,
    /// A namespace without both labels is split at the first of these: `acme-shop-eu` into `acme` and `shop-eu`. Without it, the labels
    /// are required.
    pub separator: Option<char>,
}

impl Default for Tenancy {
    fn default() -> Self {
        Self {
            organization_label: ORGANIZATION_LABEL.to_owned(),
            project_label: PROJECT_LABEL.to_owned(),
            separator: Some('-'),
        }
    }
}

/// A project and its organization.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Tenant {
    /// The organization, which is also the name of its namespace in OpenBao.
    pub organization: Box<str>,
    /// The project.
    pub project: Box<str>,
}

/// A namespace that cannot be assigned to a project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// One label without the other.
    #[error("namespace `{namespace}` has the label {given} and not {missing}; set both, or none")]
    OneLabel {
        /// The namespace.
        namespace: Box<str>,
        /// The label that it has.
        given: Box<str>,
        /// The label that it lacks.
        missing: Box<str>,
    },
    /// No labels, and a name that tells nothing.
    #[error(
        "namespace `{namespace}` cannot be assigned to a project; set its labels {organization} and {project}"
    )]
    Unassigned {
        /// The namespace.
        namespace: Box<str>,
        /// The label of the organization.
        organization: Box<str>,
        /// The label of the project.
        project: Box<str>,
    },
    /// A label with a value that is no name in OpenBao.
    #[error(
        "label {label} of namespace `{namespace}` is `{value}`; set a value of letters, digits, `-`, `_` and `.`, which begins and ends \
         with a letter or digit"
    )]
    Value {
        /// The namespace.
        namespace: Box<str>,
        /// The label.
        label: Box<str>,
        /// Its value.
        value: Box<str>,
    },
}

impl Tenancy {
    /// The project that the namespace of this name, with these labels, belongs to. Labels go before the name.
    ///
    /// # Errors
    /// [`TenantError`]
    pub fn tenant(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Tenant, TenantError> {
        let (organization, project) = (&*self.organization_label, &*self.project_label);
        let given = |label: &str| labels.get(label).map(String::as_str);
        let one_label = |given: &str, missing: &str| TenantError::OneLabel {
            namespace: namespace.into(),
            given: given.into(),
            missing: missing.into(),
        };
        match (given(organization), given(project)) {
            (Some(of_organization), Some(of_project)) => Ok(Tenant {
                organization: checked(namespace, organization, of_organization)?,
                project: checked(namespace, project, of_project)?,
            }),
            (Some(_), None) => Err(one_label(organization, project)),
            (None, Some(_)) => Err(one_label(project, organization)),
            (None, None) => self.split(namespace),
        }
    }

    fn split(&self, namespace: &str) -> Result<Tenant, TenantError> {
        let parts = self.separator.and_then(|at| namespace.split_once(at));
        let parts = parts.filter(|(before, after)| is_name(before) && is_name(after));
        let (organization, project) = parts.ok_or_else(|| TenantError::Unassigned {
            namespace: namespace.into(),
            organization: self.organization_label.as_str().into(),
            project: self.project_label.as_str().into(),
        })?;
        Ok(Tenant {
            organization: organization.into(),
            project: project.into(),
        })
    }
}

fn checked(namespace: &str, label: &str, value: &str) -> Result<Box<str>, TenantError> {
    if is_name(value) {
        return Ok(value.into());
    }
    Err(TenantError::Value {
        namespace: namespace.into(),
        label: label.into(),
        value: value.into(),
    })
}

/// Whether a part of the name of a namespace, a key or a role in OpenBao can be called so.
fn is_name(text: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_end(text.bytes().next())
        && is_end(text.bytes().next_back())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Where a key is in OpenBao.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct KeyPlace {
    /// The namespace: that of the organization.
    pub namespace: Box<str>,
    /// The mount of its Transit engine.
    pub mount: Box<str>,
    /// The name of the key.
    pub name: Box<str>,
}

impl KeyPlace {
    /// The key `name` of the engine at `mount` in a namespace.
    #[must_use]
    pub fn new(namespace: &str, mount: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            mount: mount.into(),
            name: name.into(),
        }
    }
}

/// What `status.keyId` says, such as `acme/transit/keys/acme-docs-prod-etcd`.
impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            mount,
            name,
        } = self;
        write!(f, "{namespace}/{mount}/keys/{name}")
    }
}

/// How keys are called in OpenBao: a text with `{organization}`, `{project}`, `{namespace}` and `{key}` in it.
///
/// ```
/// use kdc_envelope_k8s::keys::{KeyNames, Tenancy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenant = Tenancy::default().tenant("acme-docs", &Default::default())?;
/// let name = KeyNames::default().name(&tenant, "acme-docs", "prod-etcd");
/// assert_eq!(name.as_deref(), Ok("acme-docs-prod-etcd"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames(Box<str>);

/// A name or a template of names that OpenBao or the rules of the tenants do not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyNameError {
    /// The template has something else in braces.
    #[error(
        "`{0}` is no template of key names; {{organization}}, {{project}}, {{namespace}} and {{key}} are replaced, and all else is letters, \
         digits, `-`, `_` and `.`"
    )]
    Template(Box<str>),
    /// Keys of different projects, or of one project, would share a name.
    #[error(
        "the template of key names `{0}` gives different keys one name; it needs {{key}}, and {{project}} or {{namespace}}"
    )]
    Ambiguous(Box<str>),
    /// More than 255 bytes.
    #[error(
        "the key would be called `{0}` in OpenBao, which is longer than 255 characters; choose a shorter name"
    )]
    TooLong(Box<str>),
}

/// The longest name of a key that OpenBao takes from us, in bytes.
const MAX_NAME_LEN: usize = 255;
const PLACEHOLDERS: [&str; 4] = ["{organization}", "{project}", "{namespace}", "{key}"];

impl Default for KeyNames {
    fn default() -> Self {
        Self("{organization}-{project}-{key}".into())
    }
}

impl core::str::FromStr for KeyNames {
    type Err = KeyNameError;

    fn from_str(template: &str) -> Result<Self, KeyNameError> {
        let sample = PLACEHOLDERS
            .iter()
            .fold(template.to_owned(), |text, placeholder| {
                text.replace(placeholder, "x")
            });
        if !is_name(&sample) {
            return Err(KeyNameError::Template(template.into()));
        }
        let has = |placeholder: &str| template.contains(placeholder);
        if !has("{key}") || !(has("{project}") || has("{namespace}")) {
            return Err(KeyNameError::Ambiguous(template.into()));
        }
        Ok(Self(template.into()))
    }
}

impl KeyNames {
    /// What the KMSKey `key` in `namespace` of the cluster is called in OpenBao.
    ///
    /// # Errors
    /// [`KeyNameError::TooLong`]
    pub fn name(
        &self,
        tenant: &Tenant,
        namespace: &str,
        key: &str,
    ) -> Result<String, KeyNameError> {
        // Names have no braces, so that nothing is replaced twice.
        let name = self
            .0
            .replace("{organization}", &tenant.organization)
            .replace("{project}", &tenant.project)
            .replace("{namespace}", namespace)
            .replace("{key}", key);
        match name.len() {
            0..=MAX_NAME_LEN => Ok(name),
            _ => Err(KeyNameError::TooLong(name.into())),
        }
    }
}

impl fmt::Display for KeyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn tenant(organization: &str, project: &str) -> Tenant {
        Tenant {
            organization: organization.into(),
            project: project.into(),
        }
    }

    #[test]
    fn organization_and_project_come_from_the_labels_of_the_namespace() {
        let both = labels(&[(ORGANIZATION_LABEL, "acme"), (PROJECT_LABEL, "shop")]);
        let found = Tenancy::default().tenant("a-b", &both);
        assert_eq!(found, Ok(tenant("acme", "shop")));
    }

    #[test]
    fn without_labels_they_come_from_the_configured_split_of_its_name() {
        let mut tenancy = Tenancy::default();
        let none = BTreeMap::new();
        assert_eq!(
            tenancy.tenant("acme-shop-eu", &none),
            Ok(tenant("acme", "shop-eu"))
        );
        for namespace in ["acme", "acme-", "-shop", "acme--shop"] {
            let refused = tenancy.tenant(namespace, &none);
            assert!(
                matches!(refused, Err(TenantError::Unassigned { .. })),
                "{namespace}"
            );
        }
        tenancy.separator = None;
        assert!(tenancy.tenant("acme-shop", &none).is_err());
    }

    #[test]
    fn one_label_alone_or_a_value_that_is_no_name_is_refused() {
        let tenancy = Tenancy::default();
        let refused = tenancy.tenant("a-b", &labels(&[(PROJECT_LABEL, "shop")]));
        assert!(matches!(refused, Err(TenantError::OneLabel { .. })));
        let odd = labels(&[(ORGANIZATION_LABEL, ""), (PROJECT_LABEL, "shop")]);
        assert!(matches!(
            tenancy.tenant("a-b", &odd),
            Err(TenantError::Value { .. })
        ));
    }

    #[test]
    fn the_name_of_a_key_follows_the_template() {
        let shop = tenant("acme", "shop");
        let names: KeyNames = "{namespace}.{project}-{key}".parse().unwrap();
        assert_eq!(
            names.name(&shop, "acme-shop", "k").unwrap(),
            "acme-shop.shop-k"
        );
        for (template, is_ambiguous) in [
            ("{key}", true),
            ("{organization}-{project}", true),
            ("{organization}-{key}", true),
            ("{cluster}-{key}", false),
            ("a/{project}{key}", false),
            ("", false),
        ] {
            let refused = template.parse::<KeyNames>().unwrap_err();
            let found = matches!(refused, KeyNameError::Ambiguous(_));
            assert_eq!(found, is_ambiguous, "{template}");
        }
        let long = KeyNames::default().name(&shop, "acme-shop", &"k".repeat(253));
        assert!(matches!(long, Err(KeyNameError::TooLong(_))));
    }
}
