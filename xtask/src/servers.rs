//! Prepares the servers and shows how that comes along: bars on a terminal,
//! plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use kdc_testbed::servers::{Progress, prepare};
use kdc_testbed::{Server, node, python};

use crate::say;

/// How often a plain line is printed while something is built.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// Whether a node with kubelet and containerd is wanted, too, which needs root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithNode {
    Yes,
    No,
}

impl WithNode {
    /// As the flag `--without-node` says.
    pub(crate) fn unless(without: bool) -> Self {
        if without { Self::No } else { Self::Yes }
    }
}

/// Builds what the cache lacks, and installs what the machine lacks.
pub(crate) fn prepare_all(matrix: bool, with_node: WithNode) -> Result<()> {
    // What may be missing for good comes before the minutes that the servers take.
    if with_node == WithNode::Yes {
        ensure!(
            is_root(),
            "the tests on a real node need root; --without-node leaves them out"
        );
    }
    need_packages(
        "strace",
        &["strace"],
        || {
            let version = Command::new("strace").arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        },
        "it kills programs at a system call for the tests",
    )?;
    let mut servers = Server::all(matrix);
    if with_node == WithNode::Yes {
        need_packages(
            "node",
            &node::PACKAGES,
            || {
                node::PACKAGE_FILES
                    .iter()
                    .all(|file| Path::new(file).exists())
            },
            "the tests on a real node need them, and --without-node leaves these tests out",
        )?;
        servers.extend(Server::of_node());
    }
    for server in servers {
        let mut display = Display::new(&server.to_string());
        prepare(server, &mut |progress| display.show(&progress))?;
    }
    let mut display = Display::new("python");
    python::interpreter(&mut |progress| display.show(&progress))?;
    Ok(())
}

fn is_root() -> bool {
    let user = Command::new("id").arg("--user").output();
    user.is_ok_and(|output| output.stdout == b"0\n")
}

/// Installs Debian's packages where there is a package manager that we may use, unless they are there.
fn need_packages(
    what: &str,
    packages: &[&str],
    are_there: impl Fn() -> bool,
    why: &str,
) -> Result<()> {
    if are_there() {
        return Ok(());
    }
    say(&format!("{what:20} is installed"));
    let install = [
        &["install", "--yes", "--no-install-recommends"][..],
        packages,
    ]
    .concat();
    let mut said = String::new();
    for step in [vec!["update"], install] {
        // The check below shows whether this succeeded: lists that are there are of use if they cannot be updated.
        let output = Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("--quiet")
            .args(step)
            .output();
        said = output.map_or_else(
            |error| format!("cannot run apt-get: {error}"),
            |output| String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        );
    }
    let packages = packages.join(" ");
    ensure!(
        are_there(),
        "`apt-get install {packages}` did not bring all of these packages; install them: {why}\n{said}"
    );
    Ok(())
}

/// Shows the progress of one server.
struct Display {
    name: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Display {
    fn new(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0)
                .with_prefix(name.to_owned())
                .with_style(style("{prefix:20} {spinner} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            last_line: Instant::now(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        if let Progress::Ready { took } = progress {
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            let how = if took.is_zero() {
                "was there".to_owned()
            } else {
                format!("built in {} s", took.as_secs())
            };
            say(&format!("{:20} ready, {how}", self.name));
        } else if let Some(bar) = &self.bar {
            draw(bar, progress);
        } else if *progress == Progress::Waiting || self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            say(&format!("{:20} {}", self.name, line(progress)));
        }
    }
}

fn draw(bar: &ProgressBar, progress: &Progress) {
    if let Progress::Compiling {
        done,
        total,
        package,
    } = progress
    {
        bar.set_style(style("{prefix:20} {bar:30} {pos}/{len} {wide_msg}"));
        bar.set_length(*total as u64);
        bar.set_position(*done as u64);
        bar.set_message(package.clone());
    } else {
        bar.set_style(style("{prefix:20} {spinner} {wide_msg}"));
        bar.set_message(line(progress));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn line(progress: &Progress) -> String {
    match progress {
        Progress::Waiting => "another process builds it".to_owned(),
        Progress::Downloading { module } => format!("downloads {module}"),
        Progress::Compiling { done, total, .. } => format!("compiles package {done} of {total}"),
        _ => String::new(),
    }
}
