//! The settings of keys in OpenBao: what they come to, and in [`faults`] what is refused.

mod faults;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::fixture::{Place, output, stderr};
use clap::{CommandFactory as _, Parser as _};
use kdc_envelope_bao::settings::{DEFAULT_JWT_FILE, DEFAULT_KUBERNETES_MOUNT};
use kdc_envelope_bao::{LoginMethod, LoginPlace, RoleId};
use kdc_shared::plugin::{BaoSource, KeySource, Settings, read};
use kms_plugin::cli::Cli;

/// Complete settings of a key, but for the login.
const KEY: &str = "--socket /s/kms.sock --bao-address https://bao:8200 --bao-key k";

fn resolve(line: &str) -> Settings {
    let line = format!("kms-plugin {line}");
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    Settings::resolve(cli.options.given).unwrap()
}

fn in_bao(settings: Settings) -> BaoSource {
    match settings.keys.into_iter().next().unwrap().source {
        KeySource::Bao(source) => *source,
        other => panic!("not in OpenBao: {other:?}"),
    }
}

fn bao(line: &str) -> BaoSource {
    in_bao(resolve(&format!("{KEY} {line}")))
}

#[test]
fn the_root_namespace_is_none_by_its_name_too() {
    for name in ["root", "root/"] {
        let settings = bao(&format!("--bao-role r --bao-namespace {name}"));
        assert_eq!(settings.connection.client_config().namespace, None);
        let line = format!("--bao-role r --bao-namespace org --bao-auth-namespace {name}");
        assert_eq!(bao(&line).connection.login_namespace(), LoginPlace::Root);
    }
}

#[test]
fn each_method_has_its_defaults() {
    let settings = bao("--bao-role tcp-prod");
    let expected = LoginMethod::Kubernetes {
        mount: DEFAULT_KUBERNETES_MOUNT.to_owned(),
        role: "tcp-prod".to_owned(),
        token_file: DEFAULT_JWT_FILE.into(),
    };
    assert_eq!(settings.connection.login_method(), expected);
    assert_eq!(settings.transit.key_name().to_string(), "transit/k");
    assert_eq!(settings.connection.login_namespace(), LoginPlace::Same);
    assert_eq!(
        settings.transit.options().poll_interval,
        Duration::from_secs(60)
    );
    let settings = bao("--bao-auth jwt --bao-jwt-file /j");
    let expected = LoginMethod::Jwt {
        mount: "jwt".to_owned(),
        role: String::new(),
        token_file: "/j".into(),
    };
    assert_eq!(settings.connection.login_method(), expected);
    let settings = bao("--bao-auth approle --bao-role-id r --bao-secret-id-file /s");
    let expected = LoginMethod::AppRole {
        mount: "approle".to_owned(),
        role_id: RoleId::Value("r".to_owned()),
        secret_id_file: "/s".into(),
        is_wrapped: false,
    };
    assert_eq!(settings.connection.login_method(), expected);
    let settings = bao(
        "--bao-auth approle --bao-role-id-file /r --bao-secret-id-file /s --bao-secret-id-wrapped --bao-auth-mount a/b/",
    );
    let expected = LoginMethod::AppRole {
        mount: "a/b".to_owned(),
        role_id: RoleId::File("/r".into()),
        secret_id_file: "/s".into(),
        is_wrapped: true,
    };
    assert_eq!(settings.connection.login_method(), expected);
    let settings = bao("--bao-auth cert --bao-client-cert-file /c --bao-client-key-file /k");
    let expected = LoginMethod::Certificate {
        mount: "cert".to_owned(),
        role: String::new(),
    };
    assert_eq!(settings.connection.login_method(), expected);
    let settings = bao("--bao-auth token --bao-token-file /t");
    assert_eq!(
        settings.connection.login_method(),
        LoginMethod::TokenFile("/t".into())
    );
}

