//! The only place that reads the time of day. Rotations and countdowns go by it; what OpenBao did is timed by its own clock.

use jiff::Timestamp;

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
