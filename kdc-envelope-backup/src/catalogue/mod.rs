//! What lies in a store, and what follows from it: which snapshots there are, which keys they need, and which of them may go.
//!
//! | module | holds |
//! |---|---|
//! | [`State`], [`judge`] | what an entry is, as far as can be told without its key |
//! | [`scan`](scan()) | one pass over all entries |
//! | [`KeyNeeds`], [`RetainedKeys`] | which keys are needed, added up or snapshot by snapshot |
//! | [`Retention`], [`plan`], [`delete`] | what is kept, and what goes |
//! | [`Unknowns`] | what a pass could not tell |

mod evidence;
mod needs;
mod retained;
mod retention;
mod scan;
pub(crate) mod state;

pub use evidence::{Unjudged, Unknowns, nothing_in, place};
pub use needs::{InnerKey, KeyNeeds, Mark, Need, OuterKey, Tally};
pub use retained::{RetainedKeys, SnapshotNeeds, retained_keys};
pub use retention::{Candidate, Decision, GRACE, Retention, candidates, delete, plan};
pub use scan::{Cost, scan};
pub(crate) use scan::{WORKERS, entries, in_parallel};
pub use state::{CatalogueEntry, State, judge};
