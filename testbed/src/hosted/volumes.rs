//! The volumes of a pod, as kubelet writes them: files of Secrets, ConfigMaps and tokens are links that are replaced all at once.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::template::{items, text};
use crate::client::{Client, Resource};

/// kubelet's own, if neither volume nor file says more.
const DEFAULT_MODE: u32 = 0o644;
const DATA: &str = "..data";

/// The volumes of one pod.
#[derive(Debug)]
pub(super) struct Volumes {
    folder: PathBuf,
    group: Option<u32>,
    /// Tokens by volume and path, and when they are replaced.
    tokens: HashMap<String, (String, Instant)>,
    writes: u64,
}

/// The content of a volume: bytes and mode by name.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

impl Volumes {
    /// Volumes that belong to `group`, if one is given.
    pub(super) fn new(folder: PathBuf, group: Option<u32>) -> Self {
        Self {
            folder,
            group,
            tokens: HashMap::new(),
            writes: 0,
        }
    }

    /// Where the content of a volume lies.
    pub(super) fn path(&self, volume: &Value) -> PathBuf {
        let host = text(volume, "/hostPath/path");
        if host.is_empty() {
            self.folder.join(text(volume, "/name"))
        } else {
            PathBuf::from(host)
        }
    }

    /// Writes what has changed. The error is what kubelet would say.
    pub(super) async fn sync(&mut self, client: &Client, pod: &Value) -> Result<(), String> {
        for volume in items(&pod["spec"]["volumes"]) {
            let name = text(&volume, "/name");
            self.sync_one(client, pod, &volume).await.map_err(|cause| {
                format!("MountVolume.SetUp failed for volume \"{name}\" : {cause}")
            })?;
        }
        Ok(())
    }

    async fn sync_one(
        &mut self,
        client: &Client,
        pod: &Value,
        volume: &Value,
    ) -> Result<(), String> {
        let path = self.path(volume);
        if volume["hostPath"].is_object() {
            return Ok(());
        }
        if volume["emptyDir"].is_object() {
            return empty_folder(&path, self.group).map_err(|error| error.to_string());
        }
        let mut files = Files::new();
        let namespace = text(pod, "/metadata/namespace");
        if volume["secret"].is_object() {
            let source = &volume["secret"];
            add_secret(
                client,
                namespace,
                source,
                text(source, "/secretName"),
                &mut files,
            )
            .await?;
        } else if volume["configMap"].is_object() {
            add_config_map(client, namespace, &volume["configMap"], &mut files).await?;
        } else if volume["projected"].is_object() {
            let default = mode(&volume["projected"], DEFAULT_MODE);
            for source in items(&volume["projected"]["sources"]) {
                if source["secret"].is_object() {
                    let source = &source["secret"];
                    add_secret(client, namespace, source, text(source, "/name"), &mut files)
                        .await?;
                } else if source["configMap"].is_object() {
                    add_config_map(client, namespace, &source["configMap"], &mut files).await?;
                } else if source["serviceAccountToken"].is_object() {
                    let source = &source["serviceAccountToken"];
                    let token = self.token(client, pod, volume, source).await?;
                    files.insert(
                        text(source, "/path").to_owned(),
                        (token.into_bytes(), default),
                    );
                }
            }
        } else {
            return Err("no such kind of volume on this node".to_owned());
        }
        self.writes += 1;
        write_all(&path, &files, self.group, self.writes).map_err(|error| error.to_string())
    }

    /// The token for one audience; kubelet replaces it after four fifths of its life.
    async fn token(
        &mut self,
        client: &Client,
        pod: &Value,
        volume: &Value,
        source: &Value,
    ) -> Result<String, String> {
        let key = format!("{}/{}", text(volume, "/name"), text(source, "/path"));
        if let Some((token, until)) = self.tokens.get(&key)
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let life = source["expirationSeconds"].as_u64().unwrap_or(3600);
        let audience = source["audience"].as_str();
        let namespace = text(pod, "/metadata/namespace");
        let account = text(pod, "/spec/serviceAccountName");
        let token = client
            .service_account_token(namespace, account, audience, Duration::from_secs(life))
            .await
            .map_err(|error| format!("failed to fetch token: {error}"))?;
        let until = Instant::now() + Duration::from_secs(life) * 4 / 5;
        self.tokens.insert(key, (token.clone(), until));
        Ok(token)
    }
}

