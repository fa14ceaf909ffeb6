//! What programs print of bytes, read back.

use crate::etcd::Row;

/// Why a text is not what the program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {reason}")]
pub(super) struct BadText {
    line: usize,
    reason: &'static str,
}

/// The bytes of a dump as `hexdump -C` and `xxd` print it.
pub(super) fn hexdump(text: &[u8]) -> Result<Vec<u8>, BadText> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    let mut is_repeated = false;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii_end();
        let bad = |reason| BadText {
            line: number + 1,
            reason,
        };
        if line.is_empty() {
            continue;
        }
        // Lines like the one before.
        if line == b"*" {
            is_repeated = true;
            continue;
        }
        let (offset, digits) = dump_line(line).ok_or_else(|| bad("is not one of a hex dump"))?;
        while is_repeated && bytes.len() < offset && !last.is_empty() {
            bytes.extend_from_slice(&last);
        }
        is_repeated = false;
        if bytes.len() != offset {
            return Err(bad("does not go on where the line before ends"));
        }
        last = hex::decode(digits).map_err(|_| bad("has other than hexadecimal digits"))?;
        bytes.extend_from_slice(&last);
    }
    Ok(bytes)
}

/// The offset of a line, and its digits without spaces.
fn dump_line(line: &[u8]) -> Option<(usize, Vec<u8>)> {
    let line = core::str::from_utf8(line).ok()?;
    let end = line
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (offset, rest) = line.split_at_checked(end)?;
    let offset = usize::from_str_radix(offset, 16).ok()?;
    let digits = match rest.strip_prefix(": ") {
        Some(rest) => rest.split("  ").next(),
        None => rest.split('|').next(),
    };
    let digits = digits?.bytes().filter(|byte| *byte != b' ').collect();
    Some((offset, digits))
}

/// Keys and values as `etcdctl get -w fields` prints them.
pub(super) fn fields(text: &[u8]) -> Result<Vec<Row>, BadText> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii_end();
        let bad = |reason| BadText {
            line: number + 1,
            reason,
        };
        let quoted = |text| unquote(text).ok_or_else(|| bad("is not quoted as Go does"));
        if let Some(key) = line.strip_prefix(b"\"Key\" : ") {
            rows.push(Row {
                key: quoted(key)?,
                value: Vec::new(),
            });
        } else if let Some(value) = line.strip_prefix(b"\"Value\" : ") {
            let row = rows
                .last_mut()
                .ok_or_else(|| bad("has a value without a key"))?;
            row.value = quoted(value)?;
        }
    }
    Ok(rows)
}

/// A string literal of Go, as `%q` prints it.
fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (letter, after) = rest.split_first()?;
        rest = after;
        let plain = match letter {
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'\\' | b'"' => *letter,
            b'x' | b'u' | b'U' => {
                let len = match letter {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                };
                let (digits, after) = rest.split_at_checked(len)?;
                rest = after;
                let number = u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
                match letter {
                    b'x' => bytes.push(u8::try_from(number).ok()?),
                    _ => {
                        let mut buffer = [0; 4];
                        let c = char::from_u32(number)?;
                        bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                    }
                }
                continue;
            }
            _ => return None,
        };
        bytes.push(plain);
    }
    Some(bytes)
}

