//! Notices a credential where the name of a file belongs, before an error message repeats it.

/// How tokens of OpenBao and Vault begin: service, batch and recovery tokens; and JWTs.
const PREFIXES: [&str; 8] = ["s.", "b.", "r.", "hvs.", "hvb.", "hvr.", "bvs.", "eyJ"];
/// No token is shorter, in bytes.
const MIN_LEN: usize = 16;

/// Whether `text` looks like a token or a secret id rather than like a path or a URL.
pub(super) fn looks_secret(text: &str) -> bool {
    let text = text.trim();
    let is_token = || text.len() >= MIN_LEN && PREFIXES.iter().any(|start| text.starts_with(start));
    !text.contains('/') && (is_token() || is_uuid(text))
}

/// Secret ids are UUIDs.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_from_paths() {
        for secret in [
            "s.aBcDeFgHiJkLmNoP",
            "hvs.CAESIJaBcDeFgHiJ",
            "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
            "eeb7bd8c-0a1c-4c5e-9b0e-2f1a1f3c7d10\n",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for path in [
            "/run/secrets/token",
            "token",
            "s.short",
            "./s.aBcDeFgHiJkLmNoP",
            "eeb7bd8c-0a1c-4c5e-9b0e-2f1a1f3c7d1",
            "eeb7bd8c-0a1c-4c5e-9b0e/2f1a1f3c7d10",
            "https://s.example.com:8200",
        ] {
            assert!(!looks_secret(path), "{path}");
        }
    }
}
