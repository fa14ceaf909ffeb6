//! What the command line takes, what it refuses, and with which exit code.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use crate::fixture::{Place, output, program, stderr};
use clap::Parser as _;
use kdc_shared::logging::LogFormat;
use kdc_shared::plugin::{FileSource, KeySource, Settings, read};
use kms_plugin::cli::{Cli, Command};

fn code(arguments: &[&str]) -> (i32, String) {
    let output = output(arguments);
    (output.status.code().unwrap(), stderr(&output))
}

#[test]
fn every_fault_has_one_line_and_its_code() {
    let place = Place::new();
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let keyring = place.keyring.to_str().unwrap();
    let socket = place.socket.to_str().unwrap();
    let write = |name: &str, content: &str, mode: u32| {
        fs::write(path(name), content).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        path(name)
    };
    let open = write("open", &fs::read_to_string(keyring).unwrap(), 0o644);
    let damaged = write("damaged", "not a keyring", 0o600);
    let short = write("short", "too short", 0o600);
    let both = write("both.yaml", "keyring: a\nroot-secret: b\n", 0o600);
    let unknown = write("unknown.yaml", "sockets: /x\n", 0o600);
    let broken = write("broken.yaml", "socket: [\n", 0o600);
    let world = path("world");
    fs::create_dir(&world).unwrap();
    fs::set_permissions(&world, Permissions::from_mode(0o1777)).unwrap();
    let in_world = format!("{world}/kms.sock");
    let missing_parent = path("missing/kms.sock");
    let too_long = format!("/{}", "x".repeat(107));
    let live = path("live.sock");
    let _listener = UnixListener::bind(&live).unwrap();
    let cases: &[(i32, &str, &[&str])] = &[
        (64, "no socket given", &[]),
        (64, "no key given", &["--socket", socket]),
        (64, "--nonsense", &["--nonsense"]),
        (
            64,
            "cannot be used with",
            &["--keyring", "a", "--root-secret", "b"],
        ),
        (
            64,
            "has 108 bytes, more than the 107",
            &["--socket", &too_long],
        ),
        (64, "0600 for the owner alone", &["--socket-mode", "0666"]),
        (64, "not an octal number", &["--socket-mode", "rw"]),
        (64, "--log-level", &["--log-level", "loud"]),
        (64, "--log-level", &["--log-level", ""]),
        (64, "--http-address", &["--http-address", "localhost"]),
        (
            66,
            "cannot open",
            &["--socket", socket, "--keyring", "/nonexistent"],
        ),
        (
            66,
            "cannot read configuration file",
            &["--config", "/nonexistent"],
        ),
        (
            73,
            "does not exist",
            &["--keyring", keyring, "--socket", &missing_parent],
        ),
        (
            73,
            "writable by everybody",
            &["--keyring", keyring, "--socket", &in_world],
        ),
        (
            73,
            "is not a socket",
            &["--keyring", keyring, "--socket", &damaged],
        ),
        (
            73,
            "another process listens",
            &["--keyring", keyring, "--socket", &live],
        ),
        (77, "chmod 600", &["--socket", socket, "--keyring", &open]),
        (
            78,
            "no usable keyring",
            &["--socket", socket, "--keyring", &damaged],
        ),
        (
            78,
            "exactly 32",
            &["--socket", socket, "--root-secret", &short],
        ),
        (78, "both `keyring` and `root-secret`", &["--config", &both]),
        (78, "unknown field `sockets`", &["--config", &unknown]),
        (78, "broken.yaml", &["--config", &broken]),
        (
            78,
            "is not in /etc/group",
            &[
                "--socket",
                socket,
                "--keyring",
                keyring,
                "--socket-group",
                "no such group",
            ],
        ),
    ];
    for (expected, words, arguments) in cases {
        let (code, line) = code(arguments);
        assert_eq!(code, *expected, "{arguments:?}: {line}");
        assert!(line.contains(words), "{arguments:?}: {line}");
        assert!(
            line.starts_with("kms-plugin: error: "),
            "{arguments:?}: {line}"
        );
        assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    }
    assert!(!place.socket.exists());
}

