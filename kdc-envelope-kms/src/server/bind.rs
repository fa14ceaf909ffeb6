//! Takes a socket address without ever stealing it, and without a moment in which others could connect.
//!
//! * The socket's mode is set on its file descriptor before `bind`, so the file is born with 0600 whatever the
//!   umask; group and final mode follow before `listen`.
//! * A file in the way is removed only if it is a socket on which no process listens. The check and the removal
//!   happen under a lock, so two plugins that start at once cannot take each other's socket. It is held on a file of its own:
//!   every user who may look into the folder could lock that.
//! * The folder, and those above it, must be safe ([`folder`]).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use super::address::SocketAddress;
use super::folder;

/// Who may reach the socket, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Where it is.
    pub address: SocketAddress,
    /// Permissions of the file; unused for an abstract socket.
    pub mode: SocketMode,
    /// Group of the file by number; `None` leaves what the system gives.
    pub group: Option<u32>,
    /// The uids whose connections are served. `None` leaves it to the file's permissions; an abstract socket has
    /// none, so there it means our own uid and root.
    pub allowed_uids: Option<Vec<u32>>,
}

impl SocketOptions {
    /// For our own uid only: mode 0600.
    #[must_use]
    pub const fn new(address: SocketAddress) -> Self {
        Self {
            address,
            mode: SocketMode::OWNER,
            group: None,
            allowed_uids: None,
        }
    }
}

/// Permissions of a socket file: read and write for the owner, and perhaps for the group. Never for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

/// A mode that the socket must not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "socket mode `{0:04o}` is not allowed: use 0600 for the owner alone, 0660 to let the group in; others never may"
)]
#[non_exhaustive]
pub struct InvalidSocketMode(pub u32);

impl SocketMode {
    /// 0600
    pub const OWNER: Self = Self(0o600);
    /// 0660
    pub const GROUP: Self = Self(0o660);

    /// Checks `mode`.
    ///
    /// # Errors
    /// [`InvalidSocketMode`] if the owner could not use the socket, or others could.
    pub const fn new(mode: u32) -> Result<Self, InvalidSocketMode> {
        if mode & 0o600 == 0o600 && mode & !0o770 == 0 {
            Ok(Self(mode))
        } else {
            Err(InvalidSocketMode(mode))
        }
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The folder is not there.
    #[error("folder `{}` of the socket does not exist; create it with mode 0750 or narrower", .0.display())]
    ParentMissing(PathBuf),
    /// The path leads through something that is not a folder.
    #[error("`{}` is not a folder, so no socket can be in it", .0.display())]
    ParentNotFolder(PathBuf),
    /// Every user could replace the socket by another.
    #[error(
        "folder `{}` of the socket is writable by everybody (mode {mode:04o}); use a folder of its own with mode 0750 or narrower",
        .path.display()
    )]
    ParentWritableByOthers {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A group could replace the socket by another, and may not even connect to ours.
    #[error(
        "folder `{}` of the socket is writable by group {group} (mode {mode:04o}); run `chmod g-w` on it, or name this group with \
         --socket-group",
        .path.display()
    )]
    ParentWritableByGroup {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Its group.
        group: u32,
    },
    /// Another user could replace the whole folder by another.
    #[error(
        "folder `{}` above the socket is writable by others (mode {mode:04o}), who could put another folder in place of the \
         socket's; run `chmod go-w` on it, or choose another place",
        .path.display()
    )]
    AncestorWritable {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Its owner could replace the socket by another.
    #[error(
        "folder `{}` on the way to the socket belongs to user {owner}, who could put another socket in its place; it must belong to \
         the user of the plugin, or to root",
        .path.display()
    )]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// Another process serves there; it is left alone.
    #[error("another process listens on `{0}`; stop it first, or choose another socket")]
    InUse(SocketAddress),
    /// Something else has this name; it is left alone.
    #[error("`{}` exists and is not a socket; remove it, or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Another plugin takes this socket at this moment.
    #[error("`{}` is locked by another process, which takes the same socket; stop it, or choose another socket", .0.display())]
    Locked(PathBuf),
    /// What should be the lock of the socket is something else, or another user's.
    #[error("`{}` is no file of the plugin's user; remove it", .0.display())]
    ForeignLock(PathBuf),
    /// A system call failed.
    #[error("cannot {action} `{target}`")]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        target: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    pub(super) fn system(action: &'static str, target: impl fmt::Display, source: Errno) -> Self {
        Self::System {
            action,
            target: target.to_string(),
            source: source.into(),
        }
    }

    /// What the system said, if it was the system that refused.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::System { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// A listening socket and its file.
