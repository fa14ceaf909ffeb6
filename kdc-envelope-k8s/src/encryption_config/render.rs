//! Writing a configuration for a KMS v2 plugin.

use core::time::Duration;

use kdc_envelope::kmsv2::ProviderName;

use super::{ConfigError, EncryptionConfiguration, GroupResource};

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
    let resources: String = resources
        .iter()
        .map(|resource| format!("      - {}\n", quoted(&resource.to_string())))
        .collect();
    let yaml = format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
{resources}    providers:
      - kms:
          apiVersion: v2
          name: {name}
          endpoint: {endpoint}
          timeout: {timeout}
      - identity: {{}}
",
        name = quoted(provider.as_str()),
        endpoint = quoted(endpoint),
        timeout = go_duration(timeout),
    );
    EncryptionConfiguration::parse(yaml.as_bytes())?;
    Ok(yaml)
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
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
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
