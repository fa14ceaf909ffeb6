//! Writing configurations.

use core::time::Duration;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kdc_envelope::kmsv2::ProviderName;
use zeroize::Zeroizing;

use super::{
    ConfigError, EncryptionConfiguration, GroupResource, KmsApi, KmsProvider, Layout, Problem,
    Transformer, entries,
};

/// The YAML of a configuration that stores `resources` through the KMS v2 plugin at `endpoint`, and still reads what was
/// stored plain before.
///
/// # Errors
/// [`ConfigError`] if kube-apiserver would refuse the outcome: no resources, overlapping ones, an endpoint that is no
/// `unix` URL, a timeout of zero.
pub fn render_kms_v2(
    resources: &[GroupResource],
    provider: &ProviderName,
    endpoint: &str,
    timeout: Duration,
) -> Result<String, ConfigError> {
    let mut text = Text::configuration();
    let writers = [
        Transformer::Kms(Arc::new(KmsProvider::v2(provider, endpoint, timeout))),
        Transformer::Identity,
    ];
    entry(&mut text, resources, &writers);
    EncryptionConfiguration::parse(text.0.as_bytes())?;
    // There is no key in it.
    Ok(text.0.to_string())
}

/// A layout cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// It names nothing.
    #[error(
        "a configuration must name a resource; take the flag `--encryption-provider-config` away instead"
    )]
    Plain,
    /// A KMS v2 provider would have to stand in the file twice.
    #[error(
        "kube-apiserver takes the KMS v2 provider `{name}` only once in a file, and these resources need it at different places; give them the same providers, or configure the plugin under a second name"
    )]
    KmsTwice {
        /// Its name.
        name: Box<str>,
    },
    /// kube-apiserver would refuse the file.
    #[error("kube-apiserver would refuse the configuration")]
    Refused(#[from] ConfigError),
    /// kube-apiserver would understand something else.
    #[error("the configuration cannot be written so that kube-apiserver understands it alike")]
    Ambiguous,
}

impl Layout {
    /// The file in its one canonical form: YAML, keys in standard base64, every default spelled out.
    ///
    /// It is read back before it is given out, so it is what kube-apiserver takes and means what it should.
    ///
    /// # Errors
    /// [`RenderError`]: no file means this.
    pub fn render(&self) -> Result<Zeroizing<String>, RenderError> {
        if self.is_plain() {
            return Err(RenderError::Plain);
        }
        let entries = entries::of(self).map_err(|name| RenderError::KmsTwice { name })?;
        let mut text = Text::configuration();
        for each in &entries {
            entry(&mut text, &each.resources, &each.transformers);
        }
        match EncryptionConfiguration::parse(text.0.as_bytes()) {
            Ok(config) if Self::of(&config) == *self => Ok(text.0),
            Ok(_) => Err(RenderError::Ambiguous),
            Err(ConfigError::Field {
                problem:
                    Problem::KmsNameTaken { .. }
                    | Problem::Masked { .. }
                    | Problem::OverlappingResources { .. },
                ..
            }) => Err(kms_twice(self)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a file that masks its own names comes from: a wildcard would have to be cut.
fn kms_twice(layout: &Layout) -> RenderError {
    let kms = layout.transformers().find_map(Transformer::kms_v2);
    kms.map_or(RenderError::Ambiguous, |kms| RenderError::KmsTwice {
        name: kms.name.clone(),
    })
}

/// An entry of `resources`.
fn entry(text: &mut Text, resources: &[GroupResource], transformers: &[Transformer]) {
    text.line(1, "- resources:");
    for resource in resources {
        text.line(3, &format!("- {}", quoted(&resource.to_string())));
    }
    text.line(2, "providers:");
    providers(text, transformers);
}

/// Keys of one provider that follow each other share a list element.
fn providers(text: &mut Text, transformers: &[Transformer]) {
    let mut last = None;
    for transformer in transformers {
        match transformer {
            Transformer::Identity => text.line(3, "- identity: {}"),
            Transformer::Kms(provider) => kms(text, provider),
            Transformer::Local(key) => {
                if last != Some(key.provider()) {
                    text.line(3, &format!("- {}:", key.provider()));
                    text.line(5, "keys:");
                }
                text.line(6, &format!("- name: {}", quoted(key.name().as_str())));
                let secret = Zeroizing::new(BASE64.encode(key.secret().expose()));
                text.field(7, "secret: ", &secret);
            }
        }
        last = transformer.local().map(super::LocalKey::provider);
    }
}

fn kms(text: &mut Text, provider: &KmsProvider) {
    text.line(3, "- kms:");
    text.line(5, &format!("apiVersion: {}", provider.api.as_str()));
    text.line(5, &format!("name: {}", quoted(&provider.name)));
    text.line(5, &format!("endpoint: {}", quoted(&provider.endpoint)));
    text.line(5, &format!("timeout: {}", go_duration(provider.timeout)));
    if let KmsApi::V1 { cache_size } = provider.api {
        text.line(5, &format!("cachesize: {cache_size}"));
    }
}

/// Text that is wiped, also where it had to grow.
struct Text(Zeroizing<String>);

impl Text {
    /// The head of a file, up to its entries.
    fn configuration() -> Self {
        let mut text = Self(Zeroizing::new(String::with_capacity(4096)));
        text.line(0, "apiVersion: apiserver.config.k8s.io/v1");
        text.line(0, "kind: EncryptionConfiguration");
        text.line(0, "resources:");
        text
    }

    fn line(&mut self, depth: usize, line: &str) {
        self.field(depth, line, "");
    }

    fn field(&mut self, depth: usize, name: &str, value: &str) {
        let needed = self.0.len() + 2 * depth + name.len() + value.len() + 1;
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(String::with_capacity(2 * needed));
            larger.push_str(&self.0);
            self.0 = larger;
        }
        for _ in 0..depth {
            self.0.push_str("  ");
        }
        self.0.push_str(name);
        self.0.push_str(value);
        self.0.push('\n');
    }
}

/// Plain where that is safe, else a JSON string, which YAML reads too.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '-' | '/' | ':');
    let starts_plain = text.starts_with(|c: char| c.is_ascii_lowercase());
    let is_word = !matches!(
        text,
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts_plain && is_word && !text.ends_with(':') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            // Some are line breaks to a part of all parsers.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                format!("\\u{:04x}", u32::from(c))
            }
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn go_duration(duration: Duration) -> String {
    match duration.as_nanos() {
        nanos if nanos.is_multiple_of(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
        nanos if nanos.is_multiple_of(1_000_000) => format!("{}ms", nanos / 1_000_000),
        nanos => format!("{nanos}ns"),
    }
}
