//! `kdc quickstart`: the main job from beginning to end, with nothing but this program.
//!
//! A keyring is made, a plugin serves it, an API server stores Secrets through it, the rows are shown and opened, the key
//! is rotated. By default kdc itself does what kube-apiserver does; with `--with-apiserver` a real one does (`real`).
//! Whatever the text claims has just been verified.

mod epilogue;
mod folder;
mod narration;
mod plugin;
#[cfg(feature = "testbed")]
mod real;
mod samples;
mod simulated;
mod story;

use std::path::PathBuf;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use folder::Folder;
use samples::Sample;

const EXAMPLES: &str = "\
Examples:
  kdc quickstart
  kdc quickstart --dir demo ./my-password.txt";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Quickstart {
    /// A file to store as a Secret too, at most 1 MiB.
    file: Option<PathBuf>,
    /// Work in this folder and leave keyring and rows there; without it a temporary one is used.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Let a real etcd and kube-apiserver store the Secrets; built from source the first time.
    #[cfg(feature = "testbed")]
    #[arg(long)]
    with_apiserver: bool,
}

/// A Secret's row, as etcd holds it.
#[derive(Debug, Clone)]
struct Row {
    key: String,
    value: Vec<u8>,
}

/// The control plane that stores Secrets through the plugin.
trait ControlPlane {
    /// Who that is.
    fn name(&self) -> String;
    /// Stores a Secret that is not there yet.
    fn create(&mut self, sample: &Sample) -> Result<Row, Failure>;
    /// Reads a Secret and stores it again unchanged, as `kubectl replace` does.
    fn replace(&mut self, sample: &Sample) -> Result<Row, Failure>;
    /// The row of a Secret as it is stored now.
    fn row(&self, sample: &Sample) -> Result<Row, Failure>;
    /// Whether a Secret reads as it was stored.
    fn reads_back(&mut self, sample: &Sample) -> Result<bool, Failure>;
    /// Lets so much time go by that a new key id is noticed.
    fn until_key_id(&mut self, key_id: &str) -> Result<(), Failure>;
}

pub(crate) fn run(arguments: &Quickstart, out: &mut Output) -> Result<Exit, Failure> {
    let samples = samples::all(arguments.file.as_deref())?;
    let folder = Folder::open(arguments.dir.as_deref())?;
    let plugin = plugin::Plugin::start(folder.path())?;
    let mut control_plane = control_plane(arguments, &plugin)?;
    story::tell(&folder, &plugin, control_plane.as_mut(), &samples, out)?;
    Ok(Exit::Ok)
}

#[cfg(feature = "testbed")]
fn control_plane(
    arguments: &Quickstart,
    plugin: &plugin::Plugin,
) -> Result<Box<dyn ControlPlane>, Failure> {
    if arguments.with_apiserver {
        return Ok(Box::new(real::Servers::start(plugin)?));
    }
    Ok(Box::new(simulated::Simulation::start(plugin)?))
}

#[cfg(not(feature = "testbed"))]
fn control_plane(
    _: &Quickstart,
    plugin: &plugin::Plugin,
) -> Result<Box<dyn ControlPlane>, Failure> {
    Ok(Box::new(simulated::Simulation::start(plugin)?))
}
