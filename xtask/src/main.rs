//! The project's own commands. Run `cargo xtask help`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use servers::WithNode;

mod attack;
mod codegen;
mod dist;
mod images;
mod model;
mod reliability;
mod servers;
mod soak;
mod test;
mod testbed;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "The project's own commands",
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the real servers that the tests need, into a cache outside target/.
    ///
    /// The first time this takes some ten minutes and 3 GB, most of it for kube-apiserver. Needs Go and Python.
    Servers {
        /// Also each older kube-apiserver that is supported.
        #[arg(long)]
        matrix: bool,
        /// Nothing that only a real node needs: kubelet and the like, and packages that root alone can install.
        #[arg(long)]
        without_node: bool,
    },
    /// Prepare the servers, then run all tests of the workspace.
    Test {
        /// Run the tests with an API server on each supported minor version, not the newest alone.
        #[arg(long)]
        matrix: bool,
        /// Leave out the tests on a real node with kubelet and containerd, which need root.
        #[arg(long)]
        without_node: bool,
        /// Further arguments of `cargo test`.
        #[arg(last = true)]
        cargo_arguments: Vec<OsString>,
    },
    /// A control plane to play with: etcd, kube-apiserver and the plugin.
    #[command(subcommand)]
    Testbed(Testbed),
    /// Build the release binaries into target/dist.
    Dist,
    /// Build the images of the static programs into target/dist/images, as OCI archives, each with a list of what is in it (CycloneDX).
    ///
    /// No image builder and no network is needed. The same sources and compilers give the same digest, in whatever folder they lie.
    Images,
    /// Let every fault befall real servers, and write what was seen into docs/reliability.md.
    Reliability,
    /// Load, key rotations and faults at random, on a real OpenBao, kube-apiserver and the plugin.
    ///
    /// Fails on a wrong byte, a fault that does not heal within 10 s, an exit, or memory or calls of OpenBao without bounds.
    Soak {
        /// How long; below two minutes without kube-apiserver.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
        /// Decides what happens and in which order; printed at the start [default: random]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Attack the programs from outside, and write what was seen into docs/reliability.md.
    ///
    /// The socket, the HTTP port, what stands where OpenBao and S3 should be, broken files, kill -9 at one system call after
    /// another, and races on a bucket. Fails if something is lost, wrong, left behind or no longer served.
    Attack {
        /// How long each part that draws its attacks at random goes on; all moments of a kill are tried, however long that takes.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
        /// Decides what is drawn; printed at the start [default: random]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// An outage of OpenBao in real time, a little shorter than the plugin remembers keys; reads must not notice.
    Outage {
        /// How long the plugin remembers keys.
        #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(2..=86_400))]
        ttl: u64,
    },
    /// Kill `kdc encryption` and API servers at random moments of key rotations, while clients read and write.
    ///
    /// Fails if a row cannot be read even once, or if a rotation does not end after a resume. 500 kills take some 40 minutes.
    Chaos {
        /// How often something is killed.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        kills: u64,
        /// Decides what is killed and when; printed at the start [default: random]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Let the planner of key rotations run through every state of a small cluster, and print how many there are.
    ///
    /// `cargo test` does it with two servers and two rows.
    Model {
        /// API servers, at most 3.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
        servers: u8,
        /// Rows, at most 3.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
        rows: u8,
    },
    /// Regenerate the Rust code of the KMS v2 API from its .proto file.
    Codegen {
        /// Change nothing; fail if the committed code differs.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Testbed {
    /// Start it, print what to try, and run until Ctrl-C. Nothing is left behind.
    Up {
        /// A whole cluster of one machine in place of it, with kubelet and containerd, that runs pods. Needs root.
        #[arg(long)]
        node: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let root = workspace_root()?;
    match task {
        Task::Servers {
            matrix,
            without_node,
        } => servers::prepare_all(matrix, WithNode::unless(without_node))?,
        Task::Test {
            matrix,
            without_node,
            cargo_arguments,
        } => {
            return test::run(
                &root,
                matrix,
                WithNode::unless(without_node),
                &cargo_arguments,
            );
        }
        Task::Testbed(Testbed::Up { node: false }) => testbed::up()?,
        Task::Testbed(Testbed::Up { node: true }) => testbed::up_with_node()?,
        Task::Dist => dist::run(&root)?,
        Task::Images => images::run(&root)?,
        Task::Reliability => reliability::run(&root)?,
        Task::Soak { minutes, seed } => soak::soak(&root, minutes, seed)?,
        Task::Chaos { kills, seed } => soak::chaos(&root, kills, seed)?,
        Task::Attack { minutes, seed } => attack::run(&root, minutes, seed)?,
        Task::Outage { ttl } => soak::outage(&root, ttl)?,
        Task::Model { servers, rows } => return model::run(&root, servers, rows),
        Task::Codegen { check } => codegen::run(&root, check)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn workspace_root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .context("xtask has no parent folder")
}

/// One line for the person at the terminal, who may have closed it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
