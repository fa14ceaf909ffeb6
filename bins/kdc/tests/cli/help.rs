//! `--help`, `--version`, completions and manual pages.

use crate::fixture::Fixture;

const COMMANDS: [&str; 30] = [
    "",
    "keyring",
    "keyring init",
    "keyring add",
    "keyring promote",
    "keyring retire",
    "keyring list",
    "keyring verify",
    "value inspect",
    "value open",
    "plugin check",
    "plugin doctor",
    "plugin bench",
    "backup",
    "backup list",
    "backup inventory",
    "backup prune",
    "backup scan",
    "encryption",
    "encryption status",
    "encryption plan",
    "encryption enable",
    "encryption rotate",
    "encryption disable",
    "encryption abort",
    "encryption resume",
    "encryption rewrite",
    "encryption verify",
    "quickstart",
    "completions",
];

#[test]
fn help_is_what_was_reviewed() {
    let fixture = Fixture::new();
    for command in COMMANDS {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let text = without_otel(fixture.kdc(&arguments).succeeds().text());
        assert!(!text.contains('\u{1b}'));
        let is_leaf = !text.contains("Commands:");
        assert!(
            !is_leaf || text.contains("Example"),
            "`{command}` has no example"
        );
        // One more flag than in what is published.
        let feature = if command == "quickstart" && cfg!(feature = "testbed") {
            " with testbed"
        } else {
            ""
        };
        let name = format!("kdc {command}{feature}").trim().replace(' ', "-");
        insta::assert_snapshot!(name, text);
    }
}

/// Drops the flag that kms-plugin has by its feature `otel`, which a build of the whole workspace may turn on without ours.
fn without_otel(mut text: String) -> String {
    if let Some(start) = text.find("      --otel-endpoint") {
        let len = text[start..].find("\n\n").unwrap() + 2;
        text.replace_range(start..start + len, "");
    }
    text
}

#[test]
fn without_a_command_help_goes_to_standard_error() {
    let fixture = Fixture::new();
    for arguments in [&[][..], &["keyring"], &["value"], &["plugin"], &["backup"]] {
        let run = fixture.kdc(arguments);
        assert_eq!((run.code, run.stdout.as_slice()), (64, b"".as_slice()));
        assert!(run.stderr.contains("Usage: kdc"), "{}", run.stderr);
    }
    fixture
        .kdc(&["keyrings"])
        .fails(64, "unrecognized subcommand 'keyrings'");
    fixture
        .kdc(&["value", "open", "--frob"])
        .fails(64, "unexpected argument '--frob'");
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Fixture::new().kdc(&["--version"]).succeeds().text();
    assert_eq!(version, format!("kdc {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_has_completions() {
    let fixture = Fixture::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = fixture.kdc(&["completions", shell]).succeeds().text();
        assert!(text.contains("quickstart"), "{shell}");
    }
}

#[test]
fn manual_pages_are_written_into_a_folder() {
    let fixture = Fixture::new();
    fixture.kdc(&["man", "."]).succeeds();
    for page in [
        "kdc.1",
        "kdc-keyring-retire.1",
        "kdc-value-open.1",
        "kdc-plugin-check.1",
    ] {
        let text = String::from_utf8(fixture.read(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    fixture.kdc(&["man", "none"]).fails(73, "`none`");
}
