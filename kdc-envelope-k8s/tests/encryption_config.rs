//! EncryptionConfiguration files: what is read, and one clear line for everything that is not.

#![expect(clippy::panic, reason = "helpers of tests")]

use kdc_envelope_k8s::encryption_config::{ConfigError, EncryptionConfiguration, KmsApi, Provider};
use proptest::prelude::*;

const KEY_16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const KEY_24: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const KEY_32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn parse(text: &str) -> Result<EncryptionConfiguration, ConfigError> {
    EncryptionConfiguration::parse(text.as_bytes())
}

/// A file with one entry for secrets and this list of providers in flow style.
fn with_providers(providers: &str) -> String {
    format!(
        "--- {{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{{resources: [secrets], providers: [{providers}]}}]}}"
    )
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

fn refused(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn reads_every_provider() {
    let text = format!(
        "
# the form that the documentation shows
kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [events]
  providers:
  - identity: {{}}
- resources:
  - secrets
  - pandas.awesome.bears.example
  providers:
  - kms:
      apiVersion: v2
      name: vault
      endpoint: unix:///run/kms.sock
      timeout: 1m30s
  - kms: {{name: 'old:one', endpoint: 'unix:///run/old.sock', cachesize: -1}}
  - kms: {{apiVersion: v1, name: older, endpoint: 'unix:///@older'}}
  - aesgcm: {{keys: [{{name: a, secret: {KEY_16}}}, {{name: b, secret: {KEY_24}}}]}}
  - aescbc:
      keys:
      - name: 'c:d'
        secret: |
          {KEY_32}
  - secretbox: {{keys: [{{name: e, secret: \"{KEY_32}\"}}]}}
  - identity: {{}}
"
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.entries().len(), 2);
    let providers = &config.entries()[1].providers;
    let kinds: Vec<_> = providers.iter().map(Provider::as_str).collect();
    assert_eq!(
        kinds,
        [
            "kms",
            "kms",
            "kms",
            "aesgcm",
            "aescbc",
            "secretbox",
            "identity"
        ]
    );
    let kms: Vec<_> = providers
        .iter()
        .filter_map(|provider| match provider {
            Provider::Kms(kms) => {
                Some((&*kms.name, kms.api, &*kms.endpoint, kms.timeout.as_secs()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        kms,
        [
            ("vault", KmsApi::V2, "unix:///run/kms.sock", 90),
            (
                "old:one",
                KmsApi::V1 { cache_size: -1 },
                "unix:///run/old.sock",
                3
            ),
            (
                "older",
                KmsApi::V1 { cache_size: 1000 },
                "unix:///@older",
                3
            ),
        ]
    );
    let Provider::Aesgcm(keys) = &providers[3] else {
        panic!("not aesgcm");
    };
    let names: Vec<_> = keys.iter().map(|key| key.name().as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn reads_json_and_the_old_kind() {
    let json = r#"{"kind": "EncryptionConfig", "apiVersion": "v1",
        "resources": [{"resources": ["secrets"], "providers": [{"identity": {}}]}]}"#;
    assert_eq!(parse(json).unwrap().entries().len(), 1);
}

#[test]
fn absent_and_null_are_the_same() {
    let text = with_providers("{identity: {}, kms: null, aesgcm: ~}");
    assert_eq!(
        parse(&text).unwrap().entries()[0].providers[0].as_str(),
        "identity"
    );
    let kms =
        "kms: {apiVersion: null, name: a, endpoint: 'unix:///a', timeout: null, cachesize: null}";
    assert!(parse(&with_providers(kms)).is_ok());
}

#[test]
fn anchors_work_and_do_not_explode() {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: &providers
  - aesgcm: {{keys: [{{name: a, secret: {KEY_16}}}]}}
- resources: [configmaps]
  providers: *providers
"
    );
    assert_eq!(parse(&text).unwrap().providers().count(), 2);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{list}]\n");
    }
    assert!(
        refused(&bomb).contains("too many YAML aliases"),
        "{}",
        refused(&bomb)
    );
    let deep = "[".repeat(100_000);
    assert!(parse(&deep).is_err());
}

#[test]
fn syntax_errors_name_the_line_and_quote_nothing() {
    let broken = format!("kind: EncryptionConfiguration\nresources:\n  - secret: \"{KEY_16}\n");
    let error = refused(&broken);
    assert!(error.starts_with("line "), "{error}");
    assert!(!error.contains(&KEY_16[..8]), "{error}");
    let repeated = "kind: EncryptionConfiguration\nkind: EncryptionConfiguration\n";
    assert_eq!(
        refused(repeated),
        "line 2, column 1: the same field twice; remove one"
    );
    let two = format!("{}\n---\n{}", with_names(&["a"]), with_names(&["b"]));
    assert!(
        refused(&two).contains("more than one YAML document"),
        "{}",
        refused(&two)
    );
    let error = EncryptionConfiguration::parse(b"kind: \xff").unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    let long = vec![b' '; (1 << 20) + 1];
    assert!(matches!(
        EncryptionConfiguration::parse(&long),
        Err(ConfigError::TooLong(_))
    ));
}

#[test]
fn the_kind_must_be_known() {
    const CURE: &str = "no EncryptionConfiguration; write `apiVersion: apiserver.config.k8s.io/v1` and `kind: EncryptionConfiguration`";
    for text in ["", "~", "[]", "secret", "# nothing\n"] {
        assert_eq!(refused(text), format!("the file: {CURE}"), "{text:?}");
    }
    for text in [
        "{}",
        "--- {kind: EncryptionConfiguration}",
        "--- {apiVersion: apiserver.config.k8s.io/v1}",
        "--- {apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfig}",
        "--- {apiVersion: v1, kind: EncryptionConfiguration}",
        "--- {apiVersion: apiserver.config.k8s.io/v2, kind: EncryptionConfiguration}",
        "--- {apiVersion: v1, kind: Secret}",
    ] {
        assert_eq!(refused(text), format!("apiVersion: {CURE}"), "{text}");
    }
}

/// Each line: a list of providers, and what is said about it after `resources[0].providers`.
#[test]
fn bad_providers() {
    let no_duration = "no duration; write a number with a unit, such as `3s` or `500ms`";
    let no_unix = "must be a URL with the scheme `unix`, such as `unix:///run/kms/kms.sock`";
    let known = "unknown field; known here:";
    for (providers, complaint) in [
        ("", ": is empty; give at least one provider".to_owned()),
        ("{}", "[0]: no provider; give one of aesgcm, aescbc, secretbox, identity, kms".into()),
        ("{identity: null}", "[0]: no provider; give one of aesgcm, aescbc, secretbox, identity, kms".into()),
        ("identity", "[0]: must be an object with fields".into()),
        ("{identity: []}", "[0].identity: must be an object with fields".into()),
        ("{identity: {}, kms: {}}", "[0]: more than one provider in a list element; give each an element of its own".into()),
        ("{identity: {}}, {aesgmc: {}}", format!("[1].aesgmc: {known} aesgcm, aescbc, secretbox, identity, kms")),
        ("{identity: {a: 1}}", format!("[0].identity.a: {known} none")),
        ("{aesgcm: {}}", "[0].aesgcm.keys: is empty; give at least one key with `name` and `secret`".into()),
        ("{aesgcm: {keys: []}}", "[0].aesgcm.keys: is empty; give at least one key with `name` and `secret`".into()),
        ("{aesgcm: {keys: {}}}", "[0].aesgcm.keys: must be a list".into()),
        ("{aesgcm: {keys: [], cache: 1}}", format!("[0].aesgcm.cache: {known} keys")),
        ("{aescbc: {keys: [{}]}}", "[0].aescbc.keys[0].name: is required".into()),
        ("{aescbc: {keys: [{name: ''}]}}", "[0].aescbc.keys[0].name: is required".into()),
        ("{aescbc: {keys: [{name: 1}]}}", "[0].aescbc.keys[0].name: must be text; put it in quotes".into()),
        ("{aescbc: {keys: [{name: a}]}}", "[0].aescbc.keys[0].secret: is required".into()),
        ("{aescbc: {keys: [{name: a, secret: ''}]}}", "[0].aescbc.keys[0].secret: is required".into()),
        ("{aescbc: {keys: [{name: a, value: b}]}}", format!("[0].aescbc.keys[0].value: {known} name, secret")),
        ("{aescbc: {keys: [{name: a, secret: [x]}]}}", "[0].aescbc.keys[0].secret: must be text".into()),
        ("{aescbc: {keys: [{name: a, secret: AAAA}]}}", "[0].aescbc.keys[0].secret: the key has 3 bytes; AES takes 16, 24 or 32".into()),
        ("{secretbox: {keys: [{name: a, secret: AAAA}]}}", "[0].secretbox.keys[0].secret: the key has 3 bytes; secretbox takes 32".into()),
        ("{kms: {apiVersion: v2}}", "[0].kms.name: is required".into()),
        ("{kms: {apiVersion: v3, name: a}}", "[0].kms.apiVersion: unknown KMS API version; write `apiVersion: v2`".into()),
        ("{kms: {apiVersion: v2, name: 'a:b'}}", "[0].kms.name: the name of a KMS v2 provider must not contain `:`".into()),
        ("{kms: {name: a}}", "[0].kms.endpoint: is required".into()),
        ("{kms: {name: a, endpoint: /run/a}}", format!("[0].kms.endpoint: {no_unix}")),
        ("{kms: {name: a, endpoint: 'http://a'}}", format!("[0].kms.endpoint: {no_unix}")),
        ("{kms: {name: a, endpoint: \"unix:///a\\n\"}}", format!("[0].kms.endpoint: {no_unix}")),
        ("{kms: {name: a, endpoint: 'unix:///%zz'}}", format!("[0].kms.endpoint: {no_unix}")),
        ("{kms: {name: a, endpoint: 'unix:///a', timeout: 3}}", "[0].kms.timeout: must be text; put it in quotes".into()),
        ("{kms: {name: a, endpoint: 'unix:///a', timeout: '3'}}", format!("[0].kms.timeout: {no_duration}")),
        ("{kms: {name: a, endpoint: 'unix:///a', timeout: 3 s}}", format!("[0].kms.timeout: {no_duration}")),
        ("{kms: {name: a, endpoint: 'unix:///a', timeout: 0s}}", "[0].kms.timeout: must be more than zero".into()),
        ("{kms: {name: a, endpoint: 'unix:///a', timeout: -3s}}", "[0].kms.timeout: must be more than zero".into()),
        ("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 10}}", "[0].kms.cachesize: not supported by KMS v2; remove it".into()),
        ("{kms: {name: a, endpoint: 'unix:///a', cachesize: 0}}", "[0].kms.cachesize: must be positive, or negative to turn the cache off".into()),
        ("{kms: {name: a, endpoint: 'unix:///a', cachesize: 3000000000}}", "[0].kms.cachesize: must be a whole number of 32 bits".into()),
        ("{kms: {name: a, endpoint: 'unix:///a', cachesize: '1'}}", "[0].kms.cachesize: must be a whole number".into()),
        ("{kms: {name: a, endpoint: 'unix:///a', cacheSize: 1}}", format!("[0].kms.cacheSize: {known} apiVersion, name, endpoint, timeout, cachesize")),
        (
            "{kms: {name: a, endpoint: 'unix:///a'}}, {kms: {apiVersion: v2, name: a, endpoint: 'unix:///b'}}",
            "[1].kms.name: the name of a KMS v2 provider must be unique; resources[0].providers[0].kms has it too".into(),
        ),
    ] {
        let error = refused(&with_providers(providers));
        assert_eq!(error, format!("resources[0].providers{complaint}"), "{providers}");
    }
}

#[test]
fn bad_entries() {
    for (resources, complaint) in [
        (
            "[]",
            "resources: is empty; give at least one entry with `resources` and `providers`",
        ),
        (
            "null",
            "resources: is empty; give at least one entry with `resources` and `providers`",
        ),
        ("{}", "resources: must be a list"),
        ("[secrets]", "resources[0]: must be an object with fields"),
        (
            "[{resources: [secrets]}]",
            "resources[0].providers: is empty; give at least one provider",
        ),
        (
            "[{providers: [identity: {}]}]",
            "resources[0].resources: is empty; give at least one resource, such as `secrets`",
        ),
        (
            "[{resources: secrets}]",
            "resources[0].resources: must be a list",
        ),
        (
            "[{resources: [1]}]",
            "resources[0].resources[0]: must be text; put it in quotes",
        ),
        (
            "[{resources: [a], provider: []}]",
            "resources[0].provider: unknown field; known here: resources, providers",
        ),
    ] {
        let text = format!("apiVersion: v1\nkind: EncryptionConfig\nresources: {resources}\n");
        assert_eq!(refused(&text), complaint, "{resources}");
    }
    let extra = with_names(&["a"]).replace("kind:", "metadata: {}, kind:");
    assert_eq!(
        refused(&extra),
        "metadata: unknown field; known here: apiVersion, kind, resources"
    );
}

#[test]
fn bad_resource_names() {
    for (lists, complaint) in [
        (
            &["Secrets"][..],
            "[0].resources[0]: has capital letters; write the plural resource name in lower case",
        ),
        (
            &["'*'"],
            "[0].resources[0]: `*` is ambiguous; write `*.` for the core group or `*.*` for everything",
        ),
        (
            &["a, serviceipallocations"],
            "[0].resources[1]: has no REST API and cannot be encrypted; remove it",
        ),
        (
            &["apiserveripinfo"],
            "[0].resources[0]: has no REST API and cannot be encrypted; remove it",
        ),
        (
            &["servicenodeportallocations"],
            "[0].resources[0]: has no REST API and cannot be encrypted; remove it",
        ),
        (
            &["events.events.k8s.io"],
            "[0].resources[0]: events are stored in the core group; write `events`",
        ),
        (
            &["'*.events.k8s.io'"],
            "[0].resources[0]: events are stored in the core group; write `events`",
        ),
        (
            &["'*.extensions'"],
            "[0].resources[0]: the group `extensions` was removed from Kubernetes; name the group that has the resource now",
        ),
        (
            &["'secrets.*'"],
            "[0].resources[0]: a resource cannot be named across groups; name each `resource.group`",
        ),
        (
            &["secrets, secrets"],
            "[0].resources: `secrets` is listed twice; remove one",
        ),
        (
            &["secrets, secrets."],
            "[0].resources: `secrets` is listed twice; remove one",
        ),
        (
            &["'*.*', '*.*'"],
            "[0].resources: `*.*` is listed twice; remove one",
        ),
        (
            &["secrets, '*.'"],
            "[0].resources: `*.` includes `secrets` in the same list; remove one",
        ),
        (
            &["'*.apps', deployments.apps"],
            "[0].resources: `*.apps` includes `deployments.apps` in the same list; remove one",
        ),
        (
            &["'*.apps', '*.*'"],
            "[0].resources: `*.*` includes `*.apps` in the same list; remove one",
        ),
        (
            &["'*.'", "secrets"],
            "[1].resources[0]: masked by the earlier `*.`; move this entry before it",
        ),
        (
            &["'*.apps'", "'*.apps'"],
            "[1].resources[0]: masked by the earlier `*.apps`; move this entry before it",
        ),
        (
            &["'*.*'", "secrets"],
            "[1].resources[0]: masked by the earlier `*.*`; move this entry before it",
        ),
        (
            &["'*.*'", "'*.apps'"],
            "[1].resources[0]: masked by the earlier `*.*`; move this entry before it",
        ),
    ] {
        let error = refused(&with_names(lists));
        assert_eq!(error, format!("resources{complaint}"), "{lists:?}");
    }
    for lists in [
        &["secrets", "secrets"][..],
        &["secrets", "'*.'"],
        &["secrets, deployments.apps", "'*.apps'", "'*.*'"],
        &["'*.', '*.apps'"],
        &["a, a.b, a.b.c"],
        &["b.b.events.k8s.io"],
    ] {
        assert!(parse(&with_names(lists)).is_ok(), "{lists:?}");
    }
}

#[test]
fn base64_is_that_of_go() {
    let config = |secret: &str| {
        with_providers(&format!(
            "{{aesgcm: {{keys: [{{name: a, secret: \"{secret}\"}}]}}}}"
        ))
    };
    for accepted in [
        KEY_16.to_owned(),
        "MDEyMzQ1Njc4\\nOWFiY2RlZg==\\r\\n".to_owned(),
        // Bits after the last byte, which Go does not look at.
        "MDEyMzQ1Njc4OWFiY2RlZh==".to_owned(),
        "++++////++++////++++////++++////".to_owned(),
    ] {
        assert!(parse(&config(&accepted)).is_ok(), "{accepted}");
    }
    for (bad, fault) in [
        (
            &KEY_16[..22],
            "it has 22 characters, and its end was cut off",
        ),
        (&KEY_16[..23], "it has 23 characters"),
        ("MDEyMzQ1Njc4OWFiY2RlZg===", "it has 25 characters"),
        ("MDEyMzQ1Njc4 OWFiY2RlZg==", "character 13 is a space"),
        (" MDEyMzQ1Njc4OWFiY2RlZg==", "character 1 is a space"),
        ("----____----____----____", "character 1 is `-`"),
        ("<the key in base64>", "it looks like a placeholder"),
        ("=", "it has 1 characters"),
        ("\u{e9}", "character 1 is U+00E9"),
    ] {
        let error = refused(&config(bad));
        let place = "resources[0].providers[0].aesgcm.keys[0].secret: not base64: ";
        assert!(error.starts_with(place), "{error}");
        assert!(error.contains(fault), "{error}");
        // A new key could not read what the old one wrote.
        assert!(!error.contains("encode"), "{error}");
    }
}

/// Wherever a key ends up in a file, by mistake too, no error and no `Debug` shows it or its bytes.
#[test]
fn nothing_shows_a_key() {
    let raw = "0123456789abcdef";
    let place = |text: &str| text.replace("KEY", KEY_32);
    for file in [
        with_providers("{aesgcm: {keys: [{name: a, secret: KEY}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: 'KEY='}]}}"),
        with_providers("{aesgcm: {keys: KEY}}"),
        with_providers("{aesgcm: KEY}"),
        with_providers("{aesgcm: {keys: [KEY]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: {KEY: 1}}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, KEY: 1}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: !bad KEY}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: !!int KEY}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: !!binary KEY}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: *KEY}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: \"KEY}]}}"),
        with_providers("{aesgcm: {keys: [{name: a, secret: KEY, KEY: 2, KEY: 3}]}}"),
        with_providers("{kms: {name: a, endpoint: KEY}}"),
        with_providers("{kms: {name: a, endpoint: 'unix:///a', timeout: KEY}}"),
        with_providers("{kms: {name: a, apiVersion: KEY}}"),
        with_names(&["KEY"]),
        "KEY".to_owned(),
        "KEY: KEY".to_owned(),
        "{apiVersion: KEY, kind: KEY}".to_owned(),
        "%KEY\n---\nKEY".to_owned(),
    ] {
        let shown = match parse(&place(&file)) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        for secret in [
            &KEY_32[..10],
            &KEY_32[22..32],
            &raw[..8],
            "48, 49, 50, 51",
            "303132",
        ] {
            assert!(!shown.contains(secret), "{file}: {shown}");
        }
        assert_eq!(shown.lines().count(), 1, "{shown}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[ \\n\\t{}\\[\\]:,&*!|>'\"%@`a-z0-9~#-]{0,80}") {
        let _ = parse(&text);
        let _ = parse(&with_providers(&text));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = EncryptionConfiguration::parse(&bytes);
    }
}
