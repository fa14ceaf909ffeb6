//! Bytes as people look at them.

/// Sixteen bytes a line: offset, hexadecimal digits, and what is printable.
pub(crate) fn hexdump(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.chunks(16).enumerate();
    lines
        .map(|(number, chunk)| {
            let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String = chunk
                .iter()
                .map(|byte| {
                    if matches!(byte, b' '..=b'~') {
                        char::from(*byte)
                    } else {
                        '.'
                    }
                })
                .collect();
            format!("{:08x}  {:<47}  |{text}|", number * 16, digits.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::hexdump;

    #[test]
    fn bytes_are_shown_twice() {
        assert_eq!(
            hexdump(b"k8s:enc:kms:v2:local\n\0\xff"),
            [
                "00000000  6b 38 73 3a 65 6e 63 3a 6b 6d 73 3a 76 32 3a 6c  |k8s:enc:kms:v2:l|",
                "00000010  6f 63 61 6c 0a 00 ff                             |ocal...|",
            ]
        );
    }
}