#[test]
fn everything_reaches_the_client() {
    let source = in_bao(resolve(
        "--socket /s --bao-address https://a:1,https://b:2 --bao-address http://c:3 --bao-insecure-http \
         --bao-key k --bao-mount m/n --bao-namespace org/project --bao-auth-namespace org --bao-role r \
         --bao-ca-file /ca --bao-server-name bao.example.com --bao-client-cert-file /c --bao-client-key-file /k \
         --bao-redirect-host D.example.com:4,e:5 --bao-poll-interval 2s --bao-hold 0 --cache-ttl 90s \
         --cache-entries 7",
    ));
    let settings = &source;
    let config = settings.connection.client_config();
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["https://a:1", "https://b:2", "http://c:3"]);
    assert_eq!(config.namespace.unwrap().as_str(), "org/project");
    let org = LoginPlace::Namespace("org".parse().unwrap());
    assert_eq!(settings.connection.login_namespace(), org);
    assert_eq!(config.tls.ca_file.unwrap().to_str(), Some("/ca"));
    assert_eq!(config.tls.server_name.as_deref(), Some("bao.example.com"));
    assert_eq!(config.tls.client.unwrap().key.to_str(), Some("/k"));
    assert_eq!(config.redirect_hosts, ["d.example.com:4", "e:5"]);
    assert_eq!(settings.transit.key_name().to_string(), "m/n/k");
    assert_eq!(
        settings.transit.options().poll_interval,
        Duration::from_secs(2)
    );
    assert_eq!(settings.transit.options().hold, Duration::ZERO);
    assert_eq!(settings.transit.options().status_grace, Duration::ZERO);
    assert_eq!(source.cache.time_to_live, Duration::from_secs(90));
    assert_eq!(source.cache.entries.get(), 7);
    let off = in_bao(resolve(&format!("{KEY} --bao-role r --cache-ttl 0")));
    assert!(off.cache.time_to_live.is_zero());
}

#[test]
fn a_grace_that_is_not_given_is_that_of_the_cache_as_far_as_the_hold_allows() {
    for (flags, grace, words) in [
        ("", 300, "after 420s"),
        (
            "--bao-hold 3m",
            90,
            "after 180s, which allows no longer grace",
        ),
        ("--bao-hold 90s", 0, "as soon as OpenBao does not answer"),
        ("--bao-hold 0", 0, "as soon as OpenBao does not answer"),
        ("--cache-ttl 1m", 60, "Status goes on for 60s"),
        ("--cache-ttl 1h", 330, "which allows no longer grace"),
        ("--cache-ttl 0", 0, "as soon as OpenBao does not answer"),
        (
            "--status-grace 0 --bao-hold 1s",
            0,
            "as soon as OpenBao does not answer",
        ),
        (
            "--status-grace 10m --bao-hold 690s",
            600,
            "Status goes on for 600s",
        ),
        (
            "--cache-ttl 0 --status-grace 2m",
            120,
            "Status goes on for 120s",
        ),
    ] {
        let source = in_bao(resolve(&format!("{KEY} --bao-role r {flags}")));
        let options = source.transit.options();
        assert_eq!(options.status_grace, Duration::from_secs(grace), "{flags}");
        let outage = source.outage();
        assert!(outage.contains(words), "{flags}: {outage}");
    }
}

