//! Configuration files that lack what rows may lie under.

use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
use kdc_envelope_k8s::rotation::{Blocker, lacking};

use crate::failure::{Exit, Failure};

/// What to do about it.
pub(super) const CURE: &str = "`kdc encryption resume` puts it back";

/// A line for each thing that a file lacks, with the path of the file.
pub(super) fn lines(control_plane: &ControlPlane, observation: &Observation) -> Vec<String> {
    let lacking = lacking(&observation.observed, observation.now);
    lacking
        .iter()
        .map(|blocker| line(control_plane, blocker))
        .collect()
}

fn line(control_plane: &ControlPlane, blocker: &Blocker) -> String {
    let Blocker::Lacks { server, .. } = blocker else {
        return blocker.to_string();
    };
    let mut nodes = control_plane.nodes.iter();
    match nodes.find(|node| node.name == *server) {
        Some(node) => format!("{blocker} (`{}`)", node.folder.config().display()),
        None => blocker.to_string(),
    }
}

/// No change begins on such a file: what it lacks is put back first.
pub(super) fn check(
    control_plane: &ControlPlane,
    observation: &Observation,
) -> Result<(), Failure> {
    match lines(control_plane, observation).first() {
        None => Ok(()),
        Some(line) => Err(Failure::new(Exit::Negative, line)
            .hint(CURE)
            .hint("nothing was changed")),
    }
}
