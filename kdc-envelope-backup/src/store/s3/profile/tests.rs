use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const CONFIG: &str = "\
# comment
[default]
region = eu-central-1
[profile  backup]
region=eu-west-1
s3 =
  endpoint_url = https://nested.example
endpoint_url = https://s3.example # ours
";

#[test]
fn a_section_is_found_by_its_name() {
    let get = |name: &str, key: &str| {
        let section = section(CONFIG, name, true).unwrap()?;
        section.get(key).map(|value| (**value).clone())
    };
    assert_eq!(get("default", "region").as_deref(), Some("eu-central-1"));
    assert_eq!(get("backup", "region").as_deref(), Some("eu-west-1"));
    assert_eq!(
        get("backup", "endpoint_url").as_deref(),
        Some("https://s3.example")
    );
    assert_eq!(get("other", "region"), None);
    let credentials = "[backup]\nAWS_ACCESS_KEY_ID = AKIA\naws_secret_access_key= a/b=\n";
    let section = section(credentials, "backup", false).unwrap().unwrap();
    assert_eq!(&**section.get("aws_access_key_id").unwrap(), "AKIA");
    assert_eq!(&**section.get("aws_secret_access_key").unwrap(), "a/b=");
}

#[test]
fn other_sections_may_hold_what_they_like() {
    let text = "stray\n[other]\nno setting\n[x]\nregion = r\n[services s]\nwhat ever\n";
    assert_eq!(section(text, "x", false).unwrap().unwrap().len(), 1);
}

/// Files that are refused, and what is said. None of it is ever a value.
#[test]
fn damaged_profiles_are_refused_in_one_line() {
    const SECRET: &str = "wJalrXUtnFEMI";
    let key = "aws_access_key_id = AKIA\n";
    let secret = format!("aws_secret_access_key = {SECRET}\n");
    let of_x = |settings: &str| format!("[x]\n{settings}").into_bytes();
    let long = format!("[x]\n{secret}#{}\n", "x".repeat(1 << 20)).into_bytes();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("empty", Vec::new(), "no profile `x`"),
        ("another", b"[y]\nregion = r\n".to_vec(), "no profile `x`"),
        ("as in config", b"[profile x]\n".to_vec(), "no profile `x`"),
        (
            "open heading",
            b"[x\nregion = r\n".to_vec(),
            "line 1: a heading without `]`",
        ),
        (
            "open heading elsewhere",
            of_x("region = r\n[y\n"),
            "line 3: a heading without `]`",
        ),
        (
            "no equals sign",
            of_x(&format!("{key}{SECRET}\n")),
            "line 3: a setting without `=`",
        ),
        (
            "colon",
            of_x(&format!("secret: {SECRET}\n")),
            "line 2: a setting without `=`",
        ),
        ("role", of_x("role_arn = arn\n"), "has `role_arn`"),
        (
            "single sign-on",
            of_x("sso_session = s\n"),
            "has `sso_session`",
        ),
        (
            "program",
            of_x(&format!("credential_process = p {SECRET}\n")),
            "has `credential_process`",
        ),
        ("long", long, "has more than 1 MiB"),
        ("not UTF-8", b"[x]\nregion = \xff\n".to_vec(), "valid UTF-8"),
    ];
    let folder = TempDir::new().unwrap();
    for (name, content, words) in cases {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let failure = load(&environment(&file)).err().unwrap();
        let line = crate::store::tests::line(&failure);
        assert_eq!(failure.kind(), ErrorKind::Configuration, "{name}: {line}");
        assert!(line.contains(words), "{name}: {line}");
        assert!(
            !line.contains(SECRET) && !line.contains('\n'),
            "{name}: {line}"
        );
    }
}

/// The profile `x` of one file.
fn environment(credentials: &Path) -> Environment {
    let file = credentials.to_str().unwrap();
    [
        ("AWS_PROFILE", "x"),
        ("AWS_SHARED_CREDENTIALS_FILE", file),
        ("AWS_CONFIG_FILE", "/nowhere/config"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// A section as people write it.
fn print(heading: &str, settings: &Settings) -> String {
    let lines = settings
        .iter()
        .map(|(key, value)| format!("{key}={}\n", **value));
    format!("[{heading}]\n{}", lines.collect::<String>())
}

/// Text of the characters that mean something here.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(\\[?(profile )?x?\\]?[ =#;a\t\r\n\u{feff}\u{2028}]*){0,20}",
    ]
}

proptest! {
    #[test]
    fn no_text_panics_and_what_was_read_is_read_again(text in text(), has_prefix: bool) {
        if let Ok(Some(settings)) = section(&text, "x", has_prefix) {
            let heading = if has_prefix { "profile x" } else { "x" };
            let again = section(&print(heading, &settings), "x", has_prefix);
            prop_assert_eq!(again, Ok(Some(settings)));
        }
    }

    #[test]
    fn what_is_printed_is_read(
        settings in prop::collection::btree_map("[a-z_]{1,20}", "[!-~]([ -~]{0,30}[!-~])?", 0..8),
        name in "[a-zA-Z0-9._-]{1,12}",
        before in "(; comment\n|\n|\\[profile other\\]\nregion = r\n){0,4}",
        after in "(# comment\n|\n|\\[other\\]\nregion = r\n){0,4}",
    ) {
        prop_assume!(name != "other" && settings.values().all(|value| !value.contains(" #")));
        let settings: Settings = settings
            .into_iter()
            .map(|(key, value)| (key, Zeroizing::new(value)))
            .collect();
        for (heading, has_prefix) in [(format!("profile {name}"), true), (name.clone(), false)] {
            let text = format!("{before}{}{after}", print(&heading, &settings));
            let read = section(&text, &name, has_prefix).unwrap();
            prop_assert_eq!(read.as_ref(), Some(&settings));
        }
    }
}
