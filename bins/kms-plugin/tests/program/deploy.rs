//! The files in `deploy/` are read by the parsers that will read them in earnest, and agree with each other.

mod image;
mod monitoring;
mod openbao;
mod pods;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use kdc_envelope_bao::{LoginMethod, RoleId};
use kdc_shared::plugin::Given;
use kdc_shared::plugin::{BaoSource, DEFAULT_NAME, KeySettings, KeySource, Settings, read};
use kms_plugin::cli::{Cli, Command as Subcommand};
use serde_json::Value;

const LOCAL_SAMPLE: &str = "kms-plugin.yaml";
const BAO_SAMPLE: &str = "kms-plugin-openbao.yaml";
/// Where both are installed.
const SETTINGS: &str = "/etc/kms-plugin/kms-plugin.yaml";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The settings that a command line gives, with `sample` as its configuration file.
fn settings(line: &[String], sample: &str) -> Settings {
    let cli = Cli::try_parse_from(line).unwrap();
    let options = match cli.command {
        Some(Subcommand::Validate(options)) => *options,
        Some(other) => panic!("{other:?} does not serve"),
        None => cli.options,
    };
    let file = match options.config {
        Some(path) => {
            assert_eq!(path, Path::new(SETTINGS));
            read(&deploy(sample)).unwrap()
        }
        None => Given::default(),
    };
    Settings::resolve(options.given.merge_over(file)).unwrap()
}

fn only_key(settings: &Settings) -> &KeySettings {
    assert_eq!(settings.keys.len(), 1);
    &settings.keys[0]
}

fn in_bao(key: &KeySettings) -> &BaoSource {
    match &key.source {
        KeySource::Bao(source) => source,
        other => panic!("not in OpenBao: {other:?}"),
    }
}

