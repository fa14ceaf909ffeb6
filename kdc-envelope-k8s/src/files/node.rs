//! The files on a control node: the configuration, every key that ever stood in it, and its earlier versions.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kdc_envelope::local::private_file::{self, PrivateFileError};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use zeroize::Zeroizing;

use super::FilesError;
use crate::encryption_config::{EncryptionConfiguration, Layout, LocalKey, Transformer};
use crate::rotation::history::KeyHistory;
use crate::rotation::{ConfigHash, NodeFile, Timestamp};

/// Beside the configuration: every key that ever stood in it.
const HISTORY: &str = "encryption-provider-history.bak";
/// Beside the configuration: its earlier versions.
const EARLIER: &str = "encryption-provider-bak";
/// How many earlier versions are kept.
const KEPT: usize = 100;
/// Longer ones are not read; etcd itself takes no value as long.
const MAX_LEN: u64 = 1 << 20;

/// The bytes of a file, and when they were written.
type Written = (Zeroizing<Vec<u8>>, Timestamp);

/// An earlier version of a configuration: its hash, and what it means.
pub type EarlierVersion = (ConfigHash, Arc<Layout>);

/// Length and time of a file when it was read.
type Stamp = (u64, Option<SystemTime>);

/// The earlier versions of one configuration, remembered between two readings. Versions are never changed, so each is read once
/// and not with every observation.
#[derive(Debug, Default)]
pub struct EarlierVersions {
    known: BTreeMap<PathBuf, (Stamp, Option<EarlierVersion>)>,
}

/// A configuration that not only its owner and group may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenToOthers {
    /// User id.
    pub owner: u32,
    /// Group id.
    pub group: u32,
    /// Permission bits.
    pub mode: u32,
}

/// The folder of a node's EncryptionConfiguration.
///
/// kube-apiserver must see the folder, not only the file: a file that is mounted alone stays what it was when another one
/// takes its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFolder {
    config: PathBuf,
    folder: PathBuf,
}

impl NodeFolder {
    /// The folder of the configuration file `config`, which need not exist yet.
    #[must_use]
    pub fn of(config: impl Into<PathBuf>) -> Self {
        let config = config.into();
        let parent = config.parent().filter(|path| !path.as_os_str().is_empty());
        let folder = parent.unwrap_or_else(|| Path::new(".")).to_owned();
        Self { config, folder }
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The file with every key that ever stood in the configuration, as a [`KeyHistory`].
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.folder.join(HISTORY)
    }

    /// What the configuration file means, and when it was written.
    ///
    /// # Errors
    /// [`FilesError`]; no file is no error.
    pub fn read(&self) -> Result<NodeFile, FilesError> {
        let Some((bytes, written)) = self.config_bytes()? else {
            fs::metadata(&self.folder).map_err(FilesError::io("open", &self.folder))?;
            let (hash, layout) = (ConfigHash::NO_FILE, Arc::new(Layout::default()));
            return Ok(NodeFile::written_at(hash, layout, Timestamp::from_secs(0)));
        };
        let config = EncryptionConfiguration::parse(&bytes);
        let config = config.map_err(|source| FilesError::Config {
            path: self.config.clone(),
            source,
        })?;
        let layout = Arc::new(Layout::of(&config));
        Ok(NodeFile::written_at(
            ConfigHash::of(&bytes),
            layout,
            written,
        ))
    }

    /// The keys in the history, oldest first.
    ///
    /// # Errors
    /// [`FilesError`]; no file is an empty history.
    pub fn keys(&self) -> Result<Vec<LocalKey>, FilesError> {
        let history = read_history(&self.history())?;
        Ok(history.local_keys().cloned().collect())
    }

    /// Puts `key` into the history.
    ///
    /// # Errors
    /// [`FilesError`]; the history is then as it was.
    pub fn keep(&self, key: &LocalKey, now: Timestamp) -> Result<(), FilesError> {
        let path = self.history();
        let mut history = read_history(&path)?;
        if history.keep(&Transformer::Local(key.clone()), true, now) {
            write_history(&path, &history)?;
        }
        Ok(())
    }

