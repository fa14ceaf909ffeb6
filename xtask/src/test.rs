//! All tests of the workspace, against servers that are there before the
//! first test starts, so that no test's time limit counts a build.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use kdc_testbed::KubeMinor;
use kdc_testbed::servers::KUBE_MINORS;

use crate::servers::WithNode;
use crate::{say, servers};

/// What `cargo test` is run on. All features bring `aws-lc`, so the core is tested a second time without it. Changes of keys wait for
/// API servers most of the time, so many of them go on at once.
const RUNS: [Run; 3] = [
    Run {
        what: &["--workspace", "--all-features"],
        at_once: None,
    },
    Run {
        what: &["--workspace", "--all-features", "--test", "encryption"],
        at_once: Some("8"),
    },
    Run {
        what: &["--package", "kdc-envelope", "--features", "testing"],
        at_once: None,
    },
];

/// On a real node, and with hosted control planes, whose containers have mounts of their own. Both need root. These tests wait for pods and
/// for API servers most of the time.
const AS_ROOT: Run = Run {
    what: &[
        "--workspace",
        "--all-features",
        "--test",
        "node",
        "--test",
        "hosted",
        "--test",
        "k8_manager",
    ],
    at_once: Some("3"),
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
    let mut runs: Vec<&Run> = RUNS.iter().collect();
    if with_node == WithNode::Yes {
        runs.push(&AS_ROOT);
    }
    for run in runs {
        if !test(root, run, minors, cargo_arguments)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    // The default version was tested above.
    let mut others = KubeMinor::ALL.to_vec();
    others.retain(|minor| matrix && *minor != KubeMinor::DEFAULT);
    for minor in others {
        if !test(
            root,
            &ON_EACH_MINOR,
            Some(&minor.to_string()),
            cargo_arguments,
        )? {
            return Ok(ExitCode::FAILURE);
        }
    }
    if with_node == WithNode::No {
        say("not run: testbed/tests/{node,hosted,k8_manager}, which need root");
    }
    Ok(ExitCode::SUCCESS)
}

fn test(
    root: &Path,
    run: &Run,
    minors: Option<&str>,
    cargo_arguments: &[OsString],
) -> Result<bool> {
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
    Ok(cargo.status().context("cannot run cargo")?.success())
}
