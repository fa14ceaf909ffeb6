//! EncryptionConfiguration files: taken or refused alike, and values opened in the same order with the same staleness.

use kdc_envelope_k8s::values::Opening;
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, Layout, ValueOpener};
use kdc_testbed::Random;
use kdc_testbed::oracle::Provider;

use crate::oracle;

const KEY_16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const KEY_32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn file(entries: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: {entries}\n"
    )
}

fn with_provider(provider: &str) -> String {
    file(&format!(
        "[{{resources: [secrets], providers: [{provider}]}}]"
    ))
}

fn with_key(provider: &str, key: &str) -> String {
    with_provider(&format!("{{{provider}: {{keys: [{key}]}}}}"))
}

fn accepts(text: &str) -> bool {
    EncryptionConfiguration::parse(text.as_bytes()).is_ok()
}

#[test]
fn files_are_taken_or_refused_alike() {
    let mut oracle = oracle();
    let mut files = vec![
        with_provider("{identity: {}}"),
        with_provider("{identity: {}, kms: null}"),
        with_provider("{identity: null}"),
        with_provider("{identity: {a: 1}}"),
        with_provider("{identity: []}"),
        with_provider("{}"),
        with_provider(""),
        with_provider("{identity: {}}, {identity: {}}"),
        with_provider("{unknown: {}}"),
        with_provider("{identity: {}, identity: {}}"),
        with_provider("{Identity: {}}"),
        with_provider(&format!("{{identity: {{}}, aesgcm: {{keys: [{{name: a, secret: {KEY_16}}}]}}}}")),
        with_provider("{aesgcm: {}}"),
        with_provider("{aesgcm: {keys: null}}"),
        with_provider("{aesgcm: {keys: [null]}}"),
        with_provider("{aesgcm: null, identity: {}}"),
        file("null"),
        file("[]"),
        file("{}"),
        file("[null]"),
        file("[{resources: null, providers: [identity: {}]}]"),
        file("[{resources: [], providers: [identity: {}]}]"),
        file("[{resources: [1], providers: [identity: {}]}]"),
        file("[{resources: [''], providers: [identity: {}]}]"),
        file("[{resources: [null], providers: [identity: {}]}]"),
        file("[{resources: secrets, providers: [identity: {}]}]"),
        file("[{resources: [secrets], providers: null}]"),
        file("[{resources: [secrets], providers: [identity: {}], extra: 1}]"),
        with_provider("{identity: {}}") + "extra: 1\n",
        with_provider("{identity: {}}") + "kind: EncryptionConfiguration\n",
        "apiVersion: v1\nkind: EncryptionConfig\nresources: [{resources: [a], providers: [identity: {}]}]\n".into(),
        "apiVersion: v1\nkind: EncryptionConfiguration\nresources: [{resources: [a], providers: [identity: {}]}]\n".into(),
        "kind: EncryptionConfiguration\nresources: [{resources: [a], providers: [identity: {}]}]\n".into(),
        r#"{"apiVersion": "v1", "kind": "EncryptionConfig", "resources": [{"resources": ["a"], "providers": [{"identity": {}}]}]}"#.into(),
        "[]".into(),
        "secret".into(),
        "# nothing\n".into(),
        format!("apiVersion: v1\nkind: EncryptionConfig\nresources:\n- resources: [a]\n  providers: &p\n  - aesgcm: {{keys: [{{name: a, secret: {KEY_16}}}]}}\n- resources: [b]\n  providers: *p\n"),
    ];
    for provider in ["aesgcm", "aescbc", "secretbox"] {
        for secret in [
            KEY_16,
            KEY_32,
            "''",
            "null",
            "1",
            "~",
            "AAAA",
            "'='",
            "a b",
            "MDEyMzQ1Njc4OWFiY2RlZh==",
            "MDEyMzQ1Njc4OWFiY2RlZg",
            "MDEyMzQ1Njc4OWFiY2RlZg===",
            "\"MDEyMzQ1Njc4\\nOWFiY2RlZg==\\r\\n\"",
            "\"MDEyMzQ1Njc4\\tOWFiY2RlZg==\"",
            "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
            "----____----____----____----____----____---=",
            "1234567812345678",
        ] {
            files.push(with_key(
                provider,
                &format!("{{name: a, secret: {secret}}}"),
            ));
        }
        for key in [
            "{}".to_owned(),
            "{name: a}".to_owned(),
            format!("{{secret: {KEY_32}}}"),
            format!("{{name: '', secret: {KEY_32}}}"),
            format!("{{name: 1, secret: {KEY_32}}}"),
            format!("{{name: 'a:b', secret: {KEY_32}}}"),
            format!("{{name: a, secret: {KEY_32}, extra: 1}}"),
            format!("{{name: a, secret: {KEY_32}}}, {{name: a, secret: {KEY_32}}}"),
        ] {
            files.push(with_key(provider, &key));
        }
    }
    for text in &files {
        let expected = oracle.load_config(text).unwrap();
        assert_eq!(accepts(text), expected.is_ok(), "{text}\n{expected:?}");
    }
    assert!(files.iter().any(|text| accepts(text)));
}

