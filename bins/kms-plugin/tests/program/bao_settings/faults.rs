//! What is refused, with which words and exit code.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::KEY;
use crate::fixture::{Place, output, program, stderr};

/// Flags that follow [`KEY`], and what the one line says. Exit code 64.
const FAULTS: &[(&str, &str)] = &[
    ("", "--bao-role is missing: kubernetes auth"),
    ("--bao-role=", "--bao-role is missing"),
    ("--bao-auth jwt", "--bao-jwt-file is missing"),
    (
        "--bao-auth approle --bao-secret-id-file /s",
        "--bao-role-id is missing",
    ),
    (
        "--bao-auth approle --bao-role-id r",
        "--bao-secret-id-file is missing",
    ),
    (
        "--bao-auth approle --bao-role-id r --bao-role-id-file /r --bao-secret-id-file /s",
        "--bao-role-id and --bao-role-id-file are both given",
    ),
    (
        "--bao-auth cert",
        "--bao-client-cert-file is missing: cert auth",
    ),
    ("--bao-auth token", "--bao-token-file is missing"),
    (
        "--bao-auth userpass",
        "for '--bao-auth <METHOD>' [possible values: kubernetes, jwt",
    ),
    // What belongs to another method.
    (
        "--bao-token-file /t --bao-role r",
        "--bao-token-file does nothing with --bao-auth kubernetes, only with token",
    ),
    (
        "--bao-auth token --bao-token-file /t --bao-role r",
        "--bao-role does nothing with --bao-auth token",
    ),
    (
        "--bao-auth token --bao-token-file /t --bao-auth-mount m",
        "--bao-auth-mount does nothing with --bao-auth token",
    ),
    (
        "--bao-role r --bao-role-id x",
        "--bao-role-id does nothing with --bao-auth kubernetes",
    ),
    (
        "--bao-role r --bao-secret-id-file /s",
        "--bao-secret-id-file does nothing",
    ),
    (
        "--bao-role r --bao-secret-id-wrapped",
        "--bao-secret-id-wrapped does nothing",
    ),
    (
        "--bao-auth approle --bao-role-id r --bao-secret-id-file /s --bao-jwt-file /j",
        "--bao-jwt-file does nothing with --bao-auth approle, only with kubernetes and jwt",
    ),
    // Halves of pairs.
    (
        "--bao-role r --bao-client-cert-file /c",
        "--bao-client-key-file is missing",
    ),
    (
        "--bao-role r --bao-client-key-file /k",
        "--bao-client-cert-file is missing",
    ),
    // Bad values.
    (
        "--bao-role r --bao-address http://bao",
        "add --bao-insecure-http",
    ),
    (
        "--bao-role r --bao-address ftp://bao",
        "--bao-address: `ftp://bao` begins neither",
    ),
    ("--bao-role r --bao-address bao", "is not a URL such as"),
    (
        "--bao-role r --bao-address https://u:p@bao",
        "holds a user name or a password",
    ),
    (
        "--bao-role r --bao-address https://bao?x=y",
        "--bao-address: `https://bao` ends in a query",
    ),
    (
        "--bao-role r --bao-address https://bao:8200",
        "--bao-address names https://bao:8200 twice; remove one",
    ),
    (
        "--bao-role r --bao-mount a//b",
        "--bao-mount: `a//b` is not the path of a mount",
    ),
    (
        "--bao-role r --bao-namespace a//b",
        "--bao-namespace: `a//b` is not the path",
    ),
    (
        "--bao-role r --bao-namespace root/org",
        "--bao-namespace: `root/org` begins with `root`, which is no namespace",
    ),
    (
        "--bao-role r --bao-auth-namespace org/sys",
        "--bao-auth-namespace: `sys` in `org/sys` is reserved",
    ),
    (
        "--bao-role r --bao-auth-namespace ..",
        "--bao-auth-namespace: `..` is not the path",
    ),
    (
        "--bao-role r --bao-auth-mount auth/kubernetes",
        "--bao-auth-mount begins with auth/",
    ),
    (
        "--bao-role r --bao-auth-mount /k",
        "--bao-auth-mount `/k` is not the path of a mount",
    ),
    (
        "--bao-role r --bao-poll-interval 500ms",
        "--bao-poll-interval must be 1s to 1h",
    ),
    (
        "--bao-role r --bao-poll-interval 2h",
        "--bao-poll-interval must be 1s to 1h",
    ),
    (
        "--bao-role r --bao-poll-interval soon",
        "is not a duration such as 90s or 5m",
    ),
    (
        "--bao-role r --bao-hold 25h",
        "--bao-hold must be at most 24h",
    ),
    (
        "--bao-role r --bao-hold 3m --status-grace 5m",
        "--status-grace 300s needs a --bao-hold of at least 390s, and it is 180s: raise --bao-hold, or set --status-grace to at most 90s",
    ),
    (
        "--bao-role r --status-grace 6m",
        "--status-grace 360s needs a --bao-hold of at least 450s, and it is 420s",
    ),
    (
        "--bao-role r --bao-hold 80s --status-grace 1s",
        "--status-grace 1s needs a --bao-hold of at least 91s, and it is 80s",
    ),
    (
        "--bao-role r --status-grace soon",
        "is not a duration such as 90s or 5m",
    ),
    (
        "--bao-role r --bao-redirect-host bao",
        "--bao-redirect-host must be HOST:PORT",
    ),
    (
        "--bao-role r --bao-redirect-host https://bao:1",
        "--bao-redirect-host must be HOST:PORT",
    ),
    (
        "--bao-role r --bao-server-name a/b",
        "--bao-server-name is not the name of a host",
    ),
    (
        "--bao-role r --bao-insecure-http=yes",
        "--bao-insecure-http",
    ),
    (
        "--bao-role r --cache-ttl 25h",
        "--cache-ttl must be at most 24h",
    ),
    (
        "--bao-role r --cache-ttl 0 --cache-entries 5",
        "--cache-entries does nothing with --cache-ttl 0",
    ),
    ("--bao-role r --cache-entries 0", "--cache-entries"),
    (
        "--bao-role r --keyring /k",
        "--keyring cannot be used with --bao-address",
    ),
    (
        "--bao-role r --root-secret /k",
        "--root-secret cannot be used with --bao-address",
    ),
];

