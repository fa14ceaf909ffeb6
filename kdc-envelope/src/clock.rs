//! Time as a parameter: the crate never reads a clock of its own.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

/// Tells the time since some fixed moment, never going back.
///
/// ```
/// # use kdc_envelope::Clock;
/// let start = std::time::Instant::now();
/// let clock = Clock::from(move || start.elapsed());
/// ```
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl<F: Fn() -> Duration + Send + Sync + 'static> From<F> for Clock {
    fn from(elapsed: F) -> Self {
        Self(Arc::new(elapsed))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}
