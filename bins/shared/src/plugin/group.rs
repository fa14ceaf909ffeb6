//! Finds the number of a group. A static program has no name service, so names come from `/etc/group` alone.

use std::fs;
use std::io;

const GROUP_FILE: &str = "/etc/group";

/// A group that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The name is not in the file.
    #[error("socket group `{0}` is not in {GROUP_FILE}; give its number instead")]
    Unknown(String),
    /// The file cannot be read.
    #[error("cannot read {GROUP_FILE} to find socket group `{group}`; give its number instead")]
    Read {
        /// The name.
        group: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The number of `group`, which is a number or a name.
pub(super) fn number(group: &str) -> Result<u32, GroupError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let file = fs::read_to_string(GROUP_FILE).map_err(|source| GroupError::Read {
        group: group.to_owned(),
        source,
    })?;
    find(&file, group).ok_or_else(|| GroupError::Unknown(group.to_owned()))
}

/// Lines of the file are `name:password:number:members`.
fn find(file: &str, group: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whole_and_broken_lines_ignored() {
        let file = "root:x:0:\n\nbroken\nkube:x:12a:\nkube-apiserver:x:2000:a,b\nkube:x:2001:\n";
        assert_eq!(find(file, "root"), Some(0));
        assert_eq!(find(file, "kube"), Some(2001));
        assert_eq!(find(file, "kube-apiserver"), Some(2000));
        assert_eq!(find(file, "broken"), None);
        assert_eq!(find(file, ""), None);
        assert_eq!(number("4242").unwrap(), 4242);
        assert!(number("no such group").is_err());
    }
}
