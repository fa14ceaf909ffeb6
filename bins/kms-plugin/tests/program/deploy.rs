//! The files in `deploy/` are read by the parsers that will read them in earnest.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Parser as _;
use kms_plugin::cli::{Cli, Command as Subcommand};
use kms_plugin::settings::{Settings, read};
use serde_json::Value;

fn deploy(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(name)
}

/// The settings that a command line gives, with its files where they are installed in the sample.
fn settings(line: &[String]) -> Settings {
    let cli = Cli::try_parse_from(line).unwrap();
    let options = match cli.command {
        Some(Subcommand::Validate(options)) => *options,
        Some(other) => panic!("{other:?} does not serve"),
        None => cli.options,
    };
    let file = match options.config {
        Some(path) => read(&deploy(path.file_name().unwrap().to_str().unwrap())).unwrap(),
        None => kms_plugin::cli::Given::default(),
    };
    Settings::resolve(options.given.over(file)).unwrap()
}

#[test]
fn no_file_is_without_a_test() {
    let mut names: Vec<String> = fs::read_dir(deploy(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let tested = [
        "kms-plugin.service",
        "kms-plugin.yaml",
        "native-sidecar.yaml",
        "static-pod.yaml",
    ];
    assert_eq!(names, tested);
}

#[test]
fn the_sample_configuration_is_complete_with_every_comment_taken_in() {
    let path = deploy("kms-plugin.yaml");
    let settings = Settings::resolve(read(&path).unwrap()).unwrap();
    assert_eq!(
        settings.socket.address.to_string(),
        "/run/kms-plugin/kms.sock"
    );
    assert_eq!(settings.socket.mode.to_string(), "0600");
    let sample = fs::read_to_string(&path).unwrap();
    let all: String = sample
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let everything = folder.path().join("all.yaml");
    fs::write(&everything, all).unwrap();
    let given = read(&everything).unwrap();
    assert_eq!(given.socket_group.as_deref(), Some("kube-apiserver"));
    assert_eq!(given.allow_uid, Some(vec![0]));
    assert!(given.socket_mode.is_some() && given.log_level.is_some());
}

fn is_setting(line: &str) -> bool {
    ["socket-group: ", "socket-mode: ", "allow-uid: "]
        .iter()
        .any(|name| line.starts_with(name))
}

#[test]
fn the_unit_runs_lines_that_parse() {
    let unit = fs::read_to_string(deploy("kms-plugin.service")).unwrap();
    let lines: Vec<Vec<String>> = unit
        .lines()
        .filter_map(|line| {
            let command = line
                .strip_prefix("ExecStart=")
                .or_else(|| line.strip_prefix("ExecStartPre="))?;
            Some(command.split_whitespace().map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let settings = settings(line);
        let folder = settings.socket.address.to_string();
        assert!(folder.starts_with("/run/kms-plugin/"), "RuntimeDirectory=");
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let unit = fs::read_to_string(deploy("kms-plugin.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kms-plugin.service");
    // systemd wants the program to exist where the unit says.
    let here = unit.replace(
        "/usr/local/bin/kms-plugin",
        env!("CARGO_BIN_EXE_kms-plugin"),
    );
    fs::write(&path, here).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .expect("systemd-analyze, of the package systemd, is needed for this test");
    let said = crate::support::stderr(&verified);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("kms-plugin"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

fn pod(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(deploy(name)).unwrap()).unwrap()
}

fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    pod["spec"][list]
        .as_array()
        .unwrap()
        .iter()
        .find(|container| container["name"] == name)
        .unwrap()
}

fn line_of(container: &Value) -> Vec<String> {
    let arguments = container["args"].as_array().unwrap().iter();
    std::iter::once("kms-plugin")
        .chain(arguments.map(|argument| argument.as_str().unwrap()))
        .map(str::to_owned)
        .collect()
}

/// Socket and key must be in folders that are mounted, and every mount must have its volume.
fn check_mounts(pod: &Value, container: &Value, settings: &Settings) {
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mounted = |path: &str| {
        mounts.iter().any(|mount| {
            let folder = mount["mountPath"].as_str().unwrap();
            path.starts_with(&format!("{folder}/"))
        })
    };
    assert!(mounted(&settings.socket.address.to_string()));
    assert!(mounted(settings.key.path().to_str().unwrap()));
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    for mount in mounts {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]));
    }
}

#[test]
fn the_static_pod_needs_no_api_and_its_line_parses() {
    let pod = pod("static-pod.yaml");
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let plugin = container(&pod, "containers", "kms-plugin");
    let settings = settings(&line_of(plugin));
    check_mounts(&pod, plugin, &settings);
    let address = settings.http_address.unwrap();
    assert!(address.ip().is_loopback(), "it is on the host's network");
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(plugin[probe]["httpGet"]["port"], address.port());
    }
    assert_eq!(plugin["livenessProbe"]["httpGet"]["path"], "/livez");
}

#[test]
fn the_sidecar_outlives_kube_apiserver_and_its_line_parses() {
    let pod = pod("native-sidecar.yaml");
    let plugin = container(&pod, "initContainers", "kms-plugin");
    assert_eq!(plugin["restartPolicy"], "Always");
    let settings = settings(&line_of(plugin));
    check_mounts(&pod, plugin, &settings);
    let port = plugin["ports"][0]["containerPort"].as_u64().unwrap();
    assert_eq!(u64::from(settings.http_address.unwrap().port()), port);
    assert_eq!(plugin["startupProbe"]["httpGet"]["path"], "/readyz");
    let apiserver = container(&pod, "containers", "kube-apiserver");
    assert_eq!(apiserver["volumeMounts"][0]["name"], "kms-socket");
}
