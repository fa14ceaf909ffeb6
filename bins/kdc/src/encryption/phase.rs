//! Phases of a change as this tool prints them.

use kdc_envelope_k8s::rotation::Phase;

/// The word for `phase` in texts and in JSON. Scripts know the first phase as `Keeping`, as earlier releases printed it.
pub(super) const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::StoringKeys => "Keeping",
        _ => phase.as_str(),
    }
}