#[derive(Debug)]
pub(super) struct BoundSocket {
    // Dropped first: while the listener lives, no other file can have the same identity.
    file: Option<SocketFile>,
    pub(super) listener: UnixListener,
}

/// What stands at the path of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Ours,
    Missing,
    Other,
}

impl BoundSocket {
    /// Binds and listens.
    pub(super) fn bind(options: &SocketOptions) -> Result<Self, BindError> {
        let (socket, file) = match &options.address {
            SocketAddress::Path(path) => {
                let place = Place::open(path, options.group)?;
                let _lock = place.lock()?;
                place.remove_stale()?;
                let (socket, file) = place.bind(options)?;
                (socket, Some(file))
            }
            SocketAddress::Abstract(name) => (bind_abstract(name, &options.address)?, None),
        };
        let listener = UnixListener::from_std(StdUnixListener::from(socket)).map_err(|source| {
            BindError::System {
                action: "listen on",
                target: options.address.to_string(),
                source,
            }
        })?;
        Ok(Self { file, listener })
    }

    /// Looks whether the file is still there. An abstract socket cannot vanish.
    pub(super) fn presence(&self) -> Presence {
        self.file
            .as_ref()
            .map_or(Presence::Ours, SocketFile::presence)
    }

    /// Removes the file if it is still ours; who had connected is still served.
    pub(super) fn remove_file(&mut self) {
        self.file = None;
    }
}

/// Binds, and waits if another takes the same socket at this moment: at most [`LOCK_ATTEMPTS`] times
/// [`LOCK_PAUSE`].
pub(super) async fn bind_when_unlocked(options: &SocketOptions) -> Result<BoundSocket, BindError> {
    for _ in 0..LOCK_ATTEMPTS {
        match BoundSocket::bind(options) {
            Err(BindError::Locked(_)) => tokio::time::sleep(LOCK_PAUSE).await,
            result => return result,
        }
    }
    BoundSocket::bind(options)
}

const LOCK_PAUSE: Duration = Duration::from_millis(20);
const LOCK_ATTEMPTS: u32 = 50;

/// Checks without binding: that the folder is there and safe, and that nothing but a socket is in the way.
///
/// # Errors
/// As binding would give, except that a live server is no error.
pub fn check_place(options: &SocketOptions) -> Result<(), BindError> {
    let SocketAddress::Path(path) = &options.address else {
        return Ok(());
    };
    Place::open(path, options.group)?
        .existing_socket()
        .map(|_| ())
}

