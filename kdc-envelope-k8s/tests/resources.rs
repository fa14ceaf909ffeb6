//! Which providers a resource has, and the file that a KMS v2 plugin needs.

use core::time::Duration;

use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_k8s::encryption_config::{
    ConfigError, EncryptionConfiguration, GroupResource, Provider, render_kms_v2,
};
use proptest::prelude::*;

fn parse(text: &str) -> Result<EncryptionConfiguration, ConfigError> {
    EncryptionConfiguration::parse(text.as_bytes())
}

/// A file with one entry per list of names, all plain.
fn with_names(lists: &[&str]) -> String {
    let entries: Vec<_> = lists
        .iter()
        .map(|names| format!("{{resources: [{names}], providers: [identity: {{}}]}}"))
        .collect();
    format!(
        "--- {{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{}]}}",
        entries.join(", ")
    )
}

#[test]
fn a_resource_has_the_providers_of_its_narrowest_rule() {
    let config = parse(&with_names(&[
        "secrets, deployments.apps",
        "secrets",
        "'*.apps'",
        "'*.*'",
    ]))
    .unwrap();
    let look_up = |text: &str| {
        let found = config.providers_of(&GroupResource::from_text(text));
        let places: Vec<_> = found
            .providers
            .iter()
            .map(|(place, _)| place.entry)
            .collect();
        (found.matched.map(ToString::to_string), places)
    };
    let matched = |rule: &str, entries: &[usize]| (Some(rule.to_owned()), entries.to_vec());
    assert_eq!(look_up("secrets"), matched("secrets", &[0, 1]));
    assert_eq!(look_up("secrets."), matched("secrets", &[0, 1]));
    assert_eq!(
        look_up("deployments.apps"),
        matched("deployments.apps", &[0])
    );
    assert_eq!(look_up("daemonsets.apps"), matched("*.apps", &[2]));
    assert_eq!(look_up("configmaps"), matched("*.*", &[3]));
    assert_eq!(look_up("secrets.example.com"), matched("*.*", &[3]));

    let config = parse(&with_names(&["'*.'"])).unwrap();
    let found = |text: &str| {
        config
            .providers_of(&GroupResource::from_text(text))
            .matched
            .is_some()
    };
    assert!(found("pods"));
    assert!(!found("deployments.apps"));
    assert_eq!(
        config.providers().next().unwrap().0.to_string(),
        "resources[0].providers[0]"
    );
}

#[test]
fn resources_are_written_as_they_are_read() {
    for text in [
        "secrets",
        "deployments.apps",
        "a.b.c",
        "*.",
        "*.apps",
        "*.*",
        "",
    ] {
        assert_eq!(GroupResource::from_text(text).to_string(), text);
    }
    let parsed = GroupResource::from_text("a.b.c");
    assert_eq!((parsed.resource(), parsed.group()), ("a", "b.c"));
}

#[test]
fn renders_what_a_kms_v2_plugin_needs() {
    let resources = [
        GroupResource::new("secrets", ""),
        GroupResource::new("*", "apps"),
    ];
    let name = ProviderName::new("kdc-envelope").unwrap();
    let yaml = render_kms_v2(
        &resources,
        &name,
        "unix:///run/kms/kms.sock",
        Duration::from_secs(3),
    )
    .unwrap();
    assert_eq!(
        yaml,
        r#"apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - secrets
      - "*.apps"
    providers:
      - kms:
          apiVersion: v2
          name: kdc-envelope
          endpoint: unix:///run/kms/kms.sock
          timeout: 3s
      - identity: {}
"#
    );
    let refused = |resources: &[GroupResource], endpoint, timeout| {
        render_kms_v2(resources, &name, endpoint, timeout)
            .unwrap_err()
            .to_string()
    };
    let second = Duration::from_secs(1);
    assert!(refused(&[], "unix:///a", second).starts_with("resources[0].resources: is empty"));
    assert!(
        refused(&resources, "/run/a", second).starts_with("resources[0].providers[0].kms.endpoint")
    );
    assert!(
        refused(&resources, "unix:///a", Duration::ZERO)
            .starts_with("resources[0].providers[0].kms.timeout")
    );
}

proptest! {
    #[test]
    fn what_is_rendered_reads_back(
        resource in "[a-z0-9.-]{0,12}",
        name in "[^:]{1,20}",
        path in "[^%?#]{0,20}",
        micros in 1u64..100_000_000,
    ) {
        let resource = GroupResource::from_text(&resource);
        let name = ProviderName::new(name).unwrap();
        let timeout = Duration::from_micros(micros);
        let endpoint = format!("unix:///{path}");
        if let Ok(yaml) = render_kms_v2(std::slice::from_ref(&resource), &name, &endpoint, timeout) {
            let config = parse(&yaml).unwrap();
            let entry = &config.entries()[0];
            prop_assert_eq!(&entry.resources[..], &[resource][..]);
            let Provider::Kms(kms) = &entry.providers[0] else { panic!("not kms") };
            prop_assert_eq!((&*kms.name, &*kms.endpoint, kms.timeout), (name.as_str(), &*endpoint, timeout));
        } else {
            let has_control = path.chars().any(|c| c.is_ascii_control());
            let is_bad_name = ["events.k8s.io", "extensions"].contains(&resource.group()) || resource.resource() == "apiserveripinfo";
            prop_assert!(has_control || is_bad_name);
        }
    }
}