/// Only what upstream refuses before it would wait for a plugin.
#[test]
fn kms_providers_are_refused_alike() {
    let mut oracle = oracle();
    for kms in [
        "{}",
        "{apiVersion: v2}",
        "{apiVersion: v2, name: a}",
        "{apiVersion: v3, name: a, endpoint: 'unix:///a'}",
        "{apiVersion: 2, name: a, endpoint: 'unix:///a'}",
        "{apiVersion: v2, name: '', endpoint: 'unix:///a'}",
        "{apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'}",
        "{apiVersion: v2, name: a, endpoint: ''}",
        "{apiVersion: v2, name: a, endpoint: /a}",
        "{apiVersion: v2, name: a, endpoint: 'http:///a'}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///%zz'}",
        "{apiVersion: v2, name: a, endpoint: \"unix:///a\\n\"}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 3}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: '3'}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 3 s}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: ''}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 0s}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: -1s}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 2562048h}",
        "{apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 1}",
        "{apiVersion: v1, name: a, endpoint: 'unix:///a', cachesize: 0}",
        "{apiVersion: v1, name: a, endpoint: 'unix:///a', cachesize: 3000000000}",
        "{apiVersion: v1, name: a, endpoint: 'unix:///a', cachesize: '1'}",
        "{apiVersion: v1, name: a, endpoint: 'unix:///a', cacheSize: 1}",
    ] {
        let text = with_provider(&format!("kms: {kms}"));
        assert!(!accepts(&text), "{text}");
        assert!(oracle.load_config(&text).unwrap().is_err(), "{text}");
    }
    let twice = with_provider(
        "kms: {apiVersion: v2, name: a, endpoint: 'unix:///a'}, kms: {apiVersion: v2, name: a, endpoint: 'unix:///b'}",
    );
    assert!(!accepts(&twice));
    assert!(oracle.load_config(&twice).unwrap().is_err());
}

/// No plugin answers, which upstream does not mind when it starts. The timeouts are short because it waits for them.
#[test]
fn kms_providers_are_taken_alike() {
    let mut oracle = oracle();
    for fields in [
        "name: a, endpoint: 'unix:///@a', timeout: 20ms",
        "name: a, endpoint: 'unix:///tmp/a%20b', timeout: .02s",
        "name: a, endpoint: 'UNIX:///@a', timeout: 0.00001h",
        "name: a, endpoint: 'unix:///@a', timeout: +20ms",
        "name: a, endpoint: 'unix:///@a', timeout: 10ms10000us",
        "name: a, endpoint: 'unix:///@a?%zz', timeout: 20ms",
        "name: a b, endpoint: 'unix:///@a', timeout: 20ms, cachesize: null",
    ] {
        let text = with_provider(&format!(
            "kms: {{apiVersion: v2, {fields}}}, identity: {{}}"
        ));
        let expected = oracle.load_config(&text).unwrap();
        assert_eq!(accepts(&text), expected.is_ok(), "{text}\n{expected:?}");
        assert!(expected.is_ok(), "{text}\n{expected:?}");
    }
}

