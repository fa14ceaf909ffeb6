//! Prepares the servers and shows how that comes along: bars on a terminal,
//! plain lines elsewhere.

use std::io::IsTerminal;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use kdc_testbed::servers::{Progress, prepare};
use kdc_testbed::{Server, python};

use crate::say;

/// How often a plain line is printed while something is built.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// Builds what the cache lacks.
pub(crate) fn prepare_all(matrix: bool) -> Result<()> {
    for server in Server::all(matrix) {
        let mut display = Display::new(&server.to_string());
        prepare(server, &mut |progress| display.show(&progress))?;
    }
    let mut display = Display::new("python");
    python::interpreter(&mut |progress| display.show(&progress))?;
    need_strace()
}

/// `strace` kills programs at a system call for the tests. Where there is a package manager that we may use, it is installed.
fn need_strace() -> Result<()> {
    let is_there = || {
        let version = Command::new("strace").arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    if is_there() {
        return Ok(());
    }
    say("strace               is installed");
    for step in [&["update"][..], &["install", "--yes", "strace"]] {
        // Whether it helped shows below.
        let _ = Command::new("apt-get").arg("--quiet").args(step).output();
    }
    ensure!(
        is_there(),
        "strace is missing, and `apt-get install strace` did not bring it; install it, it kills programs at a system call for the tests"
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
