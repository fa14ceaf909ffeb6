//! The flags of OpenShift's sidecar: what they mean here, and what is refused.

use std::fs;

use crate::fixture::{Place, output, stderr};

/// What `validate` says about a command line of OpenShift.
fn validate(place: &Place, flags: &[&str]) -> (String, String) {
    fs::write(place.path("secret-id"), "not told").unwrap();
    let secret = format!(
        "-approle-secret-id-path={}",
        place.path("secret-id").display()
    );
    let listen = format!("-listen-address=unix://{}", place.socket.display());
    let mut line = vec!["validate", &listen, &secret];
    line.extend(flags);
    let output = output(&line);
    (
        String::from_utf8(output.stdout.clone()).unwrap(),
        stderr(&output),
    )
}

const REQUIRED: [&str; 3] = [
    "-vault-address=https://vault.example.com:8200",
    "-vault-key-path=transit/keys/kms",
    "-approle-role-id=role",
];

#[test]
fn a_line_of_openshift_means_the_same_here() {
    let place = Place::new();
    let (shown, errors) = validate(&place, &REQUIRED);
    for line in [
        "ok    key: transit/kms in OpenBao",
        "ok    connection: https://vault.example.com:8200; not tried",
        "ok    socket:",
    ] {
        assert!(shown.contains(line), "{line}: {shown}{errors}");
    }
    assert!(shown.contains("login: "), "{shown}");
    let more = [
        &REQUIRED[..],
        &[
            "-tls-ca-file=/nonexistent/ca.crt",
            "-tls-sni=vault.internal",
            "-vault-namespace=admin/team",
            "-vault-auth-namespace=admin",
            "-metrics-port=0",
        ],
    ]
    .concat();
    let (shown, _) = validate(&place, &more);
    assert!(
        shown.contains("transit/kms in namespace admin/team"),
        "{shown}"
    );
    assert!(shown.contains("/nonexistent/ca.crt"), "{shown}");
}

#[test]
fn flags_take_one_dash_or_two_and_their_value_behind_either_separator() {
    let place = Place::new();
    let spellings: [[&str; 4]; 3] = [
        [
            "-vault-key-path",
            "a/b/keys/kms",
            "--vault-address",
            "https://v",
        ],
        [
            "--vault-key-path=a/b/kms",
            "-vault-address=https://v",
            "-tls-sni=",
            "-metrics-port=8080",
        ],
        // The last one counts, as in Go.
        [
            "-vault-key-path=x/y",
            "-vault-key-path=a/b/keys/kms",
            "-vault-address",
            "https://v",
        ],
    ];
    for spelling in spellings {
        let line = [&spelling[..], &["-approle-role-id", "role"]].concat();
        let (shown, errors) = validate(&place, &line);
        assert!(
            shown.contains("ok    key: a/b/kms in OpenBao"),
            "{line:?}: {shown}{errors}"
        );
    }
}

#[test]
fn mixed_and_bad_lines_are_refused() {
    let socket = "-listen-address=unix:///run/kms.sock";
    let secret = "-approle-secret-id-path=/s";
    let [address, key, role] = REQUIRED;
    let cases: &[(&str, &[&str])] = &[
        (
            "`--bao-role` is not among OpenShift's flags",
            &[address, "--bao-role", "x"],
        ),
        (
            "`--bao-role` is not among OpenShift's flags",
            &["--bao-role=x", address],
        ),
        (
            "`--config` is not among OpenShift's flags",
            &["--config", "/c", key],
        ),
        ("an argument without a dash", &[address, "stray"]),
        ("`-transit-key` is not among", &[address, "-transit-key=k"]),
        ("-vault-address needs a value", &[key, "-vault-address"]),
        ("-listen-address is missing", &[address, key, role, secret]),
        (
            "-vault-address is missing",
            &[socket, key, role, secret, "-vault-address="],
        ),
        (
            "-vault-key-path is missing",
            &[socket, address, role, secret],
        ),
        (
            "-approle-role-id is missing",
            &[socket, address, key, secret],
        ),
        (
            "-approle-secret-id-path is missing",
            &[socket, address, key, role],
        ),
        (
            "-listen-address must be unix:///PATH",
            &["-listen-address=tcp://:1", address, key, role, secret],
        ),
        (
            "-vault-key-path must be",
            &[socket, address, "-vault-key-path=kms", role, secret],
        ),
        (
            "-vault-key-path must be",
            &[socket, address, "-vault-key-path=a//kms", role, secret],
        ),
        (
            "-metrics-port must be",
            &[socket, address, key, role, secret, "-metrics-port=http"],
        ),
        (
            "add --bao-insecure-http",
            &[socket, "-vault-address=http://v", key, role, secret],
        ),
    ];
    for (words, line) in cases {
        let output = output(line);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{line:?}: {said}");
        assert!(said.contains(words), "{line:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
