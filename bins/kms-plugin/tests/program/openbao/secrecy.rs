//! No credential is in anything that the program says, whatever it is told and however loud it logs.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use super::{Backend, SEED, healthy, unhealthy, write_private};
use crate::fixture::{decrypt, encrypt, program};
use clap::Parser as _;
use kdc_shared::plugin::Settings;
use kdc_testbed::bao::JwtIssuer;
use kms_plugin::cli::Cli;

/// Everything that came out of one run at the loudest level, good calls and bad ones, with the credential in `file`
/// replaced by `useless` half-way.
async fn everything_said(backend: &Backend, login: &[&str], file: &str, useless: &str) -> String {
    let file = backend.place.path(file);
    let good = fs::read_to_string(&file).unwrap();
    let flags = [login, &["--log-level", "trace", "--cache-ttl", "0"]].concat();
    let mut command = backend.command(&flags);
    let stdout = backend.place.path("stdout");
    command.stdout(Stdio::from(fs::File::create(&stdout).unwrap()));
    let settings: Vec<_> = std::iter::once("kms-plugin".into())
        .chain(command.get_args().map(ToOwned::to_owned))
        .collect();
    let cli = Cli::try_parse_from(&settings).unwrap();
    let mut said = vec![format!("{cli:?}")];
    said.push(format!(
        "{:?}",
        Settings::resolve(cli.options.given).unwrap()
    ));
    let running = backend.place.start(command).await;
    let mut client = backend.place.client().await;
    healthy(&mut client).await;
    let wrapped = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    said.push(backend.probe("/metrics") + &backend.probe("/readyz"));
    // All tokens are revoked, and no login succeeds.
    write_private(&file, useless);
    let root = backend.bao.root();
    let accessors = root
        .call("GET", "auth/token/accessors?list=true", None)
        .await;
    for accessor in accessors.unwrap()["data"]["keys"].as_array().unwrap() {
        let lookup = serde_json::json!({"accessor": accessor});
        let found = root
            .call("POST", "auth/token/lookup-accessor", Some(lookup.clone()))
            .await;
        if found.is_ok_and(|found| found["data"]["policies"] == serde_json::json!(["tcp"])) {
            root.call("POST", "auth/token/revoke-accessor", Some(lookup))
                .await
                .unwrap();
        }
    }
    unhealthy(&mut client).await;
    assert!(decrypt(&mut client, &wrapped).await.is_err());
    said.push(backend.probe("/metrics") + &backend.probe("/readyz"));
    write_private(&file, &good);
    assert!(running.stop().await.success());
    let log = backend.place.log();
    assert!(log.contains("TRACE"), "it was a trace");
    said.push(log);
    said.push(fs::read_to_string(stdout).unwrap());
    let line: Vec<_> = settings.iter().skip(1).collect();
    let validated = program().arg("validate").args(line).output().unwrap();
    said.extend(
        [validated.stdout, validated.stderr].map(|bytes| String::from_utf8(bytes).unwrap()),
    );
    said.concat()
}

fn hunt(said: &str, secrets: &[&str]) {
    let seed = std::str::from_utf8(&SEED).unwrap();
    for secret in secrets.iter().chain([&seed]) {
        // A part gives it away as well as the whole.
        let tail = &secret[secret.len().saturating_sub(12)..];
        assert!(
            !said.contains(secret) && !said.contains(tail),
            "{secret} was said"
        );
    }
}

#[tokio::test]
async fn tokens_are_never_said() {
    let backend = Backend::start().await;
    let token = backend.token().await;
    let file = backend.file("token", &token);
    let useless = "s.DoesNotOpenAnyDoorAtAll";
    let login = [
        "--bao-auth",
        "token",
        "--bao-token-file",
        file.to_str().unwrap(),
    ];
    let said = everything_said(&backend, &login, "token", useless).await;
    hunt(&said, &[&token, useless]);
}

#[tokio::test]
async fn secret_ids_are_never_said() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "tcp", &Backend::grant())
        .await
        .unwrap();
    let file = backend.file("secret-id", &role.secret_id);
    let useless = "2f6c2f7e-9a51-4a35-8d0f-00c0ffee4711";
    let login = [
        "--bao-auth",
        "approle",
        "--bao-role-id",
        &role.role_id,
        "--bao-secret-id-file",
        file.to_str().unwrap(),
    ];
    let said = everything_said(&backend, &login, "secret-id", useless).await;
    hunt(&said, &[&role.secret_id, useless]);
}