#[test]
fn every_fault_of_a_flag_has_one_line_and_code_64() {
    let mut cases: Vec<(String, &str)> = FAULTS
        .iter()
        .map(|(flags, words)| (format!("{KEY} {flags}"), *words))
        .collect();
    for (line, words) in [
        (
            "--socket /s --bao-key k --bao-role r",
            "--bao-address is missing",
        ),
        (
            "--socket /s --bao-address https://b --bao-role r",
            "--bao-key is missing",
        ),
        (
            "--bao-address https://b --bao-key k --bao-role r",
            "no socket given",
        ),
        (
            "--socket /s --bao-address https://b --bao-role r --bao-key a/b",
            "--bao-key: `a/b` is not the name",
        ),
        (
            "--socket /s --bao-address https://b --bao-role r --bao-key transit/keys/etcd",
            "--bao-key takes the name of a key, not its path; give `etcd`, and `transit` as --bao-mount",
        ),
        (
            "--socket /s --keyring /k --cache-ttl 1m",
            "--keyring cannot be used with --cache-ttl",
        ),
        (
            "--socket /s --keyring /k --status-grace 1m",
            "--keyring cannot be used with --status-grace",
        ),
        (
            "--socket /s --keyring /k --bao-role r",
            "--keyring cannot be used with --bao-role",
        ),
        (
            "--socket /s --bao-address http://b --bao-insecure-http --bao-key k --bao-auth cert \
             --bao-client-cert-file /c --bao-client-key-file /k",
            "--bao-auth cert logs in with the certificate of TLS",
        ),
    ] {
        cases.push((line.to_owned(), words));
    }
    for (line, words) in cases {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        one_line(&arguments, 64, words);
    }
}

