//! k3s and RKE2: their arguments and `config.yaml`, and what they make of them for kube-apiserver.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::argv::Product;
use super::word::{Variable, Variables, Word};
use super::{ApiServer, CONFIG_FLAG, Files, Flags, Place, RELOAD_FLAG, Unclear};
use crate::yaml::{self, Value};

/// Where RKE2 says what its pod sees.
const RKE2_POD: &str = "RKE2 runs it in a static pod; `/var/lib/rancher/rke2/agent/pod-manifests/kube-apiserver.yaml` says what it sees";
const K3S_OR_RKE2: &str =
    "k3s runs it on the machine and RKE2 in a pod, and the name of the file says of neither";

/// Fields by which a `config.yaml` is known.
const FIELDS: [&str; 8] = [
    "kube-apiserver-arg",
    "kube-apiserver-arg+",
    "secrets-encryption",
    "kube-apiserver-extra-mount",
    "kube-controller-manager-arg",
    "write-kubeconfig-mode",
    "cluster-init",
    "tls-san",
];

#[derive(Default)]
struct Settings {
    arguments: Vec<Word>,
    secrets_encryption: Option<bool>,
    data_dir: Option<String>,
    gaps: Vec<String>,
    refusals: Vec<String>,
}

/// Whether an object is a `config.yaml`.
pub(super) fn is_config(value: &Value) -> bool {
    value.get("kind").is_none() && FIELDS.iter().any(|name| value.get(name).is_some())
}

/// Of a `config.yaml`.
pub(super) fn of_config(value: &Value, path: &Path) -> ApiServer {
    let path = path.to_string_lossy();
    let has = |name| value.get(name).is_some();
    let product = if path.contains("rke2") || has("kube-apiserver-extra-mount") {
        Some(Product::Rke2)
    } else if path.contains("k3s") {
        Some(Product::K3s)
    } else {
        None
    };
    let mut settings = Settings::default();
    settings.add_config(value);
    settings.into_server(product)
}

/// Of the arguments of a server, with the files that it reads by itself.
pub(super) fn of_arguments(
    product: Product,
    arguments: &[Word],
    variables: &Variables,
    files: &dyn Files,
) -> Result<ApiServer, Unclear> {
    let name = product.as_str();
    let mut settings = Settings::default();
    let from_environment = match variables.get(&format!("{}_CONFIG_FILE", name.to_uppercase())) {
        Variable::Value(path) => Some(path.to_owned()),
        _ => None,
    };
    let given = value_of(arguments, &["config", "c"]).or(from_environment);
    let path = given.unwrap_or_else(|| format!("/etc/rancher/{name}/config.yaml"));
    settings.read(Path::new(&path), files)?;
    let mut more = files
        .list(Path::new(&format!("{path}.d")))
        .unwrap_or_default();
    more.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    more.sort();
    for path in &more {
        settings.read(path, files)?;
    }
    settings.add_arguments(arguments);
    Ok(settings.into_server(Some(product)))
}

/// The name of a flag and its value, if it is given in the same word.
fn split(word: &Word) -> Option<(&str, Option<&str>)> {
    let flag = word.text.strip_prefix('-')?;
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    Some(match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    })
}

fn value_of(arguments: &[Word], names: &[&str]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match split(word) {
            Some((name, value)) if names.contains(&name) => {
                let value = value.map(str::to_owned);
                return value.or_else(|| rest.next().map(|word| word.text.clone()));
            }
            _ => {}
        }
    }
    None
}

impl Settings {
    fn read(&mut self, path: &Path, files: &dyn Files) -> Result<(), Unclear> {
        let text = match files.read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.gaps.push(format!("`{}`: {error}", path.display()));
                return Ok(());
            }
        };
        let documents = yaml::documents(&text).map_err(|error| {
            let (line, fault) = (error.line, error.fault.as_str());
            Unclear::new(format!("`{}`, line {line}: {fault}", path.display()))
        })?;
        for (_, value) in &documents {
            self.add_config(value);
        }
        Ok(())
    }

    fn add_config(&mut self, value: &Value) {
        if let Some(list) = value.get("kube-apiserver-arg") {
            self.arguments.clear();
            self.add_list(list);
        }
        if let Some(list) = value.get("kube-apiserver-arg+") {
            self.add_list(list);
        }
        match value.get("secrets-encryption") {
            Some(Value::Bool(value)) => self.secrets_encryption = Some(*value),
            Some(Value::Text(text)) => self.secrets_encryption = super::parse_bool(text),
            _ => {}
        }
        if let Some(folder) = value.get("data-dir").and_then(Value::text) {
            self.data_dir = Some(folder.to_owned());
        }
    }

    fn add_list(&mut self, list: &Value) {
        let one = std::slice::from_ref(list);
        let values = match list {
            Value::List(values) => values.as_slice(),
            _ => one,
        };
        for value in values {
            match value.text() {
                Some(text) => self.arguments.push(Word::known(text)),
                None => self
                    .refusals
                    .push("kube-apiserver-arg has a value that is no text".to_owned()),
            }
        }
    }

    fn add_arguments(&mut self, arguments: &[Word]) {
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            if word.is_all_open() {
                self.gaps
                    .push(format!("`{}` may hold more flags", word.text));
            }
            match split(word) {
                Some(("kube-apiserver-arg", Some(value))) => self.arguments.push(Word {
                    text: value.to_owned(),
                    is_open: word.is_open,
                }),
                Some(("kube-apiserver-arg", None)) => self.arguments.extend(rest.next().cloned()),
                Some(("secrets-encryption", value)) => {
                    self.secrets_encryption = super::parse_bool(value.unwrap_or("true"));
                }
                Some(("data-dir" | "d", Some(value))) => self.data_dir = Some(value.to_owned()),
                Some(("data-dir" | "d", None)) => {
                    self.data_dir = rest.next().map(|word| word.text.clone());
                }
                _ => {}
            }
        }
    }

    /// What kube-apiserver is started with: the product's own encryption first, if it is on, which others go over.
    fn into_server(self, product: Option<Product>) -> ApiServer {
        let is_default = product == Some(Product::Rke2);
        let is_on = self.secrets_encryption.unwrap_or(is_default);
        let mut words = Vec::new();
        if is_on {
            let name = product.map_or("k3s", Product::as_str);
            let folder = self
                .data_dir
                .unwrap_or_else(|| format!("/var/lib/rancher/{name}"));
            let file = PathBuf::from(folder).join("server/cred/encryption-config.json");
            words.push(Word::known(format!("--{CONFIG_FLAG}={}", file.display())));
            words.push(Word::known(format!("--{RELOAD_FLAG}=true")));
        }
        words.extend(self.arguments.into_iter().map(of_server));
        let mut flags = Flags::parse(&words);
        flags.add_gaps(self.gaps);
        for refusal in self.refusals {
            flags.add_refusal(refusal);
        }
        let (form, place) = match product {
            Some(Product::K3s) => ("settings of k3s", Place::Host),
            Some(Product::Rke2) => ("settings of RKE2", Place::OtherPod(RKE2_POD)),
            None => ("settings of k3s or RKE2", Place::OtherPod(K3S_OR_RKE2)),
        };
        ApiServer { form, flags, place }
    }
}

/// `name=value`, with or without `--`; a name alone is switched on, and `+` or `-` behind it says where a value is added.
fn of_server(word: Word) -> Word {
    let text = word.text.strip_prefix("--").unwrap_or(&word.text);
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    let name = name.strip_suffix(['+', '-']).unwrap_or(name);
    Word {
        text: format!("--{name}={value}"),
        is_open: word.is_open,
    }
}