    /// Puts a file that means `layout` in place of the one with the hash `over`, as [`Self::read`] has it. Copies of both are
    /// kept beside it, so that what a process goes on using is known even after the file is gone.
    ///
    /// # Errors
    /// [`FilesError`]; the configuration is then as it was. [`FilesError::Changed`] if it is not the one of `over` any more.
    pub fn write(&self, layout: &Layout, over: ConfigHash) -> Result<(), FilesError> {
        let text = layout.render()?;
        let seen = self.config_bytes()?.map(|(bytes, _)| bytes);
        let is_same = seen
            .as_ref()
            .is_some_and(|bytes| ***bytes == *text.as_bytes());
        if is_same {
            return Ok(());
        }
        if seen.as_ref().map_or(ConfigHash::NO_FILE, ConfigHash::of) != over {
            return Err(FilesError::Changed {
                path: self.config.clone(),
            });
        }
        for version in seen.iter().map(|bytes| &***bytes).chain([text.as_bytes()]) {
            self.keep_version(version)?;
        }
        Ok(private_file::replace(&self.config, text.as_bytes())?)
    }

    /// Says why the configuration cannot be replaced by another file, if it cannot, so that no change is begun.
    ///
    /// # Errors
    /// [`FilesError::MountPoint`], [`FilesError::Io`].
    pub fn check_replaceable(&self) -> Result<(), FilesError> {
        let path = match fs::canonicalize(&self.config) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(FilesError::io("open", &self.config))?,
        };
        let stat = rustix::fs::statx(CWD, &path, AtFlags::empty(), StatxFlags::BASIC_STATS);
        let stat = stat.map_err(|error| FilesError::io("open", &path)(error.into()))?;
        match stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            true => Err(FilesError::MountPoint { path }),
            false => Ok(()),
        }
    }

    /// The configuration's owner, group and mode, if others than these may read it: they lose that with the next write.
    ///
    /// # Errors
    /// [`FilesError::Io`]; no file is no error.
    pub fn open_to_others(&self) -> Result<Option<OpenToOthers>, FilesError> {
        let metadata = match fs::metadata(&self.config) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(FilesError::io("open", &self.config))?,
        };
        let mode = metadata.mode() & 0o777;
        let open = OpenToOthers {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode,
        };
        Ok((mode & 0o007 != 0).then_some(open))
    }

    /// The file that is locked while the configuration may be changed. Its name has that of the configuration, since several
    /// may lie in one folder.
    pub(super) fn lock(&self) -> PathBuf {
        // Behind a symbolic link the file itself is replaced, so two links to it mean one lock.
        let config = fs::canonicalize(&self.config).unwrap_or_else(|_| self.config.clone());
        let mut name = std::ffi::OsString::from(".");
        name.push(config.file_name().unwrap_or_default());
        name.push(".lock");
        let folder = config.parent().filter(|path| !path.as_os_str().is_empty());
        folder.unwrap_or_else(|| Path::new(".")).join(name)
    }

    /// The earlier versions that can be understood.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn earlier(&self) -> Result<Vec<EarlierVersion>, FilesError> {
        EarlierVersions::default().read(self)
    }

    /// The bytes of the configuration and the second in which they were written; `None` without a file.
    fn config_bytes(&self) -> Result<Option<Written>, FilesError> {
        let path = &self.config;
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(FilesError::io("open", path))?,
        };
        let read = || {
            let metadata = file.metadata()?;
            let len = metadata.len();
            let capacity = usize::try_from(len.min(MAX_LEN)).unwrap_or_default();
            let mut bytes = Zeroizing::new(Vec::with_capacity(capacity.saturating_add(1)));
            (&file).take(MAX_LEN + 1).read_to_end(&mut bytes)?;
            let written = metadata.modified()?.duration_since(UNIX_EPOCH);
            let written = written.map_or(0, |since| since.as_secs());
            Ok((bytes, Timestamp::from_secs(written)))
        };
        let (bytes, written) = read().map_err(FilesError::io("read", path))?;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if len > MAX_LEN {
            let path = path.clone();
            return Err(FilesError::TooLarge { path, len });
        }
        Ok(Some((bytes, written)))
    }

    /// Paths of the earlier versions, oldest first.
    fn earlier_files(&self) -> Result<Vec<PathBuf>, FilesError> {
        let folder = self.folder.join(EARLIER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(FilesError::io("list", &folder))?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(FilesError::io("list", &folder))?.path();
            if number_of(&path).is_some() {
                paths.push(path);
            }
        }
        paths.sort_by_key(|path| number_of(path));
        Ok(paths)
    }

    /// Keeps a copy of a version, with the most recent ones.
    fn keep_version(&self, bytes: &[u8]) -> Result<(), FilesError> {
        let folder = self.folder.join(EARLIER);
        create_private_folder(&folder)?;
        let files = self.earlier_files()?;
        let suffix = format!("-{}.conf", &hex(bytes));
        let is_kept = |path: &PathBuf| path.to_string_lossy().ends_with(&suffix);
        if files.iter().any(is_kept) {
            return Ok(());
        }
        let newest = files.last().and_then(|path| number_of(path));
        let number = newest.map_or(1, |newest| newest.saturating_add(1));
        private_file::create(&folder.join(format!("{number:06}{suffix}")), bytes)?;
        let surplus = files.len().saturating_sub(KEPT);
        for path in files.iter().take(surplus) {
            fs::remove_file(path).map_err(FilesError::io("remove", path))?;
        }
        Ok(())
    }
}

