//! One key and the socket it is served on.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kdc_envelope::KeyEncryptionKey;
use kdc_envelope::cache::CachedKek;

use super::ServeError;
use super::address::SocketAddress;
use super::bind::SocketOptions;

/// A key encryption key, and where and how it is served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyEndpoint {
    /// Names it in `/readyz`, in metrics and in logs; every endpoint has a name of its own.
    pub name: String,
    /// Wraps and unwraps.
    pub kek: Arc<dyn KeyEncryptionKey>,
    /// The cluster that seeds are bound to (see [`KmsService::new`](crate::service::KmsService::new)); may be empty.
    pub cluster: String,
    /// Where clients find it, and who may connect.
    pub socket: SocketOptions,
    /// Whether `/readyz` tries to wrap and unwrap, at most every ten seconds. Otherwise it believes the status of `kek`,
    /// so that probes cost a remote backend nothing.
    pub self_test: bool,
    /// The cache that `kek` is, or that lies in it: its counts are shown, and what is too old is wiped from it.
    pub cache: Option<Arc<CachedKek>>,
    /// What the task that keeps the key usable has to tell.
    pub notice: Notice,
}

/// What people should look at although the key works: `/readyz` shows it behind its `ok`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Notice(Arc<Mutex<Option<String>>>);

impl Notice {
    /// Shows `text` from now on, in one line. It must not be secret.
    pub fn set(&self, text: &str) {
        *self.lock() = Some(text.replace(char::is_control, " "));
    }

    /// Shows nothing any more.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyEndpoint {
    /// A key on this machine: `/readyz` tries it, and nothing is cached.
    #[must_use]
    pub fn local(
        name: impl Into<String>,
        kek: Arc<dyn KeyEncryptionKey>,
        cluster: impl Into<String>,
        socket: SocketOptions,
    ) -> Self {
        Self {
            name: name.into(),
            kek,
            cluster: cluster.into(),
            socket,
            self_test: true,
            cache: None,
            notice: Notice::default(),
        }
    }

    /// A key of a remote backend behind a cache: `/readyz` believes its status.
    #[must_use]
    pub fn remote(
        name: impl Into<String>,
        cache: Arc<CachedKek>,
        cluster: impl Into<String>,
        socket: SocketOptions,
    ) -> Self {
        let kek: Arc<dyn KeyEncryptionKey> = Arc::<CachedKek>::clone(&cache);
        Self {
            self_test: false,
            cache: Some(cache),
            ..Self::local(name, kek, cluster, socket)
        }
    }
}

/// Checks what [`Server::bind`](super::Server::bind) checks first: that there are keys, and that no two share a name or
/// a socket. Takes nothing.
///
/// # Errors
/// [`ServeError::NoKeys`], [`ServeError::NameTwice`], [`ServeError::SocketTwice`]
pub fn check_distinct<'a>(
    keys: impl IntoIterator<Item = (&'a str, &'a SocketAddress)>,
) -> Result<(), ServeError> {
    let mut names: HashMap<Place, &str> = HashMap::new();
    for (name, address) in keys {
        if names.values().any(|other| *other == name) {
            return Err(ServeError::NameTwice(name.to_owned()));
        }
        if let Some(other) = names.insert(Place::of(address), name) {
            return Err(ServeError::SocketTwice {
                address: address.clone(),
                keys: [other.to_owned(), name.to_owned()],
            });
        }
    }
    if names.is_empty() {
        return Err(ServeError::NoKeys);
    }
    Ok(())
}

/// What two addresses have in common if they are one: a path may be spelled in many ways.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Place {
    File(PathBuf, Option<OsString>),
    Name(String),
}

impl Place {
    fn of(address: &SocketAddress) -> Self {
        match address {
            SocketAddress::Abstract(name) => Self::Name(name.clone()),
            SocketAddress::Path(path) => {
                let folder = match path.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                // A folder that is not there is found out when the socket is bound.
                let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                Self::File(folder, path.file_name().map(ToOwned::to_owned))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[(&str, &str)]) -> Result<(), String> {
        let keys: Vec<(&str, SocketAddress)> = keys
            .iter()
            .map(|(name, address)| (*name, address.parse().unwrap()))
            .collect();
        check_distinct(keys.iter().map(|(name, address)| (*name, address)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn keys_need_names_and_sockets_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::create_dir(folder.join("real")).unwrap();
        std::os::unix::fs::symlink(folder.join("real"), folder.join("link")).unwrap();
        let path = |path: &str| folder.join(path).to_str().unwrap().to_owned();
        let real = path("real/kms.sock");
        assert_eq!(
            check(&[("a", &real), ("b", "@kms"), ("c", "@kms2")]),
            Ok(())
        );
        assert_eq!(check(&[("a", &real), ("b", &path("kms.sock"))]), Ok(()));
        let twice = "keys `a` and `b` are both to be served on socket";
        for other in [
            &real,
            &path("link/kms.sock"),
            &path("link/../real/kms.sock"),
        ] {
            let error = check(&[("a", &real), ("b", other)]).unwrap_err();
            assert!(error.starts_with(twice), "{error}");
            assert!(error.contains(other), "{error}");
        }
        let error = check(&[("a", "@kms"), ("b", "unix:///@kms")]).unwrap_err();
        assert!(error.starts_with(twice), "{error}");
        let error = check(&[("a", "@x"), ("b", "@y"), ("a", "@z")]).unwrap_err();
        assert!(error.starts_with("two keys are called `a`"), "{error}");
        assert!(check(&[]).is_err());
    }

    #[test]
    fn a_name_alone_and_a_path_from_here_are_one_socket() {
        let error = check(&[("a", "kms.sock"), ("b", "./kms.sock")]).unwrap_err();
        assert!(error.contains("`./kms.sock`"), "{error}");
    }
}
