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
mod package;
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
    /// Run a control plane for experiments: etcd, kube-apiserver and the plugin.
    #[command(subcommand)]
    Testbed(Testbed),
    /// Build the release binaries into target/dist.
    Dist,
    /// Build the images of the static programs into target/dist/images, as OCI archives, each with a list of what is in it (CycloneDX).
    ///
    /// No image builder and no network is needed. The same sources and compilers give the same digest, in whatever folder they lie.
    Images,
    /// Pack every library as for a registry, and build them from the packages.
    Package,
    /// Apply every fault to real servers, and write the results into docs/reliability.md.
    Reliability {
        /// End parts of a real node in place of it, and write that table alone. Needs root.
        #[arg(long)]
        node: bool,
    },
    /// Run load, key rotations and random faults on a real OpenBao, kube-apiserver and the plugin.
    ///
    /// Fails on a wrong byte, a recovery that takes more than 10 s, an exit, or unbounded memory or calls of OpenBao.
    Soak {
        /// How long; below two minutes without kube-apiserver.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
        /// Seed of the faults and their order; printed at the start [default: random]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Attack the programs from outside, and write the results into docs/reliability.md.
    ///
    /// The socket, the HTTP port, hostile servers in the place of OpenBao and S3, broken files, kill -9 at each system call
    /// in turn, and races on a bucket. Fails if anything is lost, wrong, left behind or no longer served.
    Attack {
        /// How long each part with random attacks runs; all moments of a kill are tried, however long that takes.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
        /// Seed of the random choices; printed at the start [default: random]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Stop OpenBao in real time, a little shorter than the cache's time to live; reads must not be affected.
    Outage {
        /// The cache's time to live.
        #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(2..=86_400))]
        ttl: u64,
        /// Instead, outages of so many minutes, such as 1,4,6,10, under two API servers behind a Service that follows their readiness.
        #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "ttl", value_parser = clap::value_parser!(u64).range(1..=60))]
        minutes: Vec<u64>,
    },
    /// Kill `kdc encryption` and API servers at random moments of key rotations, while clients read and write.
    ///
    /// Fails if a row cannot be read even once, or if a rotation does not end after a resume. 500 kills take some 40 minutes.
    Chaos {
        /// Number of kills.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        kills: u64,
        /// Seed of the kills; printed at the start [default: random]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run the planner of key rotations through every state of a small cluster, and print their number.
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
    /// Start a control plane, print what to try, and run until Ctrl-C. Nothing is left behind.
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
        Task::Package => package::run(&root)?,
        Task::Images => images::run(&root)?,
        Task::Reliability { node: false } => reliability::run(&root)?,
        Task::Reliability { node: true } => reliability::run_node(&root)?,
        Task::Soak { minutes, seed } => soak::soak(&root, minutes, seed)?,
        Task::Chaos { kills, seed } => soak::chaos(&root, kills, seed)?,
        Task::Attack { minutes, seed } => attack::run(&root, minutes, seed)?,
        Task::Outage { ttl, minutes } if minutes.is_empty() => soak::outage(&root, ttl)?,
        Task::Outage { minutes, .. } => soak::outages_of_minutes(&root, &minutes)?,
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