/// The file of a socket of ours, and how to recognise it. Dropped, it is removed.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn presence(&self) -> Presence {
        match rustix::fs::lstat(&self.path) {
            Ok(stat) if identity(&stat) == self.identity => Presence::Ours,
            Ok(_) => Presence::Other,
            Err(_) => Presence::Missing,
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.presence() == Presence::Ours
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(socket = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// A folder, held open, and a name in it.
struct Place<'a> {
    folder: OwnedFd,
    path: &'a Path,
}

impl<'a> Place<'a> {
    fn open(path: &'a Path, socket_group: Option<u32>) -> Result<Self, BindError> {
        let folder_path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(folder_path, flags, Mode::empty()).map_err(|errno| match errno {
                Errno::NOENT => BindError::ParentMissing(folder_path.to_owned()),
                Errno::NOTDIR => BindError::ParentNotFolder(folder_path.to_owned()),
                errno => BindError::system("open folder", folder_path.display(), errno),
            })?;
        folder::check(folder_path, socket_group)?;
        Ok(Self { folder, path })
    }

    /// Makes sure that no other plugin takes this socket. The lock ends with the descriptor; its file stays, as it cannot be known
    /// whether another is about to lock it.
    fn lock(&self) -> Result<OwnedFd, BindError> {
        let mut name = OsString::from(".");
        name.push(self.name());
        name.push(".lock");
        let path = self.path.with_file_name(&name);
        let failed = |errno| BindError::system("lock", path.display(), errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.folder, &name, flags | OFlags::CLOEXEC, mode);
        let file = file.map_err(|errno| match errno {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => BindError::ForeignLock(path.clone()),
            errno => failed(errno),
        })?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
        if !is_file || !is_ours {
            return Err(BindError::ForeignLock(path));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(BindError::Locked(path)),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Whether there is a socket; anything else is an error.
    fn existing_socket(&self) -> Result<bool, BindError> {
        match rustix::fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(BindError::system("examine", self.path.display(), errno)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => Ok(true),
            Ok(_) => Err(BindError::NotASocket(self.path.to_owned())),
        }
    }

    fn remove_stale(&self) -> Result<(), BindError> {
        if !self.existing_socket()? {
            return Ok(());
        }
        let probe = new_socket().map_err(|errno| self.failed("probe", errno))?;
        let address = self.address()?;
        match rustix::net::connect(&probe, &address) {
            Err(Errno::CONNREFUSED) => {
                tracing::info!(socket = %self.path.display(), "removing the socket of a plugin that is gone");
                rustix::fs::unlinkat(&self.folder, self.name(), AtFlags::empty())
                    .map_err(|errno| self.failed("remove stale socket", errno))
            }
            Err(Errno::NOENT) => Ok(()),
            // A full backlog, or a socket of another type: a process is there.
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
                Err(BindError::InUse(SocketAddress::Path(self.path.to_owned())))
            }
            Err(errno) => Err(self.failed("find out who listens on", errno)),
        }
    }

    fn bind(&self, options: &SocketOptions) -> Result<(OwnedFd, SocketFile), BindError> {
        let socket = new_socket().map_err(|errno| self.failed("create", errno))?;
        let owner_only = Mode::from_raw_mode(SocketMode::OWNER.0);
        rustix::fs::fchmod(&socket, owner_only).map_err(|errno| self.failed("create", errno))?;
        rustix::net::bind(&socket, &self.address()?)
            .map_err(|errno| self.failed("create", errno))?;
        // From here on its drop removes the file if anything fails.
        let file = self.file()?;
        self.open_up_and_listen(&socket, options)?;
        Ok((socket, file))
    }

    fn open_up_and_listen(
        &self,
        socket: &OwnedFd,
        options: &SocketOptions,
    ) -> Result<(), BindError> {
        if let Some(group) = options.group {
            let group = Some(Gid::from_raw(group));
            rustix::fs::chownat(
                &self.folder,
                self.name(),
                None,
                group,
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|errno| self.failed("set the group of", errno))?;
        }
        let mode = Mode::from_raw_mode(options.mode.0);
        rustix::fs::chmodat(&self.folder, self.name(), mode, AtFlags::empty())
            .map_err(|errno| self.failed("set the mode of", errno))?;
        rustix::net::listen(socket, BACKLOG).map_err(|errno| self.failed("listen on", errno))
    }

    fn file(&self) -> Result<SocketFile, BindError> {
        let stat = rustix::fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("examine", errno))?;
        Ok(SocketFile {
            path: self.path.to_owned(),
            identity: identity(&stat),
        })
    }

    fn address(&self) -> Result<SocketAddrUnix, BindError> {
        SocketAddrUnix::new(self.path).map_err(|errno| self.failed("address", errno))
    }

    fn name(&self) -> &Path {
        self.path.file_name().map_or(self.path, Path::new)
    }

    fn failed(&self, action: &'static str, errno: Errno) -> BindError {
        BindError::system(action, self.path.display(), errno)
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn bind_abstract(name: &str, address: &SocketAddress) -> Result<OwnedFd, BindError> {
    let failed = |action| move |errno| BindError::system(action, address, errno);
    let socket = new_socket().map_err(failed("create"))?;
    let name = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(failed("address"))?;
    rustix::net::bind(&socket, &name).map_err(|errno| match errno {
        Errno::ADDRINUSE => BindError::InUse(address.clone()),
        errno => BindError::system("create", address, errno),
    })?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed("listen on"))?;
    Ok(socket)
}

const fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
