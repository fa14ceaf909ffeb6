use super::*;

fn sample() -> Keyring {
    let mut keyring = Keyring::generate(1_700_000_000).unwrap();
    keyring.add(1_700_000_100).unwrap();
    keyring.add(1_700_000_200).unwrap();
    keyring.promote(3).unwrap();
    keyring.retire(1, 1_700_000_300).unwrap();
    keyring
}

/// Replaces text and makes the checksum right again, as a mistaken hand might.
fn edited(text: &str, from: &str, to: &str) -> String {
    let body = &text[..text.len() - CHECKSUM_LINE_LEN];
    assert!(body.contains(from), "{from}");
    let body = body.replacen(from, to, 1);
    format!("{body}{CHECKSUM_WORD}{}\n", checksum(&body))
}

fn line_error(text: &str) -> (usize, &'static str) {
    match Keyring::parse(text) {
        Err(ParseKeyringError::Line { line, expected }) => (line, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read_and_written_again_alike() {
    let text = sample().to_text();
    let again = Keyring::parse(&text).unwrap();
    assert_eq!(*again.to_text(), *text);
    assert_eq!(again.current(), 3);
    assert_eq!(again.versions().count(), 3);
}

#[test]
fn every_truncation_is_refused() {
    let text = sample().to_text();
    for len in 0..text.len() {
        assert!(Keyring::parse(&text[..len]).is_err(), "{len}");
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let text = sample().to_text();
    for at in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        assert!(
            Keyring::parse(&String::from_utf8(bytes).unwrap()).is_err(),
            "{at}"
        );
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let text = sample().to_text();
    assert_eq!(
        Keyring::parse(&format!("{}\n", *text)).unwrap_err(),
        ParseKeyringError::Truncated
    );
}

#[test]
fn each_fault_has_its_error() {
    let text = sample().to_text();
    let fails = |from, to| Keyring::parse(&edited(&text, from, to)).unwrap_err();
    assert_eq!(
        Keyring::parse("").unwrap_err(),
        ParseKeyringError::NotAKeyring
    );
    assert_eq!(
        Keyring::parse("age-secret\n").unwrap_err(),
        ParseKeyringError::NotAKeyring
    );
    assert_eq!(
        fails("kdc-keyring 1", "kdc-keyring 2"),
        ParseKeyringError::UnknownFormat("2".into())
    );
    assert_eq!(
        fails("current 3", "current 1"),
        ParseKeyringError::NoCurrent(1)
    );
    assert_eq!(
        fails("current 3", "current 9"),
        ParseKeyringError::NoCurrent(9)
    );
    assert_eq!(
        fails("version 3", "version 2"),
        ParseKeyringError::Order { line: 5, number: 2 }
    );
    assert_eq!(
        line_error(&edited(&text, "current 3\n", "")).1,
        "expected `version`, `retired` or `current` with their fields"
    );
    assert_eq!(
        line_error(&edited(&text, "current 3\n", "current 3\nx\n")).0,
        7
    );
    assert_eq!(line_error(&edited(&text, "version 2 ", "version 02 ")).0, 4);
    assert_eq!(line_error(&edited(&text, "version 2 ", "version +2 ")).0, 4);
    assert_eq!(
        line_error(&edited(&text, "retired 1 ", "retired 0 ")).1,
        "versions count from 1"
    );
    assert_eq!(line_error(&edited(&text, "id ", "id 0")).0, 2);
}

#[test]
fn a_key_of_another_length_is_named_without_its_content() {
    let text = sample().to_text();
    let key_at = text.find("version 2").unwrap() + "version 2 1700000100 ".len();
    let key = &text[key_at..key_at + 44];
    let short = STANDARD.encode([0x41; 16]);
    assert_eq!(
        Keyring::parse(&edited(&text, key, &short)).unwrap_err(),
        ParseKeyringError::KeyLength { line: 4, len: 16 }
    );
    let error = Keyring::parse(&edited(&text, key, "%%%")).unwrap_err();
    assert_eq!(error.to_string(), "line 4: the key is not base64");
}
