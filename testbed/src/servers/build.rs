//! One Go build.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::cache::Inputs;
use super::{Progress, Server};
use crate::Error;

const TAIL_LINES: usize = 20;

/// All that decides what the build yields.
pub(super) fn inputs(server: Server) -> Result<Inputs, Error> {
    let module = server.folder();
    let mut inputs = Inputs::default();
    for path in sources(&module)? {
        inputs.add_file(&path)?;
    }
    inputs.add("package", server.package().as_bytes());
    inputs.add("linker flags", server.linker_flags().as_bytes());
    // The toolchain that go.mod selects, and the machine it builds for.
    let version = output(server, go(&module).arg("version"))?;
    inputs.add("go version", &version.stdout);
    Ok(inputs)
}

/// `go.mod`, `go.sum` and Go files of a module, in order of their names.
fn sources(module: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(module).map_err(Error::file("list", module))? {
        let path = entry.map_err(Error::file("list", module))?.path();
        if path
            .extension()
            .is_some_and(|extension| ["mod", "sum", "go"].iter().any(|known| extension == *known))
        {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

pub(super) fn build(
    server: Server,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let module = server.folder();
    let listed = output(
        server,
        go(&module).args(["list", "-deps", server.package()]),
    )?;
    let total = listed.stdout.lines().count();
    let mut go = go(&module);
    go.args([
        "build",
        "-v",
        "-trimpath",
        "-ldflags",
        &server.linker_flags(),
        "-o",
    ])
    .arg(folder.join(server.program()))
    .arg(server.package())
    .stdout(Stdio::null())
    .stderr(Stdio::piped());
    let mut child = go.spawn().map_err(|error| start_error(server, error))?;
    let mut lines = Vec::new();
    let mut done = 0;
    for line in child
        .stderr
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines)
        .map_while(Result::ok)
    {
        if let Some(module) = line.strip_prefix("go: downloading ") {
            progress(Progress::Downloading {
                module: module.to_owned(),
            });
        } else {
            done += 1;
            progress(Progress::Compiling {
                done,
                total,
                package: line.clone(),
            });
        }
        lines.push(line);
    }
    let status = child.wait().map_err(|error| start_error(server, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(failure(server, &lines))
    }
}

/// The Go command in a module, deaf to the user's own Go settings that would
/// change what is built.
fn go(module: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("GOWORK", "off")
        .stdin(Stdio::null());
    go
}

fn output(server: Server, go: &mut Command) -> Result<Output, Error> {
    let output = go.output().map_err(|error| start_error(server, error))?;
    if output.status.success() {
        return Ok(output);
    }
    let lines: Vec<String> = output.stderr.lines().map_while(Result::ok).collect();
    Err(failure(server, &lines))
}

fn start_error(server: Server, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return Error::MissingTool {
            tool: "go",
            remedy: "install Go 1.26 or newer; it builds the real etcd and kube-apiserver for the tests",
        };
    }
    Error::Process {
        action: "run",
        name: format!("go for {server}"),
        source: error,
    }
}

fn failure(server: Server, lines: &[String]) -> Error {
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    let tail: Vec<&str> = lines.iter().skip(skipped).map(String::as_str).collect();
    Error::Build {
        what: server.to_string(),
        tail: tail.join("\n"),
    }
}