/// The key and the value that `etcdctl get KEY` prints, each with a line feed behind it; with `--hex` as `\x2f\x72`.
///
/// A key has no line feed, a value may. So of several rows it cannot be told where one ends.
pub(super) fn etcdctl(text: &[u8]) -> Result<Row, BadText> {
    let bad = |line, reason| BadText { line, reason };
    let end = text.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| bad(1, "has no value after it"))?;
    let (key, rest) = text.split_at(end);
    let value = rest.get(1..).unwrap_or_default();
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    if key.starts_with(b"\\x") {
        let decode = |number, text: &[u8]| {
            let digits: Vec<u8> = text
                .iter()
                .copied()
                .filter(|byte| !matches!(byte, b'\\' | b'x'))
                .collect();
            hex::decode(digits).map_err(|_| bad(number, "has other than hexadecimal digits"))
        };
        return Ok(Row {
            key: decode(1, key)?,
            value: decode(2, value)?,
        });
    }
    if !key.starts_with(b"/") {
        return Err(bad(
            1,
            "is no key of an API server, which begins with a slash",
        ));
    }
    let is_next = |at: &usize| {
        let rest = value.get(at + 1..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let after = rest.get(line.len() + 1..).unwrap_or_default();
        let is_value = [b"k8s:enc:".as_slice(), b"k8s\0", b"{"];
        line.starts_with(b"/") && is_value.iter().any(|start| after.starts_with(start))
    };
    let mut feeds = value
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at);
    if feeds.any(|at| is_next(&at)) {
        return Err(bad(
            1,
            "is not the only key; of several rows take `-w json`",
        ));
    }
    Ok(Row {
        key: key.to_vec(),
        value: value.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_read_back() {
        let bytes: Vec<u8> = (0..=255).chain([7; 64]).chain(0..5).collect();
        let text = crate::hexdump::hexdump(&bytes).join("\n");
        assert_eq!(hexdump(text.as_bytes()).unwrap(), bytes);
        let xxd = b"00000000: 6b38 733a 656e 633a 6b6d 733a 7632 3a6c  k8s:enc:kms:v2:l\n00000010: 6f63 61                                  oca\n";
        assert_eq!(hexdump(xxd).unwrap(), b"k8s:enc:kms:v2:loca");
        let squeezed = b"00000000  61 61 61 61 61 61 61 61  61 61 61 61 61 61 61 61  |aaaaaaaaaaaaaaaa|\n*\n00000030  62                                                |b|\n00000031\n";
        let expected = [[b'a'; 48].as_slice(), b"b"].concat();
        assert_eq!(hexdump(squeezed).unwrap(), expected);
        let gap = b"00000000  61  |a|\n00000010  62  |b|\n";
        assert_eq!(
            hexdump(gap).unwrap_err().to_string(),
            "line 2 does not go on where the line before ends"
        );
        assert!(hexdump(b"no dump").is_err());
    }

    #[test]
    fn fields_are_unquoted_as_go_quotes_them() {
        let text = b"\"ClusterID\" : 1\n\"Key\" : \"/a\\\"b\"\n\"Lease\" : 0\n\"Value\" : \"k8s:\\x00\\xff\\n\\\\\\u00e9\\U0001F600\xc3\xa9\"\n\"Count\" : 1\n";
        let value = "k8s:".as_bytes().iter().chain(b"\0\xff\n\\");
        let value: Vec<u8> = value
            .chain("\u{e9}\u{1f600}\u{e9}".as_bytes())
            .copied()
            .collect();
        let rows = fields(text).unwrap();
        let [row] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        assert_eq!((row.key.as_slice(), &row.value), (&b"/a\"b"[..], &value));
        assert!(fields(b"\"Value\" : \"x\"\n").is_err());
        assert!(fields(b"\"Key\" : \"\\q\"\n").is_err());
        assert!(fields(b"\"Key\" : \"\\x6\"\n").is_err());
    }

    #[test]
    fn a_printed_row_is_taken_apart() {
        let Row { key, value } = etcdctl(b"/registry/a\nk8s:enc:\n\nx\n").unwrap();
        assert_eq!(
            (key.as_slice(), value.as_slice()),
            (&b"/registry/a"[..], &b"k8s:enc:\n\nx"[..])
        );
        let Row { key, value } = etcdctl(b"\\x2f\\x61\n\\x6b\\x38\n").unwrap();
        assert_eq!((key.as_slice(), value.as_slice()), (&b"/a"[..], &b"k8"[..]));
        assert!(etcdctl(b"/a\nk8s:enc:x\n/b\nk8s:enc:y\n").is_err());
        assert!(etcdctl(b"/a").is_err());
        assert!(etcdctl(b"k8s:enc:x\n").is_err());
    }
}
