//! The Secrets of the quickstart.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::failure::{Exit, Failure};

pub(super) const NAMESPACE: &str = "default";

/// The most that Kubernetes stores in one Secret (`MaxSecretSize` in `k8s.io/api/core/v1`).
const MAX_LEN: u64 = 1 << 20;

/// A Secret of type Opaque with one entry.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) entry: String,
    pub(super) content: Vec<u8>,
}

impl Sample {
    fn new(name: &str, entry: &str, content: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            entry: entry.to_owned(),
            content: content.to_vec(),
        }
    }

    /// One whose content does not matter.
    #[cfg(feature = "testbed")]
    pub(super) fn probe() -> Self {
        Self::new("probe", "content", b"of no importance")
    }

    pub(super) fn data(&self) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([(self.entry.clone(), self.content.clone())])
    }

    /// Whether `object`, a Secret in JSON, holds it.
    pub(super) fn is_in(&self, object: &serde_json::Value) -> bool {
        let content = STANDARD.encode(&self.content);
        object.get("data").and_then(|data| data.get(&self.entry)) == Some(&content.into())
    }

    pub(super) fn etcd_key(&self) -> String {
        format!("/registry/secrets/{NAMESPACE}/{}", self.name)
    }
}

/// The built-in Secrets, and one with the content of `file`.
pub(super) fn all(file: Option<&Path>) -> Result<Vec<Sample>, Failure> {
    let mut samples = vec![
        Sample::new("database", "password", b"correct horse battery staple"),
        Sample::new(
            "registry",
            "token",
            b"a token that nobody shall read in etcd",
        ),
    ];
    match file {
        Some(path) => samples.push(Sample {
            name: "from-file".to_owned(),
            entry: entry_name(path),
            content: read(path)?,
        }),
        None => samples.push(Sample::new("large", "blob", &[b'x'; 4096])),
    }
    Ok(samples)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut content))
        .map_err(|error| Failure::unreadable("FILE", path, &error))?;
    if content.len() as u64 > MAX_LEN {
        let line = format!(
            "FILE: `{}` has more than 1 MiB, which no Secret may have",
            path.display()
        );
        return Err(Failure::new(Exit::Data, line));
    }
    Ok(content)
}

/// The file's name with only the characters that Kubernetes allows in the data of a Secret, at most 253 of them.
fn entry_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(allowed).take(253).collect();
    if name.chars().all(|c| c == '.') {
        "file".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_names_that_kubernetes_takes() {
        let names = [
            ("/a/b c.txt", "b_c.txt"),
            ("ä$", "__"),
            ("..", "file"),
            ("/", "file"),
            ("", "file"),
        ];
        for (path, name) in names {
            assert_eq!(entry_name(Path::new(path)), name, "{path}");
        }
    }
}