#[tokio::test]
async fn jwts_are_never_said() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    let issuer = JwtIssuer::generate().unwrap();
    root.enable_auth("jwt", "jwt").await.unwrap();
    root.configure_jwt("jwt", &issuer).await.unwrap();
    root.create_jwt_role("jwt", "tcp", "openbao", "plugin", &Backend::grant())
        .await
        .unwrap();
    let sign = |subject| {
        issuer
            .token(subject, "openbao", Duration::from_secs(600))
            .unwrap()
    };
    let (jwt, useless) = (sign("plugin"), sign("stranger"));
    let file = backend.file("jwt", &jwt);
    let login = [
        "--bao-auth",
        "jwt",
        "--bao-role",
        "tcp",
        "--bao-jwt-file",
        file.to_str().unwrap(),
    ];
    let said = everything_said(&backend, &login, "jwt", &useless).await;
    hunt(&said, &[&jwt, &useless]);
}

#[test]
fn a_credential_in_the_wrong_place_is_refused_without_repeating_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let config = file.to_str().unwrap();
    let base = "--socket /s --bao-address https://bao --bao-key k --bao-role r";
    for secret in [
        "s.CAESIJlUDhNxRzQ2bNPlaNTEd",
        "hvs.CAESIJlUDhNxRzQ2bNPlaNTEd",
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.PlaNTEd",
        "b4a1f0f6-3f5a-4f0e-9f5d-0000PlaNTEd0",
        "b4a1f0f6-3f5a-4f0e-9f5d-0000feedbeef",
    ] {
        let mut lines: Vec<String> = [
            "jwt-file",
            "role-id-file",
            "secret-id-file",
            "token-file",
            "ca-file",
            "client-cert-file",
            "client-key-file",
        ]
        .iter()
        .filter(|_| !secret.ends_with("d0"))
        .map(|setting| format!("{base} --bao-{setting} {secret}"))
        .collect();
        for flag in [
            format!("--bao-auth {secret}"),
            format!("--bao-hold {secret}"),
            format!("--bao-poll-interval {secret}"),
            format!("--bao-insecure-http={secret}"),
            format!("--bao-redirect-host {secret}"),
            format!("--bao-token={secret}"),
            format!("--bao-secret-id={secret}"),
            format!("--bao-address https://x:{secret}@bao2"),
            format!("--bao-address https://bao2/?token={secret}"),
            format!("--bao-address x:{secret}@bao2:x"),
        ] {
            lines.push(format!("{base} {flag}"));
        }
        let mut runs: Vec<(String, std::process::Output)> = lines
            .into_iter()
            .map(|line| {
                (
                    line.clone(),
                    program().args(line.split(' ')).output().unwrap(),
                )
            })
            .collect();
        for text in [
            format!("bao-token: {secret}\n"),
            format!("bao-auth: {secret}\n"),
            format!("bao-address: https://x:{secret}@bao\nsocket: /s\nbao-key: k\nbao-role: r\n"),
            format!("bao-hold: [{secret}]\n"),
            format!("bao-insecure-http: {secret}\n"),
            format!("cache-entries: {secret}\n"),
            format!("keys: {secret}\n"),
        ] {
            fs::write(&file, &text).unwrap();
            runs.push((text, program().args(["--config", config]).output().unwrap()));
        }
        for (given, output) in runs {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(
                matches!(output.status.code(), Some(64 | 78)),
                "{given}: {said}"
            );
            assert!(!said.contains(secret), "{given}: {said}");
        }
    }
}

#[test]
fn the_help_does_not_repeat_the_environment() {
    let output = program()
        .arg("--help")
        .env("KMS_PLUGIN_BAO_ADDRESS", "https://user:PlaNTEd@bao")
        .env("KMS_PLUGIN_BAO_TOKEN_FILE", "/PlaNTEd")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        !String::from_utf8(output.stdout)
            .unwrap()
            .contains("PlaNTEd")
    );
}
