//! Pythons with pinned packages: one for scripts that compute test vectors
//! independently of our own code, and those that carry a server's program.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Error;
use crate::servers::Progress;
use crate::servers::cache::{self, Inputs};

const REMEDY: &str = "install Python 3.10 or newer with its venv module (on Debian: apt install python3-venv); \
                      it computes test vectors independently and brings OpenBao";
const TAIL_LINES: usize = 20;

/// The path of a Python 3 that has `cryptography`. The first time, an
/// environment is made in the cache of the servers, which blocks for seconds.
///
/// # Errors
/// [`Error::MissingTool`] without Python, [`Error::Build`] when the packages
/// cannot be installed.
pub fn interpreter(progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, Error> {
    environment("python", "python/requirements.txt", progress)
}

/// [`interpreter`] for the packages that `requirements` of the testbed pins,
/// cached under `name`.
pub(crate) fn environment(
    name: &str,
    requirements: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, Error> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let version = run(
        Command::new("python3").args(["-c", "import sys; print(sys.version, sys.base_prefix)"])
    )?;
    let mut inputs = Inputs::default();
    inputs.add_file(&requirements)?;
    inputs.add("python version", &version.stdout);
    let environment = cache::ensure(name, inputs, progress, |folder, _| {
        make_environment(folder, &requirements)
    })?;
    Ok(environment.join("bin/python"))
}

/// Makes a virtual environment in `folder` with the packages that
/// `requirements` pins by version and hash.
pub(crate) fn make_environment(folder: &Path, requirements: &Path) -> Result<(), Error> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    // Run as a module: the environment may be renamed afterwards, and scripts
    // in it hold its path.
    run(Command::new(folder.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
        ])
        .arg(requirements))
    .map(|_| ())
}

/// Runs a Python to its end and gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<Output, Error> {
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::MissingTool {
            tool: "python3",
            remedy: REMEDY,
        },
        _ => Error::Process {
            action: "start",
            name: "python3".to_owned(),
            source,
        },
    })?;
    if output.status.success() {
        return Ok(output);
    }
    // `venv` complains on standard output when it is only half installed.
    let lines: Vec<String> = [&output.stdout, &output.stderr]
        .into_iter()
        .flat_map(|stream| stream.lines().map_while(Result::ok))
        .collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    let tail = lines
        .into_iter()
        .skip(skipped)
        .collect::<Vec<_>>()
        .join("\n");
    Err(Error::Build {
        what: "the Python environment".to_owned(),
        tail,
    })
}