fn one_line(arguments: &[&str], code: i32, words: &str) {
    let output = output(arguments);
    let line = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {line}");
    assert!(line.contains(words), "{arguments:?}: {line}");
    assert!(line.starts_with("kms-plugin: error: "), "{line}");
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bad_certificate_files_end_it_at_the_start() {
    let place = Place::new();
    let socket = place.socket.to_str().unwrap();
    let write = |name: &str, mode: u32| {
        let path = place.path(name);
        fs::write(&path, "no PEM at all").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (rubbish, open) = (write("rubbish", 0o600), write("open", 0o644));
    let base = [
        "--socket",
        socket,
        "--bao-address",
        "https://bao",
        "--bao-key",
        "k",
        "--bao-role",
        "r",
    ];
    let cases: [(i32, &str, &[&str]); 4] = [
        (
            66,
            "cannot read CA certificate file",
            &["--bao-ca-file", "/nonexistent"],
        ),
        (
            78,
            "does not hold PEM certificates",
            &["--bao-ca-file", &rubbish],
        ),
        (
            77,
            "client key file",
            &[
                "--bao-client-cert-file",
                &rubbish,
                "--bao-client-key-file",
                &open,
            ],
        ),
        (
            78,
            "client certificate file",
            &[
                "--bao-client-cert-file",
                &rubbish,
                "--bao-client-key-file",
                &rubbish,
            ],
        ),
    ];
    for (code, words, flags) in cases {
        one_line(&[&base, flags].concat(), code, words);
    }
    assert!(!place.socket.exists());
}

#[test]
fn without_authorities_on_the_system_https_needs_a_ca_file_and_http_does_not() {
    let place = Place::new();
    let token = place.path("token");
    fs::write(&token, "s.x").unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    let validate = |address: &str| {
        let mut command = program();
        command
            .arg("validate")
            .arg("--socket")
            .arg(&place.socket)
            .args(["--bao-address", address, "--bao-insecure-http"])
            .args(["--bao-key", "k", "--bao-auth", "token"])
            .arg("--bao-token-file")
            .arg(&token)
            .env("SSL_CERT_FILE", "/nonexistent")
            .env("SSL_CERT_DIR", "/nonexistent");
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = validate("https://127.0.0.1:8200");
    let words = "FAIL  connection: TLS cannot be set up; name the authority";
    assert!(shown.contains(words), "{shown}");
    let shown = validate("http://127.0.0.1:8200");
    assert!(shown.contains("ok    connection: http"), "{shown}");
}

/// A file's content, and what the one line says. Exit code 78.
const FILES: &[(&str, &str)] = &[
    (
        "keyring: /k\nbao-key: k\n",
        "has both `keyring` and `bao-key`; remove one",
    ),
    (
        "bao-addres: https://b\n",
        "line 1: unknown field `bao-addres`",
    ),
    ("\n\nbao-hold: soon\n", "line 3: `soon` is not a duration"),
    (
        "bao-auth: userpass\n",
        "line 1: bao-auth is kubernetes, jwt, approle, cert or token",
    ),
    (
        "bao-key: a\nbao-key: b\n",
        "line 2: `bao-key` is given twice",
    ),
    ("bao-insecure-http: 3\n", "line 1"),
    (
        "keys: [{name: a, socket: /s, bao-address: 'https://b', bao-key: k, bao-role: r, bao-jwt-file: ''}]\n",
        "keys[0] (`a`): --bao-jwt-file names no file",
    ),
    ("socket: /s\nkeys: []\n", "no key to serve"),
    (
        "keys: [{socket: /s, keyring: /k}]\n",
        "missing field `name`",
    ),
    (
        "keys: [{name: a b, socket: /s, keyring: /k}]\n",
        "keys[0] (`a b`): `name` must be 1 to 63 letters",
    ),
    (
        "keys: [{name: a, socket: /s, keyring: /k, http-address: '127.0.0.1:1'}]\n",
        "unknown field `http-address`",
    ),
    (
        "keys: [{name: a, keyring: /k}]\n",
        "keys[0] (`a`): no socket given",
    ),
    (
        "keys: [{name: a, socket: /s}]\n",
        "keys[0] (`a`): no key given",
    ),
    (
        "keys:\n- {name: a, socket: /s, keyring: /k}\n- {name: b, socket: /t, keyring: /k, bao-key: k}\n",
        "has both `keys[1].keyring` and `keys[1].bao-key`",
    ),
    (
        "keyring: /k\nkeys: [{name: a, socket: /s}, {name: a, socket: /t}]\n",
        "two keys are called `a`",
    ),
    (
        "keyring: /k\nsocket: /s\nkeys: [{name: a}, {name: b}]\n",
        "keys `a` and `b` are both to be served on socket `/s`",
    ),
    (
        "bao-address: https://b\nkeys:\n- {name: a, socket: /s, bao-key: a, bao-role: a}\n\
         - {name: b, socket: /t, bao-key: b}\n",
        "keys[1] (`b`): --bao-role is missing",
    ),
    (
        "bao-address: https://b\nkeys:\n- {name: a, socket: /s, bao-key: a, bao-role: a}\n\
         - {name: b, socket: /t, bao-key: b, bao-role: b, bao-token-file: /t}\n",
        "keys[1] (`b`): --bao-token-file does nothing with --bao-auth kubernetes",
    ),
];

#[test]
fn every_fault_of_a_file_has_one_line_and_code_78() {
    let place = Place::new();
    let file = place.path("config.yaml");
    for (content, words) in FILES {
        fs::write(&file, content).unwrap();
        one_line(&["--config", file.to_str().unwrap()], 78, words);
    }
}
