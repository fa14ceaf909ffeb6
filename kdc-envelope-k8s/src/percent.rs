//! Percent-encoding of URLs (RFC 3986, 2.1), undone as strictly as Go's `net/url` does.

/// The bytes of `text`; `None` if an escape is broken.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_two_hexadecimal_digits() {
        assert_eq!(decoded("a%2fb%2F").unwrap(), b"a/b/");
        assert_eq!(decoded("%ff").unwrap(), [0xff]);
        for broken in ["%", "%2", "a%zz", "%+1", "%é"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
