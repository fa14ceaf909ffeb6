//! Credentials in files: read anew whenever they are needed, never kept longer, never shown.

use core::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use zeroize::{Zeroize as _, Zeroizing};

use crate::error::CredentialError;

/// No token, secret id or certificate chain is longer, in bytes.
const MAX_FILE_LEN: u64 = 256 * 1024;
const OPEN_TO_OTHERS: u32 = 0o007;

/// Whether a file may be readable by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// A process that can read it can act as this one.
    Private,
    /// It is public, or another program (kubelet) decides on its mode and makes it short-lived.
    Any,
}

/// Reads a whole file.
pub(crate) fn read(
    what: &'static str,
    path: &Path,
    privacy: Privacy,
) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let shown = shown(path);
    let failed = |source: std::io::Error| CredentialError::Read {
        what,
        path: Arc::clone(&shown),
        source: Arc::new(source),
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(CredentialError::Content {
            what,
            path: shown,
            expected: "anything: it is not a regular file",
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if privacy == Privacy::Private && mode & OPEN_TO_OTHERS != 0 {
        return Err(CredentialError::TooOpen {
            what,
            path: shown,
            mode,
        });
    }
    // Room for all of it at once, so that no outgrown buffer stays behind unwiped.
    let len = metadata.len().min(MAX_FILE_LEN) + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default()));
    file.take(MAX_FILE_LEN + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > MAX_FILE_LEN {
        return Err(CredentialError::Content {
            what,
            path: shown,
            expected: "a credential: it is far too long",
        });
    }
    if content.trim_ascii().is_empty() {
        return Err(CredentialError::Empty { what, path: shown });
    }
    Ok(content)
}

/// Reads a file that holds one word, such as a token.
pub(crate) fn read_word(
    what: &'static str,
    path: &Path,
    privacy: Privacy,
) -> Result<Secret, CredentialError> {
    let content = read(what, path, privacy)?;
    let word = content.trim_ascii();
    match core::str::from_utf8(word) {
        Ok(word) if word.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Secret::from(word)),
        _ => {
            let before = content.len() - content.trim_ascii_start().len();
            let Oddity {
                line,
                column,
                found,
            } = Oddity::first(&content, before, word.len());
            Err(CredentialError::NotOneWord {
                what,
                path: shown(path),
                line,
                column,
                found,
            })
        }
    }
}

/// A character that no credential has, and where it is.
struct Oddity {
    line: usize,
    column: usize,
    found: String,
}

impl Oddity {
    /// The first one in the word of `len` bytes that begins at `start`.
    fn first(content: &[u8], start: usize, len: usize) -> Self {
        let word = content.get(start..).unwrap_or_default();
        let at = word
            .iter()
            .position(|byte| !byte.is_ascii_graphic())
            .unwrap_or(len);
        let (before, rest) = content.split_at(content.len().min(start + at));
        let last_line = before.rsplit(|byte| *byte == b'\n').next();
        Self {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + last_line.unwrap_or_default().len(),
            found: named(rest),
        }
    }
}

/// What stands at the beginning of `rest`, in words.
fn named(rest: &[u8]) -> String {
    let first = rest.utf8_chunks().next();
    let letter = first.and_then(|chunk| chunk.valid().chars().next());
    match letter {
        Some(' ') => "a space".to_owned(),
        Some('\t') => "a tab".to_owned(),
        Some('\n' | '\r') => "a line break".to_owned(),
        Some(letter) => format!("U+{:04X}", u32::from(letter)),
        None => "not UTF-8".to_owned(),
    }
}

fn shown(path: &Path) -> Arc<str> {
    path.display().to_string().escape_debug().to_string().into()
}

/// A token or another secret word. Wiped when dropped; `Debug` shows nothing.
pub(crate) struct Secret(Box<str>);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn word(content: &[u8], mode: u32) -> Result<String, String> {
        let file = file(content, mode);
        read_word("token", file.path(), Privacy::Private)
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string().replace(&*shown(file.path()), "F"))
    }

    #[test]
    fn a_word_may_end_in_a_line_break() {
        assert_eq!(word(b"s.abc\n", 0o600).unwrap(), "s.abc");
        assert_eq!(word(b" s.abc \r\n", 0o640).unwrap(), "s.abc");
    }

    #[test]
    fn bad_files_are_told_apart() {
        for (content, mode, message) in [
            (&b""[..], 0o600, "token file `F` is empty"),
            (b" \n", 0o600, "token file `F` is empty"),
            (
                b"a b",
                0o600,
                "token file `F` does not hold one word of printable ASCII characters: line 1, character 2 is a space",
            ),
            (
                b"\n s.a\nb\n",
                0o600,
                "token file `F` does not hold one word of printable ASCII characters: line 2, character 5 is a line break",
            ),
            (
                b"\xef\xbb\xbfs.a",
                0o600,
                "token file `F` does not hold one word of printable ASCII characters: line 1, character 1 is U+FEFF",
            ),
            (
                b"s.a\xff",
                0o600,
                "token file `F` does not hold one word of printable ASCII characters: line 1, character 4 is not UTF-8",
            ),
            (
                b"s.abc",
                0o604,
                "token file `F` has mode 0604, open to others; run `chmod 600` on it and replace the credential",
            ),
        ] {
            assert_eq!(word(content, mode).unwrap_err(), message);
        }
        let huge = vec![b'a'; 300 * 1024];
        assert!(word(&huge, 0o600).unwrap_err().contains("far too long"));
        let missing = read("token", Path::new("/nowhere/token"), Privacy::Any).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "cannot read token file `/nowhere/token`"
        );
        assert!(read("token", Path::new("/"), Privacy::Any).is_err());
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret(..)");
    }
}