#[test]
fn keys_share_what_is_at_the_top_and_override_it() {
    let place = Place::new();
    let file = place.path("config.yaml");
    let text = "
bao-address: [https://a, 'https://b']
bao-namespace: org
bao-role: common
cluster: prod
socket-mode: \"0620\"
cache-ttl: 1m
keys:
- {name: one, socket: /one, bao-key: one}
- {name: two, socket: /two, bao-key: 007, bao-role: own, bao-namespace: other, cluster: two, cache-ttl: 2m}
- {name: three, socket: /three, keyring: /keyring}
";
    fs::write(&file, text).unwrap();
    let mut keys = Settings::resolve(read(&file).unwrap()).unwrap().keys;
    let three = keys.pop().unwrap();
    assert!(
        matches!(three.source, KeySource::File(_)),
        "its file hides OpenBao"
    );
    assert_eq!(three.cluster, "prod");
    let of = |key: kdc_shared::plugin::KeySettings| match key.source {
        KeySource::Bao(source) => (key.name, key.cluster, *source),
        other => panic!("{other:?}"),
    };
    let (name, cluster, two) = of(keys.pop().unwrap());
    assert_eq!((name.as_str(), cluster.as_str()), ("two", "two"));
    assert_eq!(two.connection.login_method().role(), "own");
    assert_eq!(two.transit.key_name().name(), "007", "a name, not a number");
    assert_eq!(
        two.connection.client_config().namespace.unwrap().as_str(),
        "other"
    );
    assert_eq!(two.cache.time_to_live, Duration::from_secs(120));
    let (name, cluster, one) = of(keys.pop().unwrap());
    assert_eq!((name.as_str(), cluster.as_str()), ("one", "prod"));
    assert_eq!(one.connection.login_method().role(), "common");
    assert_eq!(one.connection.client_config().addresses.len(), 2);
    assert_eq!(one.cache.time_to_live, Duration::from_secs(60));
}

#[test]
fn a_key_given_by_flag_hides_the_other_kind_in_the_file() {
    let place = Place::new();
    let file = place.path("config.yaml");
    let resolve = |text: &str, line: &str| {
        fs::write(&file, text).unwrap();
        let line = format!("kms-plugin {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        Settings::resolve(cli.options.given.merge_over(read(&file).unwrap())).unwrap()
    };
    let bao = "socket: /s\nbao-address: https://b\nbao-key: k\nbao-role: r\ncache-ttl: 1m\n";
    let settings = resolve(bao, "--keyring /k");
    assert!(matches!(settings.keys[0].source, KeySource::File(_)));
    let settings = in_bao(resolve(bao, "--bao-role other"));
    assert_eq!(settings.connection.login_method().role(), "other");
    let local = "socket: /s\nkeyring: /k\n";
    let line = "--bao-address https://b --bao-key k --bao-role r";
    in_bao(resolve(local, line));
}

#[test]
fn flags_variables_and_names_in_the_file_are_the_same() {
    let command = Cli::command();
    let place = Place::new();
    let file = place.path("config.yaml");
    let help = output(&["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let mut flags = BTreeSet::new();
    for argument in command.get_arguments() {
        let Some(flag) = argument.get_long() else {
            continue;
        };
        if ["config", "help", "version"].contains(&flag) {
            continue;
        }
        flags.insert(flag.to_owned());
        let variable = format!("KMS_PLUGIN_{}", flag.replace('-', "_").to_uppercase());
        assert_eq!(argument.get_env().unwrap().to_str(), Some(&*variable));
        assert!(help.contains(&format!("--{flag}")), "{flag}");
        assert!(help.contains(&variable), "{flag}");
        fs::write(&file, format!("{flag}:\n")).unwrap();
        read(&file).unwrap_or_else(|error| panic!("{flag}: {error:?}"));
    }
    let bao = flags.iter().filter(|flag| flag.starts_with("bao-")).count();
    assert_eq!(bao, 22);
    for words in [
        "[default: kubernetes]",
        "[default: k8s-host for kubernetes",
        DEFAULT_JWT_FILE,
        "[default: transit]",
        "-vault-key-path",
        "keys:",
    ] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn validate_lists_every_finding_and_asks_no_server() {
    let place = Place::new();
    let file = place.path("config.yaml");
    let token = place.path("token");
    fs::write(&token, "s.a-token-that-others-can-read").unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o604)).unwrap();
    let folder = place.folder.path().display();
    // No server has this address: a request would wait.
    let text = format!(
        "bao-address: https://192.0.2.1:8200
keys:
- {{name: good, socket: {folder}/good.sock, keyring: {}}}
- {{name: open, socket: {folder}/open.sock, bao-key: k, bao-auth: token, bao-token-file: {}}}
- {{name: files, socket: /nonexistent/kms.sock, bao-key: k, bao-role: r, bao-jwt-file: /nonexistent/jwt, bao-ca-file: /nonexistent/ca}}
- {{name: bad, bao-key: k/k, bao-auth: approle, bao-hold: 25h}}
",
        place.keyring.display(),
        token.display(),
    );
    fs::write(&file, text).unwrap();
    let checked = output(&["validate", "--config", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(78), "{}", stderr(&checked));
    let shown = String::from_utf8(checked.stdout.clone()).unwrap();
    let lines = |start: &str| shown.lines().filter(|line| line.starts_with(start)).count();
    for words in [
        "ok    good key:",
        "ok    good socket:",
        "ok    open key: transit/k in OpenBao",
        "ok    open connection: https://192.0.2.1:8200; not tried",
        "ok    open outage: Status goes on for 300s after OpenBao last worked",
        "FAIL  open login: token file",
        "FAIL  files connection: cannot read CA certificate file",
        "FAIL  files login: cannot read service account token file",
        "FAIL  files socket:",
        "FAIL  settings: keys[3] (`bad`): no socket given",
        "FAIL  settings: keys[3] (`bad`): --bao-hold",
        "FAIL  settings: keys[3] (`bad`): --bao-role-id is missing",
        "FAIL  settings: keys[3] (`bad`): --bao-key",
    ] {
        assert_eq!(lines(words), 1, "{words} in\n{shown}");
    }
    assert!(stderr(&checked).contains("8 of the checks failed"));
    assert!(!shown.contains("a-token-that"), "{shown}");
}
