//! Command lines: taken or refused alike by the real kube-apiserver.

use std::path::Path;
use std::process::Command;
use std::{io, path::PathBuf};

use kdc_envelope_k8s::api_server::{ApiServer, Files};
use kdc_testbed::servers::prepare;
use kdc_testbed::{KubeMinor, Server};

/// No description here names another file.
struct Nothing;

impl Files for Nothing {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn refusals(arguments: &[&str]) -> Vec<String> {
    let text = format!("kube-apiserver\0{}\0", arguments.join("\0"));
    let server = ApiServer::parse(&text, Path::new("cmdline"), &Nothing).unwrap();
    server.flags.refusals().to_vec()
}

/// What kube-apiserver says of its command line before it looks at what the flags mean.
fn theirs(arguments: &[&str]) -> Option<String> {
    let program = prepare(Server::KubeApiserver(KubeMinor::DEFAULT), &mut |_| {}).unwrap();
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.lines()
        .find(|line| line.starts_with("Error: "))
        .map(str::to_owned)
}

#[test]
fn command_lines_are_taken_or_refused_alike() {
    for arguments in [
        &["--v=2"][..],
        &["--v", "2"],
        &["-v", "2"],
        &["-v2"],
        &["-v=2"],
        &["--profiling"],
        &["--profiling=false"],
        &["--profiling", "false"],
        &["--profiling", ""],
        &["--encryption-provider-config-automatic-reload", "true"],
        &["--encryption-provider-config-automatic-reload", "--v=2"],
        &["--encryption_provider_config", "/a"],
        &["--encryption-provider-config", "--v=2"],
        &["--encryption-provider-config", ""],
        &["--encryption-provider-config"],
        &["-encryption-provider-config=/a"],
        &["-encryption-provider-config", "/a"],
        &["--encryption-provider-config=/a", "stray"],
        &["--", "--v=2"],
        &["--"],
        &["true"],
    ] {
        let (ours, theirs) = (refusals(arguments), theirs(arguments));
        assert_eq!(
            !ours.is_empty(),
            theirs.is_some(),
            "{arguments:?}\n{ours:?}\n{theirs:?}"
        );
    }
}

/// The flags that take no word of their own are those of its help.
#[test]
fn flags_that_are_on_or_off_are_known() {
    let program = prepare(Server::KubeApiserver(KubeMinor::DEFAULT), &mut |_| {}).unwrap();
    let output = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut seen = 0;
    for line in help.lines() {
        let Some((before, rest)) = line.split_once("--") else {
            continue;
        };
        let is_flag = before.trim().is_empty() || before.trim_start().starts_with('-');
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, "  "));
        // `--version version[=true]` takes a value only after `=`.
        if !is_flag || !line.starts_with("  ") || name.contains('[') || name == "version" {
            continue;
        }
        let is_bool = rest.starts_with("  ") || rest.trim().is_empty();
        let takes_no_word = !refusals(&[&format!("--{name}"), "word"]).is_empty();
        assert_eq!(takes_no_word, is_bool, "{line}");
        seen += 1;
    }
    assert!(seen > 150, "{seen}");
}
