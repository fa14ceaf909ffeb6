//! The folder of a socket. A user who may put files there, or put another folder in its place, could answer kube-apiserver instead of
//! us, and would be sent seeds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Statx, StatxAttributes, StatxFlags};

use super::bind::BindError;

/// Checks that only our user and root may change what `path` leads to; and the members of the group of the socket, which
/// may connect anyway.
pub(super) fn check(path: &Path, socket_group: Option<u32>) -> Result<(), BindError> {
    let folder = examine(path)?;
    check_owner(path, &folder)?;
    let mode = u32::from(folder.stx_mode) & 0o7777;
    if mode & 0o002 != 0 {
        return Err(BindError::ParentWritableByOthers {
            path: path.to_owned(),
            mode,
        });
    }
    if mode & 0o020 != 0 && socket_group != Some(folder.stx_gid) {
        return Err(BindError::ParentWritableByGroup {
            path: path.to_owned(),
            mode,
            group: folder.stx_gid,
        });
    }
    for above in all_above(path)? {
        check_above(&above, socket_group)?;
    }
    Ok(())
}

fn check_above(path: &Path, socket_group: Option<u32>) -> Result<(), BindError> {
    let folder = examine(path)?;
    check_owner(path, &folder)?;
    let mode = u32::from(folder.stx_mode) & 0o7777;
    let by_group = mode & 0o020 != 0 && folder.stx_gid != 0 && socket_group != Some(folder.stx_gid);
    let by_others = mode & 0o002 != 0;
    // In a sticky folder such as /tmp, no user moves what belongs to others. The root of a mounted volume is writable for all in
    // a pod, and only the containers that mount it get there.
    let is_harmless =
        mode & 0o1000 != 0 || folder.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    if (by_others || by_group) && !is_harmless {
        return Err(BindError::AncestorWritable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn check_owner(path: &Path, folder: &Statx) -> Result<(), BindError> {
    let owner = folder.stx_uid;
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(BindError::ForeignFolder {
        path: path.to_owned(),
        owner,
    })
}

fn examine(path: &Path) -> Result<Statx, BindError> {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .map_err(|errno| BindError::system("examine folder", path.display(), errno))
}

/// Every folder above `path`: as it is written, for users who may change a link on the way, and as it is in truth.
fn all_above(path: &Path) -> Result<BTreeSet<PathBuf>, BindError> {
    let failed = |source: io::Error| BindError::System {
        action: "examine folder",
        target: path.display().to_string(),
        source,
    };
    let written = std::path::absolute(path).map_err(failed)?;
    let real = path.canonicalize().map_err(failed)?;
    let above = [written.as_path(), real.as_path()];
    let above = above.iter().flat_map(|path| path.ancestors().skip(1));
    Ok(above.map(Path::to_owned).collect())
}
