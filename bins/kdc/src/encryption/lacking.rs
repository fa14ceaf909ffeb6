//! Configuration files that lack what rows may lie under.

use kdc_envelope_k8s::control_plane::Observation;
use kdc_envelope_k8s::rotation::request::ChangeError;
use kdc_envelope_k8s::rotation::{Blocker, lacking};

use crate::failure::{Exit, Failure};

/// What to do about it.
pub(super) const CURE: &str = "`kdc encryption resume` puts it back";

/// A line for each thing that a file lacks, with the path of the file.
pub(super) fn lines(observation: &Observation) -> Vec<String> {
    let lacking = lacking(&observation.observed, observation.now);
    let lines = lacking.iter().map(|blocker| line(observation, blocker));
    lines.collect()
}

fn line(observation: &Observation, blocker: &Blocker) -> String {
    let Blocker::Lacks { server, .. } = blocker else {
        return blocker.to_string();
    };
    let mut nodes = observation.nodes.iter();
    match nodes.find(|node| node.name == *server) {
        Some(node) => format!("{blocker} ({})", node.place),
        None => blocker.to_string(),
    }
}

/// No change begins on such a file: what it lacks is put back first. `None` if `error` is another one.
pub(super) fn failure(error: &ChangeError, observation: &Observation) -> Option<Failure> {
    let ChangeError::Lacking(lacking) = error else {
        return None;
    };
    let line = line(observation, lacking.first()?);
    let failure = Failure::new(Exit::Negative, line).hint(CURE);
    Some(failure.hint("nothing was changed"))
}