#[test]
fn validate_checks_everything_and_starts_nothing() {
    let place = Place::new();
    let keyring = place.keyring.to_str().unwrap();
    let socket = place.socket.to_str().unwrap();
    let good = output(&["validate", "--socket", socket, "--keyring", keyring]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let shown = String::from_utf8(good.stdout).unwrap();
    assert_eq!(shown.lines().count(), 2);
    assert!(shown.lines().all(|line| line.starts_with("ok ")), "{shown}");
    assert!(!place.socket.exists());

    symlink("/nonexistent", &place.socket).unwrap();
    let bad = output(&["validate", "--socket", socket, "--keyring", "/nonexistent"]);
    assert_eq!(bad.status.code(), Some(78));
    let shown = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(shown.matches("FAIL ").count(), 2, "all faults: {shown}");
}

#[test]
fn validate_accepts_the_socket_of_the_plugin_that_runs() {
    let place = Place::new();
    let _listener = UnixListener::bind(&place.socket).unwrap();
    let good = output(&[
        "validate",
        "--socket",
        place.socket.to_str().unwrap(),
        "--keyring",
        place.keyring.to_str().unwrap(),
    ]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
}

#[test]
fn flags_override_the_environment_and_that_the_file() {
    let place = Place::new();
    let file = place.path("config.yaml");
    let from_file = place.path("from-file");
    let text = format!(
        "socket: {}/kms.sock\nroot-secret: /nonexistent/secret\n",
        from_file.display()
    );
    fs::write(&file, text).unwrap();
    let run = |environment: &[(&str, &str)], flags: &[&str]| {
        let mut command = program();
        command.args(["validate", "--config", file.to_str().unwrap()]);
        let output = command
            .args(flags)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = run(&[], &[]);
    assert!(shown.contains("/nonexistent/secret"), "{shown}");
    assert!(shown.contains("from-file"), "{shown}");
    let shown = run(&[("KMS_PLUGIN_KEYRING", "/nonexistent/env")], &[]);
    assert!(shown.contains("/nonexistent/env"), "{shown}");
    let shown = run(
        &[("KMS_PLUGIN_KEYRING", "/nonexistent/env")],
        &[
            "--keyring",
            "/nonexistent/flag",
            "--socket",
            "/nonexistent/flag/s",
        ],
    );
    assert!(shown.contains("`/nonexistent/flag`"), "{shown}");
    assert!(!shown.contains("from-file"), "{shown}");
}

#[test]
fn a_file_holds_every_setting_under_the_name_of_its_flag() {
    let place = Place::new();
    let file = place.path("config.yaml");
    let text = "
socket: unix:///run/kms.sock
keyring: /etc/keyring
cluster: prod
socket-mode: \"0660\"
socket-group: \"1234\"
allow-uid: [0, 65532]
http-address: 127.0.0.1:8082
log-format: json
log-level: debug,h2=warn
";
    fs::write(&file, text).unwrap();
    let settings = Settings::resolve(read(&file).unwrap()).unwrap();
    let key = &settings.keys[0];
    assert_eq!(key.socket.address.to_string(), "/run/kms.sock");
    assert!(
        matches!(&key.source, KeySource::File(FileSource::Keyring(path)) if path == "/etc/keyring")
    );
    assert_eq!(key.cluster, "prod");
    assert_eq!(key.name, "kube-dc-kms-plugin");
    assert_eq!(key.socket.mode.to_string(), "0660");
    assert_eq!(key.socket.group, Some(1234));
    assert_eq!(key.socket.allowed_uids, Some(vec![0, 65532]));
    assert_eq!(settings.http_address.unwrap().port(), 8082);
    assert_eq!(settings.log_format, LogFormat::Json);
    let unquoted = text.replace("\"0660\"", "0660");
    fs::write(&file, unquoted).unwrap();
    let settings = Settings::resolve(read(&file).unwrap()).unwrap();
    assert_eq!(
        settings.keys[0].socket.mode.to_string(),
        "0660",
        "octal without quotes"
    );
}

#[test]
fn the_group_opens_the_mode() {
    let resolve = |arguments: &[&str]| {
        let arguments = ["kms-plugin", "--socket", "/s", "--keyring", "/k"]
            .iter()
            .chain(arguments);
        let given = Cli::try_parse_from(arguments).unwrap().options.given;
        let settings = Settings::resolve(given).unwrap();
        settings.keys.into_iter().next().unwrap()
    };
    assert_eq!(resolve(&[]).socket.mode.to_string(), "0600");
    let grouped = resolve(&["--socket-group", "7"]);
    assert_eq!(grouped.socket.mode.to_string(), "0660");
    let narrowed = resolve(&["--socket-group", "7", "--socket-mode", "0620"]);
    assert_eq!(narrowed.socket.mode.to_string(), "0620");
    let listed = resolve(&["--allow-uid", "1,2", "--allow-uid", "3"]);
    assert_eq!(listed.socket.allowed_uids, Some(vec![1, 2, 3]));
}

#[test]
fn the_examples_in_the_help_parse() {
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap().replace("\\\n", "");
    let mut examples = 0;
    for line in help.lines().map(str::trim) {
        if line.starts_with("kms-plugin -") || line.starts_with("kms-plugin validate -") {
            Cli::try_parse_from(line.split_whitespace()).unwrap();
            examples += 1;
        }
    }
    assert_eq!(examples, 7);
    for code in ["64", "66", "73", "74", "77", "78"] {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}");
    }
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output(&["completions", shell]);
        assert_eq!(script.status.code(), Some(0));
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("root-secret"), "{shell}");
    }
    assert_eq!(code(&["completions", "tcsh"]).0, 64);
}

#[test]
fn version_and_subcommands_are_understood() {
    let version = output(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let cli = Cli::try_parse_from(["kms-plugin", "validate", "--config", "x"]).unwrap();
    assert!(matches!(cli.command, Some(Command::Validate(_))));
    assert_eq!(
        code(&["--config", "x", "validate"]).0,
        64,
        "settings go after it"
    );
}

/// A pipe would be waited for, and a file without end would fill the memory.
#[test]
fn a_configuration_that_is_no_file_of_a_sensible_size_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, huge) = (folder.path().join("pipe"), folder.path().join("huge"));
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    File::create(&huge).unwrap().set_len(2 << 30).unwrap();
    for (path, words) in [
        (pipe.as_path(), "is not a regular file"),
        ("/dev/zero".as_ref(), "is not a regular file"),
        (&huge, "has more than 1 MiB"),
    ] {
        let path = path.to_str().unwrap();
        for arguments in [&["validate", "--config", path][..], &["--config", path]] {
            let refused = output(arguments);
            assert_eq!(refused.status.code(), Some(78), "{path}");
            assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
        }
    }
}

#[test]
fn a_text_that_cannot_be_written_is_a_failure() {
    for arguments in [&["--help"][..], &["--version"], &["completions", "bash"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run = program().args(arguments).stdout(full).output().unwrap();
        assert_eq!(run.status.code(), Some(74), "{arguments:?}");
        let line = stderr(&run);
        assert!(line.contains("cannot write to standard output"), "{line}");
    }
}
