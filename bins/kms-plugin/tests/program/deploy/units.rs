//! The systemd unit and its drop-in, before our parser and before systemd's.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use clap::CommandFactory as _;
use kms_plugin::cli::Cli;
use tempfile::TempDir;

use super::{BAO_SAMPLE, LOCAL_SAMPLE, deploy, files, names_in, only_key, settings, text};
use crate::fixture::stderr;

const UNIT: &str = "kms-plugin.service";
const DROP_IN: &str = "kms-plugin.service.d/openbao.conf";

/// The values of a setting, in their order.
fn values(unit: &str, name: &str) -> Vec<String> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_unit_runs_lines_that_parse() {
    let unit = text(UNIT);
    let mut lines = values(&unit, "ExecStartPre");
    lines.extend(values(&unit, "ExecStart"));
    assert_eq!(lines.len(), 2);
    for (line, sample) in lines
        .iter()
        .flat_map(|line| [(line, LOCAL_SAMPLE), (line, BAO_SAMPLE)])
    {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let settings = settings(&line, sample);
        let key = only_key(&settings);
        let socket = key.socket.address.to_string();
        assert!(socket.starts_with("/run/kms-plugin/"), "RuntimeDirectory=");
        for file in files(key) {
            assert!(
                file.starts_with("/etc/kms-plugin/"),
                "ConfigurationDirectory="
            );
        }
    }
}

/// What systemd gives otherwise is 1,024.
#[test]
fn every_unit_may_open_enough_files() {
    let names = names_in(&deploy(""));
    let units = names.iter().filter(|name| name.ends_with(".service"));
    let mut count = 0;
    for unit in units {
        let limit = values(&text(unit), "LimitNOFILE").pop();
        let limit: u64 = limit.unwrap_or_else(|| panic!("{unit}")).parse().unwrap();
        assert!(limit >= 4_096, "{unit}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_drop_in_hands_over_the_secret_id_as_a_credential() {
    let drop_in = text(DROP_IN);
    let credential = values(&drop_in, "LoadCredential").pop().unwrap();
    let (name, file) = credential.split_once(':').unwrap();
    let environment = values(&drop_in, "Environment").pop().unwrap();
    let (variable, value) = environment.split_once('=').unwrap();
    assert_eq!(value, format!("%d/{name}"));
    let command = Cli::command();
    let flag = command
        .get_arguments()
        .find(|flag| flag.get_env().is_some_and(|env| env == variable))
        .unwrap();
    assert_eq!(flag.get_long(), Some("bao-secret-id-file"));
    // The same file that the settings name, so that both work with and without systemd.
    let settings = settings(
        &[
            "kms-plugin".to_owned(),
            format!("--config={}", super::SETTINGS),
        ],
        BAO_SAMPLE,
    );
    assert!(files(only_key(&settings)).contains(&PathBuf::from(file)));
}

/// The unit in a folder, with its drop-in or without. systemd wants the program to exist where the unit says.
fn installed(with_drop_in: bool) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(UNIT);
    let program = env!("CARGO_BIN_EXE_kms-plugin");
    fs::write(
        &path,
        text(UNIT).replace("/usr/local/bin/kms-plugin", program),
    )
    .unwrap();
    if with_drop_in {
        let drop_in = folder.path().join(DROP_IN);
        fs::create_dir(drop_in.parent().unwrap()).unwrap();
        fs::write(drop_in, text(DROP_IN)).unwrap();
    }
    (folder, path)
}

fn analyze(arguments: &[&str], path: &PathBuf) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(path)
        .output()
        .expect("systemd-analyze, of the package systemd, is needed for this test")
}

#[test]
fn systemd_accepts_the_unit_with_and_without_the_drop_in() {
    for with_drop_in in [false, true] {
        let (_folder, path) = installed(with_drop_in);
        let verified = analyze(&["verify", "--man=no"], &path);
        let said = stderr(&verified);
        let is_ours = |line: &&str| line.contains("kms-plugin") || line.contains("openbao.conf");
        let ours: Vec<&str> = said.lines().filter(is_ours).collect();
        assert!(verified.status.success() && ours.is_empty(), "{said}");
    }
}

#[test]
fn systemd_finds_little_that_an_intruder_could_do() {
    for with_drop_in in [false, true] {
        let (_folder, path) = installed(with_drop_in);
        // 2.0 of 10: it is root, and has the network of the machine.
        let judged = analyze(
            &["security", "--offline=yes", "--no-pager", "--threshold=20"],
            &path,
        );
        let said = String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success(), "{said}");
    }
}
