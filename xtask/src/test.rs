//! All tests of the workspace, against servers that are there before the
//! first test starts, so that no test's time limit counts a build.

use std::ffi::OsString;
use std::io::{self, Seek as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use kdc_testbed::KubeMinor;
use kdc_testbed::servers::KUBE_MINORS;

use crate::servers::WithNode;
use crate::{say, servers};

/// Everything. All features bring `aws-lc`, so the core is tested a second time without it.
const WORKSPACE: Run = Run {
    what: &["--workspace", "--all-features"],
    at_once: None,
};
const CORE: Run = Run {
    what: &["--package", "kdc-envelope", "--features", "testing"],
    at_once: None,
};
/// Changes of keys wait for API servers most of the time, so many of them go on at once.
const ENCRYPTION: Run = Run {
    what: &["--workspace", "--all-features", "--test", "encryption"],
    at_once: Some("8"),
};
/// On a real node, which needs root. Its tests wait for pods most of the time.
const NODE: Run = Run {
    what: &["--workspace", "--all-features", "--test", "node"],
    at_once: Some("3"),
};
/// Hosted control planes, whose containers have mounts of their own, which needs root. These wait for API servers, too.
const HOSTED: Run = Run {
    what: &[
        "--workspace",
        "--all-features",
        "--test",
        "hosted",
        "--test",
        "k8_manager",
    ],
    at_once: None,
};

/// One run of `cargo test`.
struct Run {
    what: &'static [&'static str],
    /// How many tests at once, if not as many as there are cores.
    at_once: Option<&'static str>,
}

/// What has one API server for all its tests, and so is run once for each.
const ON_EACH_MINOR: Run = Run {
    what: &[
        "--workspace",
        "--all-features",
        "--test",
        "encryption",
        "--test",
        "rewrite",
    ],
    at_once: None,
};

/// Ends as `cargo test` does.
pub(crate) fn run(
    root: &Path,
    matrix: bool,
    with_node: WithNode,
    cargo_arguments: &[OsString],
) -> Result<ExitCode> {
    servers::prepare_all(matrix, with_node)?;
    let all = KubeMinor::ALL.map(|minor| minor.to_string()).join(",");
    let minors = matrix.then_some(all.as_str());
    // Those that mostly wait go on side by side.
    let stages: &[&[&Run]] = match with_node {
        WithNode::Yes => &[&[&WORKSPACE], &[&ENCRYPTION, &HOSTED], &[&CORE], &[&NODE]],
        WithNode::No => &[&[&WORKSPACE], &[&ENCRYPTION], &[&CORE]],
    };
    for stage in stages {
        if !test_side_by_side(root, stage, minors, cargo_arguments)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    // The default version was tested above.
    let mut others = KubeMinor::ALL.to_vec();
    others.retain(|minor| matrix && *minor != KubeMinor::DEFAULT);
    for minor in others {
        let minor = minor.to_string();
        if !test_side_by_side(root, &[&ON_EACH_MINOR], Some(&minor), cargo_arguments)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    if with_node == WithNode::No {
        say("not run: testbed/tests/{node,hosted,k8_manager}, which need root");
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs all of a stage at once. The first prints as it goes, the others when they have ended.
fn test_side_by_side(
    root: &Path,
    stage: &[&Run],
    minors: Option<&str>,
    cargo_arguments: &[OsString],
) -> Result<bool> {
    let mut running = Vec::new();
    for (at, run) in stage.iter().enumerate() {
        let mut cargo = command(root, run, minors, cargo_arguments);
        let mut output = None;
        if at > 0 {
            let file = tempfile::tempfile().context("cannot make a file for what tests print")?;
            cargo.stdout(file.try_clone()?).stderr(file.try_clone()?);
            output = Some(file);
        }
        running.push((cargo.spawn().context("cannot run cargo")?, output));
    }
    let mut all_passed = true;
    for (mut cargo, output) in running {
        all_passed &= cargo.wait().context("cannot wait for cargo")?.success();
        if let Some(mut file) = output {
            file.rewind()?;
            io::copy(&mut file, &mut io::stdout())?;
        }
    }
    Ok(all_passed)
}

fn command(root: &Path, run: &Run, minors: Option<&str>, cargo_arguments: &[OsString]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["test", "--locked"])
        .args(run.what)
        .args(cargo_arguments);
    if let Some(at_once) = run.at_once {
        cargo.env("RUST_TEST_THREADS", at_once);
    }
    if let Some(minors) = minors {
        cargo.env(KUBE_MINORS, minors);
    }
    cargo
}
