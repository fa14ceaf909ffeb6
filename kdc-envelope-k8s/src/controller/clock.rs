//! The time of day, for what people read. Nothing is decided by it: what must not last longer than it may is measured by the clock
//! of the machine that only goes forward.

use jiff::Timestamp;

/// The time now.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}