#[test]
fn resource_names_are_judged_alike() {
    const NAMES: [&str; 19] = [
        "secrets",
        "configmaps",
        "secrets.",
        "deployments.apps",
        "daemonsets.apps",
        "*.",
        "*.apps",
        "*.*",
        "*",
        "secrets.*",
        "Secrets",
        "events.events.k8s.io",
        "*.extensions",
        "serviceipallocations",
        "apiserveripinfo",
        "a.b.c",
        "*.b.c",
        "a.apps",
        "secrets.apps",
    ];
    let mut oracle = oracle();
    let mut random = Random::new(30);
    let mut taken = 0;
    for _ in 0..1_500 {
        let entries: Vec<_> = (0..=random.below(3))
            .map(|_| {
                let names: Vec<_> = (0..=random.below(3))
                    .map(|_| {
                        format!(
                            "'{}'",
                            NAMES[if random.below(3) == 0 {
                                random.below(19)
                            } else {
                                random.below(8)
                            }]
                        )
                    })
                    .collect();
                format!(
                    "{{resources: [{}], providers: [identity: {{}}]}}",
                    names.join(", ")
                )
            })
            .collect();
        let text = file(&format!("[{}]", entries.join(", ")));
        let expected = oracle.load_config(&text).unwrap();
        assert_eq!(accepts(&text), expected.is_ok(), "{text}\n{expected:?}");
        taken += usize::from(expected.is_ok());
    }
    assert!(taken > 100, "{taken}");
}

/// A file with several entries, one of them for all resources, and some keys.
fn random_file(random: &mut Random) -> String {
    const PROVIDERS: [&str; 3] = ["aesgcm", "aescbc", "secretbox"];
    const KEYS: [&str; 2] = [KEY_32, "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="];
    let mut entries: Vec<_> = (0..=random.below(3))
        .map(|_| {
            let names = *random.pick(&["secrets", "configmaps", "secrets, configmaps", "pods"]);
            let providers: Vec<_> = (0..=random.below(3))
                .map(|_| match random.below(4) {
                    3 => "{identity: {}}".to_owned(),
                    index => format!(
                        "{{{}: {{keys: [{{name: '{}', secret: {}}}]}}}}",
                        PROVIDERS[index],
                        random.pick(&["a", "a:b", "c"]),
                        random.pick(&KEYS)
                    ),
                })
                .collect();
            format!(
                "{{resources: [{names}], providers: [{}]}}",
                providers.join(", ")
            )
        })
        .collect();
    entries.push(format!(
        "{{resources: ['*.*'], providers: [{{aesgcm: {{keys: [{{name: all, secret: {KEY_32}}}]}}}}]}}"
    ));
    file(&format!("[{}]", entries.join(", ")))
}