impl EarlierVersions {
    /// The earlier versions of `folder` that can be understood. Only files that are new or changed since the last call are read.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn read(&mut self, folder: &NodeFolder) -> Result<Vec<EarlierVersion>, FilesError> {
        let mut known = BTreeMap::new();
        let mut found = Vec::new();
        for path in folder.earlier_files()? {
            let metadata = fs::symlink_metadata(&path).map_err(FilesError::io("read", &path))?;
            let stamp = (metadata.len(), metadata.modified().ok());
            let version = match self.known.remove(&path) {
                Some((read, version)) if read == stamp => version,
                _ => {
                    let bytes = private_file::read(&path)?;
                    let config = EncryptionConfiguration::parse(&bytes).ok();
                    config.map(|config| (ConfigHash::of(&bytes), Arc::new(Layout::of(&config))))
                }
            };
            found.extend(version.clone());
            known.insert(path, (stamp, version));
        }
        self.known = known;
        Ok(found)
    }
}

/// Makes `folder`, for its owner alone, unless it is there.
pub(super) fn create_private_folder(folder: &Path) -> Result<(), FilesError> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(FilesError::io("create", folder)),
    }
}

/// The history in `path`; an empty one if there is no file.
pub(super) fn read_history(path: &Path) -> Result<KeyHistory, FilesError> {
    let bytes = match private_file::read(path) {
        Err(PrivateFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(KeyHistory::default());
        }
        bytes => bytes?,
    };
    let text = String::from_utf8_lossy(&bytes);
    KeyHistory::parse(&text).map_err(|source| FilesError::History {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn write_history(path: &Path, history: &KeyHistory) -> Result<(), FilesError> {
    Ok(private_file::replace(path, history.to_text().as_bytes())?)
}

/// The first digits of the hash, for names of files.
fn hex(bytes: &[u8]) -> String {
    let hash = ConfigHash::of(bytes);
    let digits = hash.as_bytes().iter().take(6);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

/// The number of an earlier version, from its name.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".conf")?;
    name.split_once('-')?.0.parse().ok()
}
