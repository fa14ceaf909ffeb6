//! Container images as archives in the OCI image layout, written without an image builder: what a node imports, and what `cargo xtask images` ships.
//!
//! One uncompressed layer. No time, user or order of a file system gets in, so the same content gives the same digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Error;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BLOCK: usize = 512;

/// An image that is being put together.
#[derive(Debug, Clone)]
#[must_use = "nothing is written before `write`"]
pub struct Image {
    name: String,
    files: BTreeMap<String, Content>,
    entrypoint: Vec<String>,
    user: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Content {
    File { from: PathBuf, mode: u32 },
    Text(String),
    Link(String),
    Folder,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Digest of the manifest, by which registries and kubelet name the image: `sha256:…`.
    pub digest: String,
    /// Bytes of the archive.
    pub size: u64,
}

impl Image {
    /// An empty image with its full name, such as `registry.example.com/kms-plugin:1.0.0`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            files: BTreeMap::new(),
            entrypoint: Vec::new(),
            user: String::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Puts a program at `to`, an absolute path; mode 0555.
    pub fn program(self, from: impl Into<PathBuf>, to: &str) -> Self {
        let from = from.into();
        self.add(to, Content::File { from, mode: 0o555 })
    }

    /// Puts a text file at `to`; mode 0444.
    pub fn text(self, text: impl Into<String>, to: &str) -> Self {
        self.add(to, Content::Text(text.into()))
    }

    /// Puts a symbolic link to `target` at `at`.
    pub fn link(self, target: &str, at: &str) -> Self {
        self.add(at, Content::Link(target.to_owned()))
    }

    /// What a container runs, if its command is not given.
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// User and group by number, such as `65532:65532`; without this call root.
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// A label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// [`Error::File`] when a file of the image cannot be read, or the archive not written.
    pub fn write(&self, archive: &Path) -> Result<Written, Error> {
        let layer = self.layer()?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"User": self.user, "Entrypoint": self.entrypoint, "Labels": self.labels},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
        })
        .to_string()
        .into_bytes();
        let digest = digest(&manifest);
        let mut entry = descriptor(MANIFEST, &manifest);
        let tag = self.name.rsplit(':').next().unwrap_or_default();
        if let Some(entry) = entry.as_object_mut() {
            // The first is read by containerd, the second by everything else.
            let names = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
            entry.insert("annotations".to_owned(), names);
        }
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let mut tar = Vec::with_capacity(layer.len().saturating_add(1 << 16));
        push_file(
            &mut tar,
            "oci-layout",
            0o444,
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        );
        push_file(&mut tar, "index.json", 0o444, index.as_bytes());
        for blob in [&config, &manifest, &layer] {
            let name = self::digest(blob).replace("sha256:", "blobs/sha256/");
            push_file(&mut tar, &name, 0o444, blob);
        }
        finish(&mut tar);
        fs::write(archive, &tar).map_err(Error::file("write", archive))?;
        Ok(Written {
            digest,
            size: tar.len() as u64,
        })
    }

    fn add(mut self, at: &str, content: Content) -> Self {
        let at = at.trim_start_matches('/');
        for (end, _) in at.match_indices('/') {
            let parent = at.get(..end).unwrap_or_default().to_owned();
            self.files.entry(parent).or_insert(Content::Folder);
        }
        self.files.insert(at.to_owned(), content);
        self
    }

    fn layer(&self) -> Result<Vec<u8>, Error> {
        let mut tar = Vec::new();
        for (path, content) in &self.files {
            match content {
                Content::File { from, mode } => {
                    let bytes = fs::read(from).map_err(Error::file("read", from))?;
                    push_file(&mut tar, path, *mode, &bytes);
                }
                Content::Text(text) => push_file(&mut tar, path, 0o444, text.as_bytes()),
                Content::Link(target) => {
                    tar.extend(header(path, 0o777, 0, b'2', target));
                }
                Content::Folder => {
                    tar.extend(header(&format!("{path}/"), 0o755, 0, b'5', ""));
                }
            }
        }
        finish(&mut tar);
        Ok(tar)
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn push_file(tar: &mut Vec<u8>, path: &str, mode: u32, content: &[u8]) {
    tar.extend(header(path, mode, content.len(), b'0', ""));
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Two empty blocks end an archive.
fn finish(tar: &mut Vec<u8>) {
    tar.resize(tar.len().saturating_add(2 * BLOCK), 0);
}

/// A header of POSIX.1-1988 (ustar): root's, from 1970. Paths are ours and end before the field of 100 bytes does.
fn header(path: &str, mode: u32, size: usize, kind: u8, link: &str) -> Vec<u8> {
    let fields = |checksum: &str| {
        let mut header = Vec::with_capacity(BLOCK);
        let mut field = |content: &str, width: usize| {
            let end = header.len().saturating_add(width);
            header.extend(content.bytes().take(width));
            header.resize(end, 0);
        };
        field(path, 100);
        field(&format!("{mode:07o}"), 8);
        field("0000000", 8); // user
        field("0000000", 8); // group
        field(&format!("{size:011o}"), 12);
        field("00000000000", 12); // time
        field(checksum, 8);
        field(&char::from(kind).to_string(), 1);
        field(link, 100);
        field("ustar\u{0}00", 8);
        header.resize(BLOCK, 0);
        header
    };
    let sum: u32 = fields("        ").into_iter().map(u32::from).sum();
    fields(&format!("{sum:06o}\u{0} "))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sample() -> Image {
        Image::new("example.com/sample:1.0")
            .program("/bin/sh", "/usr/bin/sample")
            .text("hello\n", "/etc/greeting")
            .link("sample", "/usr/bin/other")
            .entrypoint(&["/usr/bin/sample"])
            .user("65532:65532")
            .label("org.opencontainers.image.title", "sample")
    }

    #[test]
    fn the_same_content_gives_the_same_digest_and_other_content_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let first = sample().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(sample().write(&path).unwrap(), first);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(bytes.len() as u64, first.size);
        let other = sample().text("hallo\n", "/etc/greeting");
        assert_ne!(other.write(&path).unwrap().digest, first.digest);
    }

    #[test]
    fn tar_itself_reads_archive_and_layer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        sample().write(&path).unwrap();
        let tar = |arguments: &[&str], file: &Path| {
            let mut tar = Command::new("tar");
            let output = tar.current_dir(folder.path()).args(arguments).arg(file);
            let output = output.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        tar(&["-xf"], &path);
        let index: Value =
            serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
        let blob = |digest: &Value| {
            let name = digest.as_str().unwrap().replace(':', "/");
            folder.path().join("blobs").join(name)
        };
        let manifest = fs::read(blob(&index["manifests"][0]["digest"])).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let listing = tar(&["-tvf"], &blob(&manifest["layers"][0]["digest"]));
        assert!(listing.contains("-r-xr-xr-x 0/0"), "{listing}");
        assert!(listing.contains("usr/bin/other -> sample"), "{listing}");
        assert!(listing.contains("drwxr-xr-x 0/0"), "{listing}");
    }
}