/// Every file that a key needs.
fn files(key: &KeySettings) -> Vec<PathBuf> {
    let settings = match &key.source {
        KeySource::File(source) => return vec![source.path().to_owned()],
        KeySource::Bao(source) => source,
    };
    let tls = settings.connection.client_config().tls;
    let mut files: Vec<PathBuf> = tls.ca_file.into_iter().collect();
    files.extend(
        tls.client
            .into_iter()
            .flat_map(|client| [client.certificate, client.key]),
    );
    match settings.connection.login_method() {
        LoginMethod::Kubernetes { token_file, .. } => files.push(token_file),
        LoginMethod::AppRole {
            secret_id_file,
            role_id,
            ..
        } => {
            files.push(secret_id_file);
            if let RoleId::File(file) = role_id {
                files.push(file);
            }
        }
        LoginMethod::Certificate { .. } => {}
        other => panic!("no sample logs in like this: {other:?}"),
    }
    files
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let inner = names_in(&entry.path());
            names.extend(inner.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[test]
fn no_file_is_without_a_test() {
    // Those of backups are tested with `kdc`, whose command lines they hold, and the policy of the manager with `kdc-manager`.
    let tested = [
        "Containerfile",
        "backup/Containerfile",
        "backup/cronjob.yaml",
        "backup/kdc-backup-prune.service",
        "backup/kdc-backup-prune.timer",
        "backup/kdc-backup-run.service",
        "backup/kdc-backup-run.timer",
        "kms-plugin-openbao.yaml",
        "kms-plugin.service",
        "kms-plugin.service.d/openbao.conf",
        "kms-plugin.yaml",
        "monitoring/alerts.test.yaml",
        "monitoring/alerts.yaml",
        "monitoring/dashboard.json",
        "native-sidecar-doctor.yaml",
        "native-sidecar-networkpolicy.yaml",
        "native-sidecar-openbao.yaml",
        "native-sidecar.yaml",
        "openbao/backup-policy.hcl",
        "openbao/manager-policy.hcl",
        "openbao/policy.hcl",
        "openbao/restorer-policy.hcl",
        "openbao/rewrapper-policy.hcl",
        "openbao/setup.sh",
        "static-pod-openbao.yaml",
        "static-pod.yaml",
    ];
    assert_eq!(names_in(&deploy("")), tested);
}

/// The sample with each setting that it shows in a comment taken in, and without those of `replaced`.
fn uncommented(sample: &str, wanted: impl Fn(&str) -> bool, replaced: &[&str]) -> Given {
    let names = |line: &str| line.split(": ").next().unwrap_or_default().to_owned();
    let is_setting = |line: &str| {
        let name = names(line);
        name != line
            && Cli::command()
                .get_arguments()
                .any(|flag| flag.get_long() == Some(&name))
    };
    let all: String = text(sample)
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) && wanted(&names(setting)) => {
                format!("{setting}\n")
            }
            _ if replaced.contains(&names(line).as_str()) => "\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let everything = folder.path().join("all.yaml");
    fs::write(&everything, all).unwrap();
    read(&everything).unwrap()
}

#[test]
fn the_sample_configuration_is_complete_with_every_comment_taken_in() {
    let settings = Settings::resolve(read(&deploy(LOCAL_SAMPLE)).unwrap()).unwrap();
    let key = only_key(&settings);
    assert_eq!(key.socket.address.to_string(), "/run/kms-plugin/kms.sock");
    assert_eq!(key.socket.mode.to_string(), "0600");
    let given = uncommented(LOCAL_SAMPLE, |_| true, &[]);
    assert_eq!(
        given.key.socket.socket_group.as_deref(),
        Some("kube-apiserver")
    );
    assert_eq!(given.key.socket.allow_uid, Some(vec![0]));
    assert!(given.key.socket.socket_mode.is_some() && given.log_level.is_some());
}

#[test]
fn the_sample_for_openbao_is_complete_with_each_of_its_logins() {
    let settings = Settings::resolve(read(&deploy(BAO_SAMPLE)).unwrap()).unwrap();
    let key = only_key(&settings);
    assert_eq!(key.name, DEFAULT_NAME);
    assert!(matches!(
        in_bao(key).connection.login_method(),
        LoginMethod::AppRole {
            is_wrapped: false,
            ..
        }
    ));
    let is_numeric = |name: &str| name != "socket-group";
    let is_cert = |name: &str| name == "bao-auth" || name == "bao-role" || name.contains("client");
    let given = uncommented(BAO_SAMPLE, |name| is_numeric(name) && !is_cert(name), &[]);
    let settings = Settings::resolve(given).unwrap();
    let settings = in_bao(only_key(&settings));
    assert!(matches!(
        settings.connection.login_method(),
        LoginMethod::AppRole {
            is_wrapped: true,
            ..
        }
    ));
    assert!(
        settings
            .connection
            .client_config()
            .tls
            .server_name
            .is_some()
    );

    let approle = ["bao-auth", "bao-role-id", "bao-secret-id-file"];
    let settings = Settings::resolve(uncommented(BAO_SAMPLE, is_cert, &approle)).unwrap();
    assert_eq!(
        in_bao(only_key(&settings)).connection.login_method().name(),
        "cert"
    );
    assert_eq!(files(only_key(&settings)).len(), 3);
}

/// What one sample says, the others say too, and what makes them in OpenBao.
#[test]
fn all_samples_for_openbao_name_the_same_key_and_role() {
    let sample = Settings::resolve(read(&deploy(BAO_SAMPLE)).unwrap()).unwrap();
    let sidecar = settings(&pods::sidecar_line(), "");
    let setup = openbao::defaults();
    for settings in [&sample, &sidecar] {
        let key = only_key(settings);
        let bao = in_bao(key);
        assert_eq!(bao.transit.key_name().name(), setup["KEY"]);
        assert_eq!(bao.transit.key_name().mount(), "transit");
        assert_eq!(bao.connection.login_method().role(), setup["ROLE"]);
        let namespace = bao.connection.client_config().namespace.unwrap();
        assert_eq!(namespace.as_str(), setup["NAMESPACE"]);
        assert_eq!(format!("tcp-{}", key.cluster), setup["ROLE"]);
    }
}

#[test]
fn the_guide_configures_kube_apiserver_for_the_sockets_of_the_samples() {
    let guide = fs::read_to_string(root().join("docs/deploying-openbao.md")).unwrap();
    let block = guide
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let provider = &yaml(block)["resources"][0]["providers"][0]["kms"];
    assert_eq!(provider["name"], DEFAULT_NAME);
    assert_eq!(provider["apiVersion"], "v2");
    let sample = Settings::resolve(read(&deploy(BAO_SAMPLE)).unwrap()).unwrap();
    let endpoint = format!("unix://{}", only_key(&sample).socket.address);
    assert_eq!(provider["endpoint"], endpoint);
    let sidecar = settings(&pods::sidecar_line(), "");
    let endpoint = format!("unix://{}", only_key(&sidecar).socket.address);
    assert!(block.contains(&endpoint), "{endpoint}");
    assert!(text("native-sidecar-openbao.yaml").contains(&format!("endpoint: {endpoint}")));
}

#[test]
fn no_text_names_a_flag_that_is_not_there() {
    let command = Cli::command();
    let known: Vec<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    let guide = root().join("docs/deploying-openbao.md");
    let texts = names_in(&deploy("")).into_iter().map(|name| deploy(&name));
    for path in texts.chain([guide]) {
        let text = fs::read_to_string(&path).unwrap();
        let flags = text.split("--").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
            &rest[..end.unwrap_or(rest.len())]
        });
        for flag in flags {
            let is_ours = ["bao-", "cache-", "socket", "allow-"]
                .iter()
                .any(|start| flag.starts_with(start));
            assert!(
                !is_ours || known.contains(&flag),
                "{}: --{flag}",
                path.display()
            );
        }
    }
}
