//! A large corpus of EncryptionConfiguration files, made by changing valid ones, each judged by upstream's own loader.

mod structure;
mod values;

use std::fs;
use std::path::Path;

use kdc_envelope_k8s::EncryptionConfiguration;
use kdc_envelope_k8s::encryption_config::ConfigError;
use kdc_testbed::Oracle;

use crate::oracle;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// In block style, with one of every provider.
const BLOCK: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - secrets
      - configmaps
    providers:
      - kms:
          apiVersion: v2
          name: plugin
          endpoint: unix:///run/kms/kms.sock
          timeout: 3s
      - aescbc:
          keys:
            - name: key1
              secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
            - name: key2
              secret: \"MDEyMzQ1Njc4OWFiY2RlZg==\"
      - identity: {}
  - resources: ['*.apps', events]
    providers:
      - kms: {name: old, endpoint: 'unix:///@old', cachesize: 5}
      - secretbox: {keys: [{name: 'a:b', secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
";

const JSON: &str = r#"{
  "apiVersion": "apiserver.config.k8s.io/v1",
  "kind": "EncryptionConfiguration",
  "resources": [
    {
      "resources": ["secrets", "*.apps"],
      "providers": [
        {"kms": {"apiVersion": "v2", "name": "plugin", "endpoint": "unix:///run/kms/kms.sock", "timeout": "3s"}},
        {"aesgcm": {"keys": [{"name": "key1", "secret": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}]}},
        {"identity": {}}
      ]
    }
  ]
}
"#;

/// What both say about files, and where they differ.
struct Judged {
    oracle: Oracle,
    taken: usize,
    refused: usize,
    stricter: usize,
    differences: Vec<String>,
}

impl Judged {
    fn new() -> Self {
        Self {
            oracle: oracle(),
            taken: 0,
            refused: 0,
            stricter: 0,
            differences: Vec::new(),
        }
    }

    fn judge(&mut self, file: impl AsRef<[u8]>) {
        let file = file.as_ref();
        let theirs = self.oracle.load_config(file).unwrap();
        let ours = EncryptionConfiguration::parse(file);
        match (&theirs, &ours) {
            (Ok(()), Ok(_)) => self.taken += 1,
            (Err(_), Err(_)) => self.refused += 1,
            (Ok(()), Err(error)) if is_stricter_by_design(file, error) => self.stricter += 1,
            (theirs, ours) => {
                let ours = ours.as_ref().map(drop);
                let file = String::from_utf8_lossy(file);
                let difference = format!("upstream: {theirs:?}\nours: {ours:?}\n{file:?}");
                self.differences.push(difference);
            }
        }
    }

    #[track_caller]
    fn are_alike(self, taken: usize, refused: usize) {
        let Self { differences, .. } = &self;
        assert!(
            differences.is_empty(),
            "{} differences:\n{}",
            differences.len(),
            differences.join("\n\n")
        );
        let counts = (self.taken, self.refused, self.stricter);
        assert!(self.taken >= taken && self.refused >= refused, "{counts:?}");
    }
}

/// What docs/encryption.md says that this reader refuses although kube-apiserver takes it.
fn is_stricter_by_design(file: &[u8], error: &ConfigError) -> bool {
    const REASONS: [&str; 6] = [
        "more than one YAML document",
        "not UTF-8",
        "too many YAML aliases",
        "behind the first YAML document",
        "a line break that is none to all",
        "that not all read alike",
    ];
    let has = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    let error = error.to_string();
    let is_rare = has(b"\\'") || has(b"\n... ") || has(b"]#") || has(b"}#");
    REASONS.iter().any(|reason| error.contains(reason)) || is_rare
}

/// The configuration files in the cases of `kdc`, too.
#[test]
fn cases_are_judged_alike() {
    let mut judged = Judged::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bins/kdc/tests/cases");
    let kinds = fs::read_dir(root).unwrap().map(|kind| kind.unwrap().path());
    for kind in kinds.filter(|path| path.is_dir()) {
        for case in fs::read_dir(kind).unwrap() {
            let text = fs::read_to_string(case.unwrap().path()).unwrap();
            let case: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            let files = case["files"].as_object().into_iter().flatten();
            let texts = files.filter_map(|(_, text)| text.as_str());
            for text in texts.filter(|text| text.contains("EncryptionConfiguration")) {
                judged.judge(text.replace("@folder@", "/folder"));
            }
        }
    }
    judged.are_alike(5, 5);
}