async fn add_secret(
    client: &Client,
    namespace: &str,
    source: &Value,
    name: &str,
    files: &mut Files,
) -> Result<(), String> {
    let secret = match client.read(Resource::SECRETS, namespace, name).await {
        Ok(secret) => secret,
        Err(error) if error.status() == Some(404) => {
            return missing(source, &format!("secret \"{name}\" not found"));
        }
        Err(error) => return Err(error.to_string()),
    };
    let data = secret["data"].as_object().into_iter().flatten();
    let data = data.map(|(key, value)| {
        let bytes = BASE64.decode(value.as_str().unwrap_or_default());
        (key.clone(), bytes.unwrap_or_default())
    });
    add(source, &data.collect(), files)
}

async fn add_config_map(
    client: &Client,
    namespace: &str,
    source: &Value,
    files: &mut Files,
) -> Result<(), String> {
    let name = text(source, "/name");
    let map = match client.read(Resource::CONFIG_MAPS, namespace, name).await {
        Ok(map) => map,
        Err(error) if error.status() == Some(404) => {
            return missing(source, &format!("configmap \"{name}\" not found"));
        }
        Err(error) => return Err(error.to_string()),
    };
    let data = map["data"].as_object().into_iter().flatten();
    let data = data.map(|(key, value)| {
        let text = value.as_str().unwrap_or_default();
        (key.clone(), text.as_bytes().to_vec())
    });
    add(source, &data.collect(), files)
}

fn missing(source: &Value, cause: &str) -> Result<(), String> {
    if source["optional"] == true {
        return Ok(());
    }
    Err(cause.to_owned())
}

/// The keys that are asked for, or all.
fn add(source: &Value, data: &BTreeMap<String, Vec<u8>>, files: &mut Files) -> Result<(), String> {
    let default = mode(source, DEFAULT_MODE);
    let wanted = items(&source["items"]);
    if wanted.is_empty() {
        files.extend(
            data.iter()
                .map(|(key, bytes)| (key.clone(), (bytes.clone(), default))),
        );
    }
    for item in wanted {
        let key = text(&item, "/key");
        let Some(bytes) = data.get(key) else {
            missing(
                source,
                &format!("references non-existent secret key: {key}"),
            )?;
            continue;
        };
        let mode = item["mode"].as_u64().map_or(default, to_mode);
        files.insert(text(&item, "/path").to_owned(), (bytes.clone(), mode));
    }
    Ok(())
}

fn mode(source: &Value, default: u32) -> u32 {
    source["defaultMode"].as_u64().map_or(default, to_mode)
}

fn to_mode(mode: u64) -> u32 {
    u32::try_from(mode).unwrap_or(DEFAULT_MODE)
}

fn empty_folder(path: &Path, group: Option<u32>) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    chown(path, None, group)
}

/// Replaces the content of a volume in one step, unless it is the same.
fn write_all(path: &Path, files: &Files, group: Option<u32>, number: u64) -> io::Result<()> {
    let data = path.join(DATA);
    let same = |(name, (bytes, _)): (&String, &(Vec<u8>, u32))| {
        fs::read(data.join(name)).is_ok_and(|there| &there == bytes)
    };
    let count = fs::read_dir(&data).map_or(0, Iterator::count);
    if data.exists() && count == files.len() && files.iter().all(same) {
        return Ok(());
    }
    let folder = path.join(format!("..{number}"));
    fs::create_dir_all(&folder)?;
    for (name, (bytes, mode)) in files {
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, bytes)?;
        let shared = if group.is_some() { 0o440 } else { 0 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode | shared))?;
        chown(&file, None, group)?;
    }
    let old = fs::read_link(&data).ok();
    let new = path.join("..data_tmp");
    symlink(format!("..{number}"), &new)?;
    fs::rename(&new, &data)?;
    for name in files.keys() {
        let first = name.split('/').next().unwrap_or(name);
        let link = path.join(first);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(first), link)?;
        }
    }
    match old {
        Some(old) => fs::remove_dir_all(path.join(old)),
        None => Ok(()),
    }
}