/// What we write for a file means to upstream what the file means: it writes alike, and reads alike with like staleness.
#[test]
fn files_keep_their_meaning_when_we_write_them() {
    let mut oracle = oracle();
    let mut random = Random::new(32);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..400 {
        let (text, other) = (random_file(&mut random), random_file(&mut random));
        let config = EncryptionConfiguration::parse(text.as_bytes()).unwrap();
        let written = Layout::of(&config).render().unwrap();
        assert_eq!(
            oracle.load_config(&written).unwrap(),
            Ok(()),
            "{}",
            *written
        );
        let resource = *random.pick(&["secrets", "configmaps", "pods", "deployments.apps"]);
        let of = |config: &str| Provider::Config {
            config: config.to_owned(),
            resource: resource.to_owned(),
        };
        let row = oracle
            .seal(&of(&other), b"/a", b"plain")
            .unwrap()
            .unwrap()
            .row;
        let before = oracle.open(&of(&text), b"/a", &row).unwrap();
        let after = oracle.open(&of(&written), b"/a", &row).unwrap();
        match (before, after) {
            (Ok(before), Ok(after)) => {
                assert_eq!(before.plaintext, after.plaintext);
                assert_eq!(before.stale, after.stale, "{text}\n{}", *written);
                opened += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (before, after) => panic!("{before:?} {after:?}\n{text}\n{}", *written),
        }
        let row = oracle
            .seal(&of(&written), b"/a", b"plain")
            .unwrap()
            .unwrap()
            .row;
        let fresh = oracle.open(&of(&text), b"/a", &row).unwrap().unwrap();
        assert!(!fresh.stale, "{text}\n{}", *written);
    }
    assert!(opened > 50 && refused > 50, "{opened} {refused}");
}

/// Entries that are cut around a KMS v2 provider, which may stand in a file only once.
#[test]
fn entries_around_a_kms_provider_are_taken() {
    let mut oracle = oracle();
    let kms = "{kms: {apiVersion: v2, name: k, endpoint: 'unix:///@k', timeout: 20ms}}";
    let text = file(&format!(
        "[{{resources: [configmaps], providers: [{{identity: {{}}}}]}}, {{resources: [secrets, configmaps], providers: [{kms}]}}, {{resources: [secrets], providers: [{{identity: {{}}}}]}}]"
    ));
    let layout = Layout::of(&EncryptionConfiguration::parse(text.as_bytes()).unwrap());
    let written = layout.render().unwrap();
    for text in [&text, &*written] {
        assert_eq!(oracle.load_config(text).unwrap(), Ok(()), "{text}");
    }
    let twice = text.replace(
        "resources: [configmaps], providers: [{identity: {}}",
        &format!("resources: [configmaps], providers: [{{identity: {{}}}}, {kms}"),
    );
    assert!(oracle.load_config(&twice).unwrap().is_err());
    assert!(!accepts(&twice));
}

/// Rows sealed under one configuration, opened by both under another one.
#[test]
fn values_open_in_the_same_order_with_the_same_staleness() {
    const PROVIDERS: [&str; 3] = ["aesgcm", "aescbc", "secretbox"];
    const KEYS: [&str; 2] = [KEY_32, "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="];
    let mut oracle = oracle();
    let mut random = Random::new(31);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..1_500 {
        let provider = |random: &mut Random| match random.below(4) {
            3 => "{identity: {}}".to_owned(),
            index => {
                let keys: Vec<_> = (0..=random.below(2))
                    .map(|_| {
                        format!(
                            "{{name: '{}', secret: {}}}",
                            random.pick(&["a", "a:b", "c"]),
                            random.pick(&KEYS)
                        )
                    })
                    .collect();
                format!("{{{}: {{keys: [{}]}}}}", PROVIDERS[index], keys.join(", "))
            }
        };
        let providers: Vec<_> = (0..=random.below(3))
            .map(|_| provider(&mut random))
            .collect();
        let text = with_provider(&providers.join(", "));
        let writer = with_provider(&provider(&mut random));
        let of = |config: &str, resource: &str| Provider::Config {
            config: config.to_owned(),
            resource: resource.to_owned(),
        };
        let row = oracle
            .seal(&of(&writer, "secrets"), b"/a", b"plain")
            .unwrap()
            .unwrap()
            .row;
        let resource = *random.pick(&["secrets", "secrets", "secrets", "pods"]);
        let expected = oracle.open(&of(&text, resource), b"/a", &row).unwrap();

        let config = EncryptionConfiguration::parse(text.as_bytes()).unwrap();
        let opener = ValueOpener::for_resource(&config, &GroupResource::from_text(resource));
        let outcome = match opener.open(&row, b"/a") {
            Ok(Opening::Opened(opened)) => Some((
                opened.plaintext.expose().to_vec(),
                opened.stale == Some(true),
            )),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        let expected = expected.ok().map(|opened| (opened.plaintext, opened.stale));
        assert_eq!(outcome, expected, "{text}\n{writer}");
        *seen.entry(expected.map(|(_, stale)| stale)).or_insert(0) += 1;
    }
    assert!(
        seen.len() == 3 && seen.values().all(|count| *count > 50),
        "{seen:?}"
    );
}
